"""Names compose: a base and variants that each change one axis; N bases and V variants cost N + V files."""

import json
from itertools import combinations

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import UsageError
from robo_orl.cli.app import app
from robo_orl.config import GridConfig, deep_merge
from robo_orl.config.presets import (
    PRESETS_VARIABLE,
    available,
    load_policy,
    load_task,
    load_variant,
    preset_values,
    stored_name,
    written_name,
)

VARIANTS = sorted(available("policies/variants"))
TASK_VARIANTS = sorted(available("tasks/variants"))
ONLINE_VARIANTS = sorted(available("policies/online/variants"))
# The policy files of before that were products, by the names that records of them carry.
BEFORE = {
    "bc_flow_best_of_n_untrained": "bc+flow+best_of_n_untrained", "bc_gmm": "bc+gmm", "bc_pixels": "bc+pixels",
    "cal_ql_separate_small": "cal_ql+separate_small", "filtered_bc_flow": "filtered_bc+flow",
    "iql_1step": "iql+1step", "iql_frozen": "iql+frozen", "iql_full_ema": "iql+full_ema",
    "iql_hl_gauss": "iql+hl_gauss", "iql_l1": "iql+l1", "iql_pixels": "iql+pixels",
    "iql_separate_full_ema": "iql+separate+full_ema", "mc_awr_flow": "mc_awr+flow",
    "qc_fql_shared_detached": "qc_fql+shared_detached", "sarsa_bon_separate": "sarsa_bon+separate",
    "vla_flow_lora": "vla_flow+lora", "vla_iql_insulated": "vla_iql+insulated",
}  # fmt: skip


@pytest.mark.parametrize("kind, name", [("policies", v) for v in VARIANTS] + [("tasks", v) for v in TASK_VARIANTS])
def test_every_shipped_variant_says_what_it_is_for_and_changes_something(kind, name):
    variant = load_variant(kind, name)
    assert variant.description and (variant.settings or variant.by_env) and variant.changes()


def test_a_composed_policy_is_the_base_with_the_variants_laid_on_it():
    policy, base = load_policy("iql+separate+full_ema"), load_policy("iql")
    assert policy.name == "iql_separate_full_ema"
    assert (policy.critic.topology, policy.critic.target) == ("separate", "full_ema")
    back = {"name": base.name, "critic": {"topology": base.critic.topology, "target": base.critic.target}}
    assert deep_merge(policy.model_dump(mode="json"), back) == base.model_dump(mode="json")


def test_the_order_of_variants_changes_the_name_alone():
    for one, other in combinations(VARIANTS, 2):
        try:
            there = preset_values("policies", f"iql+{one}+{other}")
        except UsageError as error:
            assert "both set" in str(error)
            continue
        assert there | {"name": ""} == preset_values("policies", f"iql+{other}+{one}") | {"name": ""}


def test_a_composed_task_is_another_task():
    task, base = load_task("chain2+40hz"), load_task("chain2")
    assert (task.name, task.horizon) == ("chain2_40hz", 2 * base.horizon)
    assert load_task("chain4+padded+10hz").horizon == (40 + 4 * 2) * 10


@pytest.mark.parametrize("stored, written", BEFORE.items())
def test_a_name_of_before_is_read_as_the_composed_one(stored, written):
    assert load_policy(stored) == load_policy(written)
    assert load_policy(stored).name == stored == stored_name(written)
    assert written_name("policies", stored) == written


def test_a_task_of_before_is_read_as_the_composed_one():
    assert load_task("chain2_10hz") == load_task("chain2+10hz")


def test_a_variant_goes_on_a_file_given_by_path(tmp_path):
    folder = tmp_path / "a+b"
    folder.mkdir()
    (folder / "mine.yaml").write_text("extends: qc+full_ema\n")
    policy = load_policy(f"{folder / 'mine.yaml'}+separate")
    assert (policy.name, policy.critic.topology, policy.critic.target) == ("mine_separate", "separate", "full_ema")
    assert stored_name(f"{folder / 'mine.yaml'}+separate") == "mine_separate"


def test_two_variants_of_one_axis_are_refused():
    with pytest.raises(UsageError, match="policy 'qc.separate.frozen': the variants .* both set critic.topology"):
        load_policy("qc+separate+frozen")
    with pytest.raises(UsageError, match="both set critic.topology"):
        load_policy("qc+separate+separate")


def test_a_share_of_the_gradient_stays_with_a_shared_critic():
    assert load_policy("recap").critic.trunk_gradient == load_policy("qc+hl_gauss").critic.trunk_gradient == 0.02
    for name in ("recap+separate", "mpo+shared_detached", "qc+hl_gauss+separate_small", "qc+frozen+hl_gauss"):
        assert load_policy(name).critic.trunk_gradient == 1.0


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("bc+separate", "policy 'bc+separate': Objective 'bc' trains no critic: remove the 'critic' section"),
        ("qc+l1", "policy 'qc+l1': Objective 'qc' samples actions, and the action head 'l1' is deterministic"),
        ("qc+frozen+full_ema", "policy 'qc+frozen+full_ema': A frozen backbone is its own slow copy"),
    ],
)
def test_a_combination_that_the_objective_refuses_is_refused_by_name_and_with_the_remedy(name, sentence):
    with pytest.raises(UsageError) as error:
        build_agent(load_policy(name), {"a": 3}, 7, 0.99, None, 0)
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith(f" Or leave out {' or '.join('+' + v for v in name.split('+')[1:])}.")


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_no_policy_file_is_a_product_of_others(count):
    """A file that equals another one with variants is a name too many: the composed one says it already."""
    bases = {name: load_policy(name) for name in available("policies")}
    named = {"name": "", "description": ""}
    plain = {name: policy.model_copy(update=named) for name, policy in bases.items()}
    for base in bases:
        for variants in combinations(VARIANTS, count):
            try:
                made = load_policy("+".join([base, *variants])).model_copy(update=named)
            except (UsageError, ValidationError):
                continue
            assert made == plain[base] or made not in plain.values(), (base, variants)


def test_no_composed_name_can_be_read_in_two_ways():
    names = [f"{base}_{variant}" for base in available("policies") for variant in VARIANTS]
    assert len(set(names)) == len(names)
    taken = set(names) & set(available("policies"))
    assert taken == {"vla_flow_frozen", "vla_oft_l1"}  # files; their composed namesakes are refused
    for name in ("vla_flow+frozen", "vla_oft+l1"):
        with pytest.raises(UsageError):
            build_agent(load_policy(name), {"a": 3}, 7, 0.99, None, 0)


def test_a_users_folder_has_variants_of_the_same_shape(tmp_path, monkeypatch):
    (tmp_path / "policies" / "variants").mkdir(parents=True)
    (tmp_path / "tasks" / "variants").mkdir(parents=True)
    (tmp_path / "policies" / "variants" / "slow.yaml").write_text("optim: {lr: 0.0001}\n")
    (tmp_path / "tasks" / "variants" / "short.yaml").write_text("description: Less time.\nmax_seconds: 5\n")
    monkeypatch.setenv(PRESETS_VARIABLE, str(tmp_path))
    assert load_policy("qc+slow+separate").optim.lr == 0.0001
    assert load_task("chain2+short").max_seconds == 5
    assert load_task("chain2+short").description == load_task("chain2").description


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("name: x\n", "no name or extends"),
        ("extends: separate\n", "no name or extends"),
        ("removes: critic.tau\n", "removes is a list of keys"),
        ("critic: {topologi: shared}\n", "Unknown key in critic 'topologi'"),
    ],
)
def test_a_malformed_variant_is_one_sentence(tmp_path, monkeypatch, text, sentence):
    (tmp_path / "policies" / "variants").mkdir(parents=True)
    (tmp_path / "policies" / "variants" / "odd.yaml").write_text(text)
    monkeypatch.setenv(PRESETS_VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match=sentence):
        load_policy("qc+odd")


HORIZONS = {  # decisions at 20 Hz, as each software has them
    "robomimic_ph": {"lift": 400, "can": 400, "square": 400, "transport": 700, "tool_hang": 700},
    "robomimic_mh": {"lift": 500, "can": 500, "square": 500, "transport": 1100},
    "robomimic_mg": {"lift": 400, "can": 400},
    "qc_dppo": {"lift": 300, "can": 300, "square": 400, "transport": 800, "tool_hang": 1000},
}


@pytest.mark.parametrize("variant", HORIZONS)
def test_the_time_limits_of_other_software_are_variants_and_a_result_says_which(variant):
    for name, decisions in HORIZONS[variant].items():
        task = load_task(f"{name}+{variant}")
        assert task.horizon == decisions and task.name == f"{name}_{variant}"
    with pytest.raises(UsageError, match=f"The variant '{variant}' is of lift, can.*, and the task chain2 of"):
        load_task(f"chain2+{variant}")


def test_a_variant_by_scene_that_is_no_table_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "tasks" / "variants").mkdir(parents=True)
    (tmp_path / "tasks" / "variants" / "odd.yaml").write_text("by_env: {lift: 20}\n")
    monkeypatch.setenv(PRESETS_VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match="by_env holds the settings of each scene, e.g. by_env: {lift:"):
        load_task("lift+odd")


def test_list_variants_shows_what_each_changes():
    result = CliRunner().invoke(app, ["list", "variants", "--json"])
    rows = {(row["of"], row["name"]): row for row in json.loads(result.output)["variants"]}
    assert rows["policy", "+separate"]["changes"] == "critic.topology=separate"
    assert rows["task", "+40hz"]["changes"] == "control_hz=40"
    assert ("online method", "+random_reward") in rows
    assert rows["task", "+robomimic_mg"]["changes"] == "lift: max_seconds=20; can: max_seconds=20"
    assert len(rows) == len(VARIANTS) + len(TASK_VARIANTS) + len(ONLINE_VARIANTS)


def group(*policies) -> GridConfig:
    return GridConfig(tasks=["chain2"], regimes=["mg"], policies=list(policies))


def test_a_list_of_policies_takes_products():
    rows = group("bc", {"use": ["iql", "qc"], "with": ["separate", "separate+full_ema"]}, {"use": ["bc", "iql"]})
    assert [choice.use for choice in rows.policies] == [
        "bc", "iql+separate", "iql+separate+full_ema", "qc+separate", "qc+separate+full_ema", "bc", "iql",
    ]  # fmt: skip
    assert [choice.row for choice in rows.policies[:3]] == ["bc", "iql_separate", "iql_separate_full_ema"]


def test_a_product_has_settings_in_every_row_and_a_name_only_where_it_is_one_row():
    one = {"use": "qc", "with": ["separate"], "name": "mine"}
    (row,) = group(one).policies
    assert (row.use, row.row) == ("qc+separate", "mine")
    rows = group({"use": ["iql", "qc"], "set": {"n_step": 2}}).policies
    assert [choice.set for choice in rows] == [{"n_step": 2}] * 2
    with pytest.raises(ValidationError, match="cannot be the name of 2 rows"):
        group({"use": ["iql", "qc"], "name": "mine"})
    with pytest.raises(ValidationError, match="with is a list of variants"):
        group({"use": "qc", "with": "separate"})
