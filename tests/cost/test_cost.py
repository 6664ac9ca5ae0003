"""The cost table: one process, turns, and numbers that add up."""

import pytest
import torch

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, TaskConfig, deep_merge
from robo_orl.cost.measure import interleaved as module
from robo_orl.cost.measure.interleaved import cost_table
from robo_orl.cost.synthetic_data import synthetic_window, task_spec
from robo_orl.cost.training_step import PHASES, TrainingStep
from robo_orl.results.record import CostRow

TASK = TaskConfig(name="chain2", env="chain", stages=["one", "two"], max_seconds=16)
BASE = {"name": "bc", "action_head": {"kind": "flow", "chunk": 4, "execute": 2}, "optim": {"batch_size": 16}}
TOPOLOGIES = ("shared", "shared_detached", "frozen", "separate_small", "separate")


def policy(name, **over):
    return PolicyConfig.model_validate(deep_merge(BASE, {"name": name} | over))


def with_critic(topology, **critic):
    return policy(topology, critic={"topology": topology} | critic, objective={"name": "iql"})


@pytest.fixture(scope="module")
def table(one_thread):
    size = {"backbone": {"size": "xs"}}
    policies = [policy("bc")] + [with_critic(t) for t in TOPOLOGIES]
    policies = [PolicyConfig.model_validate(deep_merge(p.model_dump(), size)) for p in policies]
    rows = cost_table(policies, TASK, steps=2, device="cpu")
    return {row["policy"]: row for row in rows}


def test_every_row_is_a_cost_row_relative_to_the_first(table):
    for row in table.values():
        CostRow.model_validate({name: row[name] for name in CostRow.model_fields})
        assert row["steps"] == 2 and row["windows"] == "synthetic" and row["batch_size"] == 16
        assert row["memory_relative"] == row["peak_memory_bytes"] / table["bc"]["peak_memory_bytes"]
    bc = table["bc"]
    assert bc["step_relative"] == bc["flops_relative"] == bc["memory_relative"] == 1
    assert bc["topology"] is None and [table[t]["topology"] for t in TOPOLOGIES] == list(TOPOLOGIES)


def test_phases_and_memory_parts_add_up(table):
    for row in table.values():
        assert set(row["phases_s"]) == set(PHASES) and min(row["phases_s"].values()) > 0
        assert sum(row["memory_parts"].values()) == row["peak_memory_bytes"]
        parameters = row["parameters"]
        assert sum(n for name, n in parameters.items() if name != "total") == parameters["total"]
        trained, moments = row["memory_parts"]["trained"], row["memory_parts"]["optimizer"]
        assert 2 * trained <= moments <= 2 * trained + 4 * 1000  # AdamW: two moments, and a step count per tensor


def test_topologies_order_as_their_work_does(table):
    flops = {name: row["flops_per_sample"] for name, row in table.items()}
    assert flops["frozen"] < flops["bc"] < flops["shared_detached"] < flops["shared"] < flops["separate_small"]
    assert flops["separate_small"] < flops["separate"]
    memory = {name: row["peak_memory_bytes"] for name, row in table.items()}
    assert memory["bc"] < memory["shared"] < memory["separate_small"] < memory["separate"]


def test_flops_are_a_count_and_not_a_measurement(table):
    again = TrainingStep(policy("bc", backbone={"size": "xs"}), task_spec(TASK), 7, 0.99)
    assert module.count_flops(again.run) / 16 == table["bc"]["flops_per_sample"]


def test_a_ratio_compares_within_a_round():
    """The machine slows down fourfold in the middle: the ratio does not notice."""
    base = [dict.fromkeys(PHASES, s) for s in (1.0, 1.1, 4.0, 4.2)]
    twice = [{phase: 2 * s for phase, s in turn.items()} for turn in base]
    times = module._times(twice, base)
    assert times["step_relative"] == pytest.approx(2) and times["step_relative_quartiles"] == pytest.approx([2, 2])
    assert times["step_s"] == pytest.approx(8 * (1.1 + 4.0) / 2)


def test_every_policy_takes_every_turn_and_warm_up_is_left_out(monkeypatch):
    turns = []

    class Counting:
        def __init__(self, name):
            self.name = name

        def timed(self):
            turns.append(self.name)
            return {phase: float(len(turns)) for phase in PHASES}

    table = module._interleaved([Counting("a"), Counting("b"), Counting("c")], 4, progress=False)
    assert len(table) == 4 and len(turns) == 3 * (4 + module.WARM_UP)
    rounds = [tuple(turns[i : i + 3]) for i in range(0, len(turns), 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds) and len({r[0] for r in rounds}) == 3


def test_a_step_measured_is_a_step_that_learns():
    step = TrainingStep(policy("bc"), task_spec(TASK), 7, 0.99)
    losses = [float(step.run()) for _ in range(60)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_policies_of_different_batch_sizes_do_not_compare():
    with pytest.raises(UsageError, match=r"one batch size, not of \[16, 32\]"):
        cost_table([policy("a"), policy("b", optim={"batch_size": 32})], TASK)


def test_an_unknown_scene_needs_its_observation_said():
    strange = TASK.model_copy(update={"env": "chian"})
    with pytest.raises(UsageError, match="Did you mean 'chain'"):
        task_spec(strange)


def test_the_observation_sizes_are_the_simulators():
    pytest.importorskip("robosuite", reason="needs the simulator")
    from robo_orl.config.presets import load_task
    from robo_orl.envs.task_env import TaskEnv

    for name in ("chain2", "lift", "stack"):
        task = load_task(name)
        env = TaskEnv(task)
        assert task_spec(task) == env.spec and env.action_dim == 7
        env.close()


def test_a_window_is_a_function_of_its_seed():
    one, same, other = (synthetic_window(4, {"object": 3}, 7, 5, 0.9, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.actions, same.actions) and not torch.equal(one.actions, other.actions)
    assert one.actions.abs().max() <= 1 and len(one) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; the CPU's table is tested above")
def test_on_a_gpu_memory_is_the_allocators():
    rows = cost_table([policy("bc"), with_critic("shared")], TASK, steps=2, device="cuda")
    assert rows[0]["memory_kind"].startswith("torch.cuda") and rows[1]["memory_relative"] > 1
