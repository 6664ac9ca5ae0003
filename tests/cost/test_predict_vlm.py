"""A vision-language policy is predicted like a native one: arithmetic and fake tensors, beside real tensors."""

import pytest
from real_step import beside_real_tensors

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, deep_merge
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import Workload, workload_of

CASES = {
    "cloning": ("vla_debug", {}),
    "critic": ("vla_debug_iql", {}),
    "lora": ("vla_debug", {"backbone": {"lora": {"rank": 4, "alpha": 8.0}}}),
    "checkpointing": ("vla_debug", {"backbone": {"checkpointing": True}}),
}


def workload(name: str, over: dict) -> Workload:
    values = deep_merge(load_policy(name).model_dump(), {"optim": {"batch_size": 8, "precision": "fp32"}})
    policy = PolicyConfig.model_validate(deep_merge(values, over))
    return workload_of(policy, load_task("chain2"), Layout(device="cpu"))


@pytest.mark.parametrize("case", CASES)
def test_every_part_is_what_real_tensors_take(case):
    asked = workload(*CASES[case])
    beside = beside_real_tensors(asked)
    for phase, fake in asked.phases(4).items():
        if phase != "inputs":
            assert fake.activations == pytest.approx(beside.phases[phase].activations, rel=0.02)
    assert beside.found.peak_bytes == pytest.approx(beside.peak, rel=0.03)
    assert asked.flops(model=True) > 0


def test_weights_on_disk_are_not_asked_for():
    plain = workload("vla_debug", {})
    named = workload("vla_debug", {"backbone": {"weights": "/nowhere/at/all"}})
    assert memory(named).peak_bytes == memory(plain).peak_bytes


def test_what_is_read_from_a_cache_is_refused_by_name():
    with pytest.raises(UsageError, match="backbone.cache"):
        workload("vla_debug", {"backbone": {"frozen": True, "cache": True}})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_published_size_is_predicted_without_its_weights():
    asked = workload("vla_flow", {"backbone": {"size": "smolvlm2_256m"}})
    found = memory(asked)
    assert 200e6 < asked.weights.trained + asked.weights.frozen < 300e6
    assert found.parts["optimizer"] == pytest.approx(8 * asked.weights.trained, rel=1e-3)
    assert asked.flops(model=False) >= asked.flops(model=True) > 6 * 8 * 50e6
