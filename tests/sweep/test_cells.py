"""A cell's address is what decides its result, and nothing else."""

import subprocess
import sys

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyChoice
from robo_orl.config.presets import available
from robo_orl.objectives import OBJECTIVES
from robo_orl.sweep.bench import bench
from robo_orl.sweep.cells import expand, load_suite, policy_of
from robo_orl.sweep.cost_cells import cost_cells
from robo_orl.sweep.jobs import VALUE, jobs_of_cell

GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["bc"]}


def cells(presets, **changes):
    return expand(load_suite(presets(**changes)))


def test_a_suite_is_the_product_of_its_axes(presets):
    group = {
        "tasks": ["toy", "toy_long"], "regimes": ["mg", "ph"], "policies": ["bc", "critic"], "sizes": ["tiny", "xs"],
        "seeds": [0, 1, 2],
    }  # fmt: skip
    found = cells(presets, groups=[group])
    assert len(found) == 2 * 2 * 2 * 2 * 3
    assert len({cell.data_key for cell in found}) == 4
    # One whole comparison is complete before the next seed begins.
    assert [cell.seed for cell in found] == [0] * 16 + [1] * 16 + [2] * 16


def test_a_cell_that_two_groups_ask_for_is_there_once(presets):
    assert len(cells(presets, groups=[GROUP, GROUP | {"policies": ["bc", "flow"]}])) == 2


def test_settings_are_laid_on_in_order_suite_then_group_then_policy_then_size(presets):
    group = GROUP | {
        "policies": [{"use": "bc", "set": {"optim": {"lr": 3}}}],
        "set": {"optim": {"lr": 2, "batch_size": 4}},
        "sizes": ["xs"],
    }
    (cell,) = cells(presets, groups=[group], set={"optim": {"lr": 1, "batch_size": 8, "steps": 7}})
    optim = cell.policy.optim
    assert (optim.lr, optim.batch_size, optim.steps, cell.size) == (3, 4, 7, "xs")


def test_a_group_may_ask_for_another_number_of_demonstrations(presets):
    name = presets(groups=[GROUP | {"episodes": 3}, GROUP | {"tasks": ["toy_long"]}], data={"episodes": 5, "seed": 7})
    suite = load_suite(name)
    found = {cell.task.name: cell for cell in expand(suite)}
    assert {task: (cell.data.episodes, cell.data.seed) for task, cell in found.items()} == {
        "toy": (3, 7), "toy_long": (5, 7),
    }  # fmt: skip
    spelled_out = cells(
        presets, groups=[GROUP | {"tasks": ["toy_long"], "episodes": 5}], data={"episodes": 9, "seed": 7}
    )
    assert spelled_out[0].key == found["toy_long"].key, "the address is that of the data, however they are asked for"
    assert [request.episodes for request in suite.data_requests("toy", "mg")] == [3]
    assert [request.episodes for request in suite.data_requests("lift", "mg")] == [3, 5]


def test_equal_requests_have_equal_keys_whatever_the_suite_is_called(presets):
    (one,) = cells(presets, name="one", groups=[GROUP], description="first")
    (other,) = cells(presets, name="other", groups=[GROUP | {"seeds": [0]}])
    assert (one.key, one.run_key, one.data_key) == (other.key, other.run_key, other.data_key)


@pytest.mark.parametrize(
    "change, data_changes, run_changes",
    [
        ({"groups": [GROUP | {"regimes": ["ph"]}]}, True, True),
        ({"groups": [GROUP | {"regimes": ["mg+permuted"]}]}, True, True),
        ({"groups": [GROUP | {"regimes": ["mg+ended"]}]}, True, True),
        ({"data": {"episodes": 6}}, True, True),
        ({"data": {"episodes": 5, "seed": 1}}, True, True),
        ({"groups": [GROUP | {"seeds": [1]}]}, False, True),
        ({"set": {"optim": {"lr": 0.5}}}, False, True),
        ({"evaluation": {"episodes": 7}}, False, False),
        ({"set": {"selection": {"num_samples": 2}}}, False, False),
    ],
)
def test_what_decides_a_result_changes_its_key_and_the_keys_that_it_decides(presets, change, data_changes, run_changes):
    (base,) = cells(presets, groups=[GROUP])
    (other,) = cells(presets, **({"groups": [GROUP]} | change))
    assert other.key != base.key
    assert (other.run_key != base.run_key) == run_changes
    assert (other.data_key != base.data_key) == data_changes


def test_policies_that_only_select_differently_share_a_training_but_not_a_record(presets):
    flow, control = cells(presets, groups=[GROUP | {"policies": ["flow", "control"]}])
    assert flow.run_key == control.run_key and flow.key != control.key
    assert flow.run_name == control.run_name and flow.name != control.name
    assert not control.has_trained_critic


def test_a_description_is_not_part_of_any_key(presets):
    (base,) = cells(presets, groups=[GROUP])
    (other,) = cells(presets, groups=[GROUP], set={"description": "in other words"})
    assert other.key == base.key


def test_a_cost_is_measured_anew_when_its_objective_changes_and_not_when_it_is_described_in_other_words(
    presets, monkeypatch
):
    def address(**settings):
        cost = {"task": "toy", "policies": ["flow", "critic"], "steps": 5, "set": settings}
        (cell,) = cost_cells(load_suite(presets(cost=cost)))
        return cell.key

    base = address()
    assert address(description="in other words") == base
    assert address(optim={"batch_size": 4}) != base
    monkeypatch.setattr(OBJECTIVES["cql"], "version", 3)  # of no policy here
    assert address() == base
    monkeypatch.setattr(OBJECTIVES["qc"], "version", 2)
    assert address() != base


def test_a_raised_version_of_an_objective_changes_the_runs_of_its_policies_alone(presets, monkeypatch):
    def keys():
        return [cell.run_key for cell in cells(presets, groups=[GROUP | {"policies": ["bc", "critic"]}])]

    (bc, critic) = keys()
    monkeypatch.setattr(OBJECTIVES["qc"], "version", 2)
    assert keys()[0] == bc and keys()[1] != critic


def test_a_cell_of_an_objective_that_is_not_installed_has_an_address(presets):
    group = GROUP | {"set": {"objective": {"name": "of_another_package"}}}
    (cell,) = cells(presets, groups=[group])
    assert cell.key != cells(presets, groups=[GROUP])[0].key


def test_a_default_that_is_spelled_out_changes_no_key(presets):
    (base,) = cells(presets, groups=[GROUP])
    spelled = {"optim": {"precision": "fp32", "accumulation": 1}, "backbone": {"size": "tiny", "stem": "conv"}}
    (other,) = cells(presets, groups=[GROUP | {"set": spelled}], data={"episodes": 5, "seed": 0, "loop": "exact"})
    assert (other.data_key, other.run_key, other.key) == (base.data_key, base.run_key, base.key)


def test_reading_and_listing_suites_needs_no_torch():
    code = (
        "import sys; from robo_orl.sweep.cells import load_suite; load_suite('methods'); print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"groups": [GROUP | {"tasks": ["toyy"]}]}, "Unknown task 'toyy'. Did you mean 'toy'"),
        ({"groups": [GROUP | {"policies": ["critc"]}]}, "Unknown policy 'critc'. Did you mean 'critic'"),
        ({"groups": [GROUP | {"regimes": ["stich"]}]}, "Unknown regime 'stich'. Did you mean 'stitch'"),
        (
            {"groups": [GROUP | {"regimes": ["mg+permutd"]}]},
            "Unknown variant of regime mg 'permutd'. Did you mean 'permuted'",
        ),
        ({"groups": [GROUP | {"regimes": ["mg+ended+ended"]}]}, "names a variant twice"),
        ({"groups": [GROUP | {"sizes": ["tin"]}]}, "Unknown size 'tin'. Did you mean 'tiny'"),
        ({"groups": [GROUP | {"seed": [0]}]}, "Unknown key in groups.0 'seed'. Did you mean 'seeds'"),
        ({"groups": [GROUP], "costs": {}}, "Unknown key 'costs'. Did you mean 'cost'"),
        ({"groups": [GROUP], "set": {"optim": {"step": 1}}}, "Unknown key in optim 'step'. Did you mean 'steps'"),
    ],
)
def test_unknown_names_suggest_the_nearest(presets, change, sentence):
    with pytest.raises(UsageError) as error:
        cells(presets, **change)
    assert sentence in str(error.value)


def test_a_suite_with_a_policy_that_its_objective_refuses_is_refused_before_anything_runs(presets, fakes, tmp_path):
    group = GROUP | {"policies": ["bc", {"use": ["bc"], "with": ["separate"]}]}
    with pytest.raises(
        UsageError, match="suite small: policy 'bc.separate': Objective 'bc' trains no critic.*leave out"
    ):
        bench(presets(groups=[group]), tmp_path / "out", workers=1, progress=False)
    assert not fakes.calls()


def test_a_suite_may_ask_for_rollouts_from_stored_states(presets, tmp_path):
    suite = load_suite(presets(value_states=7))
    cell = next(c for c in expand(suite) if c.has_trained_critic)
    plain, rolled = (jobs_of_cell(cell, tmp_path, True, value_states=states)[-1] for states in (0, suite.value_states))
    assert plain.kind == rolled.kind == VALUE and "--value-states" not in plain.command
    place = rolled.command.index("--value-states")
    assert rolled.command[place + 1] == "7" and rolled.work > plain.work
    assert cells(presets, value_states=7)[0].key == cells(presets)[0].key, "records keep their addresses"


def test_a_policy_that_decodes_a_training_otherwise_is_rolled_out_by_its_own_selection(presets, tmp_path):
    """Values of the data are the run's; what its policy gets from stored states is the cell's."""
    halved = {"use": "critic", "name": "halved", "set": {"selection": {"noise_scale": 0.5}}}
    group = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["critic", halved]}
    one, other = expand(load_suite(presets(groups=[group])))
    assert one.run_key == other.run_key
    plain, rolled = (
        [jobs_of_cell(cell, tmp_path, True, value_states=states)[-1] for cell in (one, other)] for states in (0, 7)
    )
    assert plain[0] == plain[1] and "selection" not in " ".join(plain[0].command)
    assert rolled[0].key != rolled[1].key
    for job, scale in zip(rolled, (1.0, 0.5), strict=True):
        assert f"--set=selection.noise_scale={scale}" in job.command


def test_two_cells_of_one_name_are_refused_until_one_is_renamed(presets):
    slow = {"use": "bc", "set": {"optim": {"lr": 0.1}}}
    with pytest.raises(UsageError, match="two different cells are called toy mg bc tiny 0"):
        cells(presets, groups=[GROUP | {"policies": ["bc", slow]}])
    assert len(cells(presets, groups=[GROUP | {"policies": ["bc", slow | {"name": "bc_slow"}]}])) == 2


def test_an_unknown_suite_is_named():
    with pytest.raises(UsageError, match="Unknown suite 'quik'. Did you mean 'quick'"):
        load_suite("quik")


def test_the_shipped_suites_ask_for_what_their_descriptions_promise():
    grid = {name: expand(load_suite(name)) for name in ("quick", "standard", "data_and_size")}
    quick = grid["quick"]
    assert {(c.task.name, c.regime) for c in quick} == {("chain1", "mg"), ("chain2_one_reward", "half_fast")}
    assert {c.policy.name for c in quick} == {
        "bc", "bc_flow", "bc_flow_zero_noise", "bc_flow_best_of_n_untrained", "filtered_bc", "qc", "qc_separate",
    }  # fmt: skip
    assert all(c.evaluation.episodes >= 50 and c.data.episodes == 200 for c in quick)
    standard = grid["standard"]
    assert {c.policy.objective.name for c in standard} == {"bc", "filtered_bc", "mc_awr", "iql", "qc"}
    assert len({c.policy.critic.topology for c in standard if c.policy.critic}) == 5
    assert {c.regime for c in standard} == {"ph", "mg", "stitch"} and {c.seed for c in standard} == {0, 1, 2}
    assert any(c.policy.selection.untrained_critic for c in standard)
    assert {c.size for c in grid["data_and_size"]} == {"tiny", "xs", "s", "m"}
    assert set(grid) <= set(available("tasks/suites"))


def test_the_controls_of_the_horizon_hold_equal_what_they_say():
    grid = {name: expand(load_suite(name)) for name in ("horizon_controls", "horizon_total")}
    for cells_of_suite in grid.values():
        assert len({(c.policy.steps, c.policy.batch_size, c.evaluation.episodes) for c in cells_of_suite}) == 1
        assert {
            c.policy.critic.tau for c in cells_of_suite if c.policy.critic and c.policy.critic.target != "none"
        } == {0.05}
        assert {c.seed for c in cells_of_suite} == {0, 1, 2, 3}
        assert len({c.task.horizon for c in cells_of_suite}) >= 5
    assert {c.data.episodes for c in grid["horizon_controls"]} == {200}
    stages = {len(c.task.stages) * c.data.episodes * c.task.control_hz for c in grid["horizon_total"]}
    assert stages == {8000}, "stages times demonstrations times decisions per second: equal data in total"
    core = [c for c in grid["horizon_controls"] if c.task.name == "chain8" and c.regime == "mh" and c.seed == 0]
    assert {c.policy.n_step for c in core if c.policy.objective.name == "sarsa_bon"} == {1, 5, 25}


def test_every_cost_measurement_that_ships_covers_all_topologies_beside_cloning():
    for name in ("quick", "standard"):
        suite = load_suite(name)
        layers = suite.set, suite.cost.set
        policies = [policy_of(choice, *layers, size=None, where=name) for choice in suite.cost.policies]
        assert policies[0].critic is None and policies[0].objective.name == "bc"
        assert len({p.critic.topology for p in policies if p.critic}) == 5


def test_a_policy_can_be_named_by_its_path(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: bc\noptim: {lr: 0.5}")
    assert policy_of(PolicyChoice(use=str(tmp_path / "mine.yaml")), size=None, where="suite").optim.lr == 0.5


def test_a_row_whose_name_cannot_be_a_folder_is_refused_before_anything_runs(presets, fakes, tmp_path):
    for name in ("bc/min", "x" * 260, "../../X"):
        suite = presets(groups=[GROUP | {"policies": ["bc", {"use": "bc", "name": name}]}])
        with pytest.raises(UsageError, match="suite small: groups.0.policies.1.name: .*set name to"):
            bench(suite, tmp_path / "out", workers=1, progress=False)
    assert not fakes.calls() and not (tmp_path / "out").exists()


def test_a_noise_vector_serves_one_training(presets):
    fixed = {"use": "flow", "name": "fixed", "set": {"selection": {"noise_seed": 5}}}
    assert len(cells(presets, groups=[GROUP | {"policies": [fixed]}])) == 1
    with pytest.raises(UsageError, match="the noise vector of 'fixed' is chosen for one training.*one of the seeds"):
        cells(presets, groups=[GROUP | {"policies": [fixed], "seeds": [0, 1]}])
