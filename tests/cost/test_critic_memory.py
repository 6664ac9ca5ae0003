"""A critic on the policy's backbone costs little memory too: predicted, so that no machine's mood enters."""

import pytest

from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import with_batch, workload_of


def peak(name: str) -> int:
    policy = with_batch(load_policy(name), 64)
    policy = policy.model_copy(update={"backbone": policy.backbone.model_copy(update={"size": "m"})})
    return memory(workload_of(policy, load_task("chain2"), Layout(device="cpu"))).peak_bytes


def test_at_size_m_a_shared_critic_takes_at_most_10_percent_more_memory():
    cloning = peak("bc_flow")
    assert cloning < peak("qc") < 1.10 * cloning


@pytest.mark.slow
def test_a_backbone_of_its_own_takes_nearly_twice_and_a_slow_copy_of_it_more():
    cloning = peak("bc_flow")
    assert 1.7 * cloning < peak("qc_separate") < peak("qc_separate_full_ema") < 2.6 * cloning
