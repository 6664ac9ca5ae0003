"""The step of an online method, predicted as it is measured: what is frozen, what is cached, what acts beside it."""

import pytest

from robo_orl.agent.agent import build_agent
from robo_orl.cost.measure.memory import measured_memory
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.acting_memory import online_memory
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import workload_of
from robo_orl.cost.profile import Request
from robo_orl.cost.synthetic_step import SyntheticStep


def request(method, size="tiny", **options):
    (policy,), task = Request(policies=("bc+flow",), task="lift", size=size, online=method, **options).resolve()
    return policy, task


@pytest.mark.parametrize(
    "method, size",
    [
        ("qc", "tiny"),
        ("bc_continue", "tiny"),
        ("rlpd", "tiny"),
        pytest.param("qc", "s", marks=pytest.mark.slow),
        pytest.param("qc+separate", "s", marks=pytest.mark.slow),
    ],
)
def test_a_predicted_step_has_the_bytes_of_a_real_one(method, size):
    policy, task = request(method, batch=32, size=size)
    workload = workload_of(policy, task, Layout())
    step = SyntheticStep(policy, workload.spec, workload.action_dim, workload.gamma)
    trains_all = policy.online.trains == "all"
    assert any(p.requires_grad for p in step.agent.backbone.parameters()) == trains_all
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
