"""Presets: every shipped file is valid, `extends` composes, a user's folder comes first."""

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import TaskConfig
from robo_orl.config.presets import PRESETS_VARIABLE, available, load_policy, load_task, preset_values


@pytest.mark.parametrize("name", sorted(available("policies")))
def test_every_shipped_policy_is_valid_and_named_after_its_file(name):
    assert load_policy(name).name == name
    assert load_policy(name).description


@pytest.mark.parametrize("topology", ["shared_detached", "separate_small", "separate"])
def test_a_policy_file_named_after_a_topology_has_it(topology):
    named = [name for name in available("policies") if name.endswith(f"_{topology}") and load_policy(name).critic]
    assert len(named) >= 17
    assert {name: load_policy(name).critic.topology for name in named} == dict.fromkeys(named, topology)


@pytest.mark.parametrize("name", sorted(available("tasks")))
def test_every_shipped_task_is_valid_and_described(name):
    task = load_task(name)
    assert task.name == name
    assert task.description and task.instruction


def test_tasks_that_differ_in_anything_have_different_digests():
    digests = [load_task(name).digest() for name in available("tasks")]
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


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="Unknown policy 'bc_flwo'. Did you mean 'bc_flow'"):
        load_policy("bc_flwo")
    with pytest.raises(UsageError, match="Unknown task 'chian2'. Did you mean 'chain2'"):
        load_task("chian2")


def test_a_preset_that_extends_itself_is_named(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b\n")
    (tmp_path / "b.yaml").write_text("extends: a\n")
    with pytest.raises(UsageError, match="extends itself"):
        preset_values("policies", str(tmp_path / "a.yaml"))
