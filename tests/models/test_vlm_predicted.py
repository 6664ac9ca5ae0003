"""The memory of a policy on any family's model is predicted on fake tensors, beside real ones."""

import pytest
import tiny_vlms as tiny

from robo_orl.config import PolicyConfig, deep_merge
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.measure.memory import measured_memory
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import workload_of
from robo_orl.cost.synthetic_step import SyntheticStep


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_is_predicted(family, tmp_path):
    over = {"backbone": {"size": tiny.written(family, tmp_path)}, "optim": {"batch_size": 8, "precision": "fp32"}}
    policy = PolicyConfig.model_validate(deep_merge(load_policy("vla_debug_iql").model_dump(), over))
    workload = workload_of(policy, load_task("chain2"), Layout(device="cpu"))
    predicted, flops = memory(workload), workload.flops(model=True)
    step = SyntheticStep(workload.policy, workload.spec, workload.action_dim, workload.gamma)
    step.run()  # makes the moments
    measured = measured_memory(step)
    held, peak = measured.parts, measured.peak_bytes
    assert predicted.parts["optimizer"] == held["optimizer"]
    assert predicted.peak_bytes == pytest.approx(peak, rel=0.03)
    assert flops > 0
