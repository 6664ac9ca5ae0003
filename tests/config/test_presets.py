"""Presets: every shipped file is valid, `extends` composes, a user's folder comes first."""

import json

import pytest
from typer.testing import CliRunner

from robo_orl.base.errors import UsageError
from robo_orl.cli.app import app
from robo_orl.config import TaskConfig
from robo_orl.config.presets import PRESETS_VARIABLE, available, load_policy, load_task, load_variant, preset_values


@pytest.mark.parametrize("name", sorted(available("policies")))
def test_every_shipped_policy_is_valid_and_named_after_its_file(name):
    assert load_policy(name).name == name
    assert load_policy(name).description


@pytest.mark.parametrize("name", sorted(available("tasks")))
def test_every_shipped_task_is_valid_and_described(name):
    task = load_task(name)
    assert task.name == name
    assert task.description and task.instruction


def test_tasks_that_differ_in_anything_have_different_digests():
    variants = available("tasks/variants")
    limits = {name for name in variants if load_variant("tasks", name).by_env}  # the limits of other software
    names = [*available("tasks"), *(f"{'can' if name in limits else 'chain2'}+{name}" for name in variants)]
    digests = [load_task(name).digest() for name in names]
    assert len(set(digests)) == len(digests)


def test_a_new_task_is_one_yaml_that_extends_another(tmp_path, monkeypatch):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "chain2_slow.yaml").write_text("extends: chain2\ncontrol_hz: 10\n")
    monkeypatch.setenv(PRESETS_VARIABLE, str(tmp_path))
    task, parent = load_task("chain2_slow"), load_task("chain2")
    assert isinstance(task, TaskConfig)
    assert (task.name, task.stages, task.horizon) == ("chain2_slow", parent.stages, parent.horizon // 2)


def test_a_preset_given_by_path_works_like_one_given_by_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: bc\noptim: {lr: 0.002}\n")
    assert load_policy(str(path)).optim.lr == 0.002


@pytest.mark.parametrize(
    "load, name, sentence",
    [
        (load_policy, "bc_flwo", "Unknown policy 'bc_flwo'. Did you mean 'bc+flow'"),
        (load_policy, "qc_seperate", "Unknown policy 'qc_seperate'. Did you mean 'qc+separate'"),
        (load_policy, "qc+seperate", "Unknown policy variant 'seperate'. Did you mean 'separate'"),
        (load_policy, "qx+separate", "Unknown policy 'qx+separate'. Did you mean 'qc+separate'"),
        (load_task, "chian2", "Unknown task 'chian2'. Did you mean 'chain2'"),
        (load_task, "chain2+41hz", "Unknown task variant '41hz'. Did you mean '40hz'"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(load, name, sentence):
    with pytest.raises(UsageError) as error:
        load(name)
    assert sentence in str(error.value)


def test_an_unknown_parent_names_the_file_that_extends_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: bcc\n")
    with pytest.raises(UsageError, match="mine.yaml extends 'bcc': Unknown policy 'bcc'. Did you mean 'bc'"):
        load_policy(str(tmp_path / "mine.yaml"))


def test_a_preset_that_extends_itself_is_named(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b\n")
    (tmp_path / "b.yaml").write_text("extends: a\n")
    with pytest.raises(UsageError, match="extends itself"):
        preset_values("policies", str(tmp_path / "a.yaml"))


BROKEN = {
    "policies/latin": b"description: \xe9t\xe9\n",
    "policies/syntax": b"critic: {\n",
    "policies/variants/listless": b"removes: critic\n",
    "tasks/nowhere": b"extends: chain\n",
    "tasks/suites/twice": b"version: 1\nversion: 2\n",
}


def test_a_broken_file_in_a_users_folder_is_listed_with_its_sentence_and_the_others_stay(tmp_path, monkeypatch):
    for name, content in BROKEN.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.setenv(PRESETS_VARIABLE, str(tmp_path))
    result = CliRunner().invoke(app, ["list", "--json"])
    assert result.exit_code == 0
    lists = json.loads(result.output)
    rows = {row["name"]: row["description"] for rows in lists.values() for row in rows if "description" in row}
    assert {"bc", "qc", "chain2", "quick", "+separate"} <= rows.keys()
    broken = {name: text for name, text in rows.items() if text.startswith("broken: ")}
    assert broken.keys() == {"latin", "syntax", "+listless", "nowhere", "twice"}
    assert "not UTF-8 text: byte 0xe9 in line 1" in broken["latin"]
    assert "the key 'version' stands twice, in lines 1 and 2" in broken["twice"]
    assert all(len({tuple(row) for row in rows}) == 1 for rows in lists.values())  # one set of columns a list
