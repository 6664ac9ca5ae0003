"""The cost of steps in one process: turns, numbers that add up, and the engine's own step."""

import json
from functools import partial

import pytest
import torch
from accelerate import Accelerator

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import PolicyConfig, TaskConfig, deep_merge
from robo_orl.cost.flops import count_flops
from robo_orl.cost.measure import device, distributed
from robo_orl.cost.measure import one_process as module
from robo_orl.cost.measure.device import matmul_ceiling, out_of_memory
from robo_orl.cost.measure.one_process import compare
from robo_orl.cost.measure.step_cost import WARM_UP, ProcessCosts, StepCost, in_turns, times_of
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.profile import Request, measured
from robo_orl.cost.synthetic_step import SyntheticStep, action_size, synthetic_window, task_spec
from robo_orl.cost.terminal import show_measurement
from robo_orl.engine.distributed import prepare
from robo_orl.engine.training_step import PHASES, TrainingStep
from robo_orl.results.cost_record import CostRow

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
    rows = compare(policies, TASK, steps=2, device="cpu", predict=False)
    return {row.policy: row.to_json() for row in rows}


def test_every_row_is_a_cost_row_relative_to_the_first(table):
    for row in table.values():
        CostRow.model_validate({name: row[name] for name in CostRow.model_fields if name in row})
        assert row["steps"] == 2 and row["windows"] == "synthetic" and row["batch"] == 16
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


def test_a_decision_is_timed_beside_that_of_the_first(table):
    for row in table.values():
        low, high = row["act_s_quartiles"]
        assert 0 < low <= row["act_s"] <= high
        low, high = row["act_relative_quartiles"]
        assert 0 < low <= row["act_relative"] <= high
    assert table["bc"]["act_relative"] == 1


def test_decisions_take_turns_on_one_observation_without_a_gradient():
    made = [SyntheticStep(policy(name), task_spec(TASK), 7, 0.99) for name in ("a", "b")]
    turns = []
    for step in made:
        act = step.agent.act

        def seen(obs, draws, agent=step.agent, name=step.policy.name, act=act):
            turns.append(name)
            assert len(obs) == 1 and not torch.is_grad_enabled() and not agent.training
            return act(obs, draws)

        step.agent.act = seen
    seconds = module.decision_seconds(made, 3)
    assert [len(own) for own in seconds] == [3, 3] and len(turns) == 2 * (3 + WARM_UP)
    rounds = [tuple(turns[i : i + 2]) for i in range(0, len(turns), 2)]
    assert set(rounds) == {("a", "b"), ("b", "a")}


def test_topologies_order_as_their_work_does(table):
    flops = {name: row["flops_per_sample"] for name, row in table.items()}
    assert flops["frozen"] < flops["bc"] < flops["shared_detached"] < flops["shared"] < flops["separate_small"]
    assert flops["separate_small"] < flops["separate"]
    memory = {name: row["peak_memory_bytes"] for name, row in table.items()}
    assert memory["bc"] < memory["shared"] < memory["separate_small"] < memory["separate"]


def test_flops_are_a_count_and_not_a_measurement(table):
    again = SyntheticStep(policy("bc", backbone={"size": "xs"}), task_spec(TASK), 7, 0.99)
    assert count_flops(again.run) / 16 == table["bc"]["flops_per_sample"]


def test_a_ratio_compares_within_a_round():
    """The machine slows down fourfold in the middle: the ratio does not notice."""
    base = [dict.fromkeys(PHASES, s) for s in (1.0, 1.1, 4.0, 4.2)]
    twice = [{phase: 2 * s for phase, s in turn.items()} for turn in base]
    row = in_turns(StepCost("a", "tiny", 16, "fp32", False, "cpu", 1, 10), twice, base)
    assert row.step_relative == pytest.approx(2) and row.step_relative_quartiles == pytest.approx([2, 2])
    assert times_of(twice).step_s == pytest.approx(8 * (1.1 + 4.0) / 2)


def test_every_policy_takes_every_turn_and_warm_up_is_left_out(monkeypatch):
    turns = []

    class Counting:
        device = torch.device("cpu")

        def __init__(self, name):
            self.name = name

        def timed(self):
            turns.append(self.name)
            return {phase: float(len(turns)) for phase in PHASES}

    table, _ = module._interleaved([Counting("a"), Counting("b"), Counting("c")], 4, progress=False)
    assert len(table) == 4 and len(turns) == 3 * (4 + WARM_UP)
    rounds = [tuple(turns[i : i + 3]) for i in range(0, len(turns), 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds) and len({r[0] for r in rounds}) == 3


def test_a_step_measured_is_a_step_that_learns():
    step = SyntheticStep(policy("bc"), task_spec(TASK), 7, 0.99)
    losses = [float(step.run()) for _ in range(60)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_what_is_measured_is_the_engines_own_step(monkeypatch):
    """Every weight after three measured steps is that of a training in which every batch is the synthetic window."""
    configured = with_critic("shared", target="head_ema")
    ours, theirs = (SyntheticStep(configured, task_spec(TASK), 7, 0.99) for _ in range(2))
    steps, run = [], TrainingStep.run
    monkeypatch.setattr(TrainingStep, "run", lambda self, step, *rest: steps.append(step) or run(self, step, *rest))
    accelerator = Accelerator(cpu=True)
    model, optimizer = prepare(accelerator, theirs.agent, theirs.optimizer)
    engine = TrainingStep(accelerator, theirs.agent, model, optimizer, configured.optim, seed=0)
    for step in range(3):
        ours.run()
        engine.run(step, lambda rank, world: theirs.window)
    assert steps == [0, 0, 1, 1, 2, 2]
    weights = theirs.agent.state_dict()
    for name, value in ours.agent.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_step_without_memory_is_a_row_and_where_two_do_not_fit_each_is_measured_alone(monkeypatch):
    interleaved = module._interleaved

    def only_one(steps, *rest):
        if len(steps) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return interleaved(steps, *rest)

    monkeypatch.setattr(module, "_interleaved", only_one)
    pair = [policy("bc"), with_critic("separate")]
    base, row = compare(pair, TASK, steps=1, device="cpu", predict=False)
    assert row.alone and row.oom is None and row.memory_relative > 1 and row.flops_relative > 1
    assert row.step_relative is None and row.step_relative_quartiles is None and base.step_relative == 1
    assert row.acting.act_s > 0 and row.acting.act_relative is None and base.acting.act_relative is None

    def none(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(module, "_make", none)
    (row,) = compare(pair[:1], TASK, steps=1, device="cpu")
    assert row.oom.startswith("CUDA out of memory") and "step_s" not in row.to_json()
    assert row.predicted.peak_bytes > 0 and row.parameters_total > 0


def test_the_ceiling_is_that_of_the_faster_product(monkeypatch):
    """The layers' product may be another library's: a floor of a step by the slower one would be none."""
    by_torch = matmul_ceiling("cpu", "fp32", seconds=0.01)
    monkeypatch.setattr(device, "Linear", lambda *_, **__: torch.nn.Identity())
    assert matmul_ceiling("cpu", "fp32", seconds=0.01) > 10 * by_torch


def test_another_fault_is_no_memory_fault():
    with pytest.raises(RuntimeError, match="shapes differ"):
        out_of_memory(RuntimeError("shapes differ"))


def test_a_measurement_of_the_command_has_rows_rates_and_a_prediction_beside_it(monkeypatch):
    monkeypatch.setattr(module, "matmul_ceiling", partial(matmul_ceiling, seconds=0.01))
    request = Request(policies=("bc_flow", "qc"), task="chain2", size="tiny", batch=8)
    made = measured(request, steps=2)
    measurement = json.loads(json.dumps(made.to_json()))
    first, second = measurement["rows"]
    assert (first["policy"], second["policy"]) == ("bc_flow", "qc") and "policy" not in measurement
    assert first["step_relative"] == 1 and second["memory_relative"] > 1 and 0 < second["mfu"] <= second["hfu"]
    for row in measurement["rows"]:
        assert row["predicted"]["peak_bytes"] == pytest.approx(row["peak_memory_bytes"], rel=0.02)
        assert row["memory"]["peak_bytes"] == row["peak_memory_bytes"] == sum(row["memory_parts"].values())
    show_measurement(made)
    with pytest.raises(UsageError, match="two of bc, bc are equal"):
        measured(Request(policies=("bc", "bc"), task="chain2"), steps=2)
    with pytest.raises(UsageError, match="--card belongs to a prediction"):
        measured(Request(policies=("bc",), task="chain2", cards=("h100-80gb",)), steps=2)


def test_a_launched_policy_is_measured_between_two_measurements_of_its_base(monkeypatch):
    turns = []

    def launch(layout, policies, task, steps):
        turns.append([policy.name for policy in policies])
        seconds = {"bc": 1.0, "shared": 3.0}
        return [
            ProcessCosts({"engine": "ddp"}, [seconds[p.name] * (1 + i)] * steps, [5, 5], [10 * (1 + i), 9], [1.0, 2.0])
            for i, p in enumerate(policies)
        ]

    monkeypatch.setattr(distributed, "launch", launch)
    pair = [policy("bc"), with_critic("shared")]
    base, row = distributed.compare_launched(pair, TASK, Layout(2), steps=2, predict=False)
    assert turns == [["bc", "shared", "bc"]]
    assert row.step_relative == 6 / 2 and row.memory_relative == 2 and base.step_relative == base.memory_relative == 1
    assert row.to_json()["sent_bytes_per_step"] == [1.0, 2.0] and row.to_json()["peak_memory_bytes"] == 20

    def fails(*_):
        raise RunError("ZeRO-2 failed: CUDA out of memory")

    monkeypatch.setattr(distributed, "launch", fails)
    assert distributed.compare_launched(pair, TASK, Layout(2, 2), predict=False)[-1].oom.startswith("ZeRO-2 failed")


def test_policies_of_different_batch_sizes_do_not_compare():
    with pytest.raises(UsageError, match=r"one batch size, not of \[16, 32\]"):
        compare([policy("a"), policy("b", optim={"batch_size": 32})], TASK)


def test_an_unknown_scene_needs_its_observation_said():
    strange = TASK.model_copy(update={"env": "chian"})
    with pytest.raises(UsageError, match="Did you mean 'chain'"):
        task_spec(strange)


def test_the_observation_sizes_are_the_simulators():
    pytest.importorskip("robosuite", reason="needs the simulator")
    from robo_orl.config.presets import load_task
    from robo_orl.envs.task_env import TaskEnv

    for name in ("chain2", "lift", "stack", "can", "square", "transport", "tool_hang"):
        task = load_task(name)
        env = TaskEnv(task)
        assert task_spec(task) == env.spec and env.action_dim == action_size(task)
        env.close()


def test_a_window_is_a_function_of_its_seed():
    one, same, other = (synthetic_window(4, {"object": 3}, 7, 5, 0.9, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.actions, same.actions) and not torch.equal(one.actions, other.actions)
    assert one.actions.abs().max() <= 1 and len(one) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; the CPU's table is tested above")
def test_on_a_gpu_memory_is_the_allocators():
    rows = compare([policy("bc"), with_critic("shared")], TASK, steps=2, device="cuda")
    assert rows[0].memory.kind.startswith("torch.cuda") and rows[1].memory_relative > 1
    assert 0 < rows[0].rates.mfu < 1 and rows[0].times.data_s > 0
