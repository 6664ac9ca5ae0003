"""The step of an online method, predicted as it is measured: what is frozen, what is cached, what acts beside it."""

import pytest
import torch

from robo_orl.agent.agent import build_agent
from robo_orl.base.rng import Draws
from robo_orl.cost.measure.distributed import compare_launched
from robo_orl.cost.measure.memory import measured_memory
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.acting_memory import online_memory
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import with_batch, workload_of
from robo_orl.cost.profile import Request
from robo_orl.cost.synthetic_step import SyntheticStep
from robo_orl.cost.tensor_memory import TensorBytes
from robo_orl.objectives.step import Step

OF_GAUSSIAN = ("ppo", "reinforce", "grpo")


def request(method, size="tiny", **options):
    base = "bc+gaussian" if method.split("+")[0] in OF_GAUSSIAN else "bc+flow"
    (policy,), task = Request(policies=(base,), task="lift", size=size, online=method, **options).resolve()
    return policy, task


@pytest.mark.parametrize(
    "method, size",
    [
        ("qc", "tiny"),
        ("bc_continue", "tiny"),
        ("rlpd", "tiny"),
        ("ppo", "tiny"),
        ("grpo", "tiny"),
        ("fpo", "tiny"),
        ("reinflow", "tiny"),
        *(
            pytest.param(method, size, marks=pytest.mark.slow)
            for size in ("tiny", "s")
            for method in ("ppo+shared", "ppo+frozen", "ppo+separate_small", "ppo+separate", "reinforce")
        ),
        pytest.param("qc", "s", marks=pytest.mark.slow),
        pytest.param("qc+separate", "s", marks=pytest.mark.slow),
    ],
)
def test_a_predicted_step_has_the_bytes_of_a_real_one(method, size):
    policy, task = request(method, batch=32, size=size)
    workload = workload_of(policy, task, Layout())
    step = SyntheticStep(policy, workload.spec, workload.action_dim, workload.gamma)
    trains_all = policy.online.trains == "all"
    learns = trains_all and (policy.critic is None or policy.critic.topology != "frozen")
    assert any(p.requires_grad for p in step.agent.backbone.parameters()) == learns
    assert (step.window.obs.features is None) == trains_all
    step.run()
    measured, foretold = measured_memory(step), memory(workload)
    assert measured.peak_bytes == pytest.approx(foretold.peak_bytes, rel=0.02)


def test_copies_that_act_are_counted_in_the_precision_in_which_they_act():
    policy, task = request("qc")
    workload = workload_of(policy, task, Layout())
    agent = build_agent(policy, workload.spec, workload.action_dim, workload.gamma, None, 0).double()
    held = sum(t.numel() * t.element_size() for t in [*agent.parameters(), *agent.buffers()])
    found = online_memory(workload)
    assert found.collecting == found.judging == held
    tokens = agent.backbone.width * len(workload.spec) * 4
    assert found.token_bytes_per_frame == tokens and found.tokens(1000) == 1000 * tokens


def test_offline_training_holds_no_copy_that_acts():
    (policy,), task = Request(policies=("qc",), task="lift").resolve()
    assert policy.online is None and online_memory(workload_of(policy, task, Layout())) is None


def test_a_round_is_counted_as_it_is_kept():
    """fpo keeps the chunk, eight draws of noise of its shape, eight times and losses, and four numbers of credit."""
    policy, task = request("fpo")
    workload = workload_of(policy, task, Layout())
    found = online_memory(workload)
    assert found.kept_bytes_per_decision == 4 * (10 * 7 + 8 * 10 * 7 + 8 + 8 + 4)
    step = SyntheticStep(with_batch(policy, 512), workload.spec, workload.action_dim, workload.gamma)
    held = [tensor for name, tensors in step.tensors().items() if name != "window" for tensor in tensors]
    with TensorBytes(held) as counter, torch.no_grad():
        before = counter.current
        step.agent.objective.keep(Step(step.agent, step.window.map(torch.clone), Draws(0, 0)))
    assert found.keeping == pytest.approx(counter.peak - before, rel=0.02) and found.keeping > 1e6
    without = online_memory(workload_of(*request("qc"), Layout()))
    assert without.kept_bytes_per_decision == without.keeping == 0


def test_grpo_holds_what_ppo_holds_without_the_critic():
    with_critic, without = (workload_of(*request(name, batch=32), Layout()) for name in ("ppo", "grpo"))
    separate = workload_of(*request("ppo+separate", batch=32), Layout())
    peaks = [memory(workload).peak_bytes for workload in (without, with_critic, separate)]
    assert peaks == sorted(peaks) and with_critic.weights.trained > without.weights.trained
    assert separate.weights.trained > 1.5 * with_critic.weights.trained


@pytest.mark.slow
@pytest.mark.parametrize("method, zero", [("qc", 0), ("qc", 2), ("qc", 3), ("fpo", 3)])
def test_two_launched_processes_hold_what_is_predicted(method, zero):
    """qc reads the tokens of a frozen backbone, fpo decisions of a round."""
    policy, task = request(method, batch=16)
    (row,) = compare_launched([policy], task, Layout(2, zero), steps=1)
    foretold = memory(workload_of(policy, task, Layout(2, zero, device="cpu")))
    for held, peak in zip(row.launched.held_bytes, row.launched.peak_bytes, strict=True):
        assert held == pytest.approx(foretold.held_bytes, rel=0.02)
        assert peak == pytest.approx(foretold.peak_bytes, rel=0.02)
