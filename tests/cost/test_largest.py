"""The largest model of the dial that fits is the one whose prediction is the last to stay below the limit."""

import pytest

from robo_orl.config import PolicyConfig, deep_merge
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict import largest as sought
from robo_orl.cost.predict.largest import at, continued, dial, largest, peak_at
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import workload_of


@pytest.fixture
def asked(monkeypatch):
    """A small dial, walked at four depths up to 10 instead of 44. At a depth below 7 the peak is at another moment."""
    monkeypatch.setattr(sought, "WALKED", (7, 8, 9, 10))
    monkeypatch.setattr(sought, "DEEPEST", 12)
    values = deep_merge(load_policy("bc_flow").model_dump(), {"optim": {"batch_size": 16}})
    return workload_of(PolicyConfig.model_validate(values), load_task("chain2"), Layout())


def test_the_peak_is_exact_where_it_was_walked_and_near_it_beyond(asked):
    phases = continued(asked)
    assert peak_at(asked, 8, phases) == memory(at(asked, 8)).peak_bytes
    assert peak_at(asked, 12, phases) == pytest.approx(memory(at(asked, 12)).peak_bytes, rel=0.02)


def test_the_answer_fits_and_the_next_depth_does_not(asked):
    limit = memory(at(asked, 9)).peak_bytes
    found = largest(asked, limit, verify=True)
    assert found.depth == 9 and found.size == "d9" and found.peak_bytes <= 1.02 * limit
    assert found.parameters > found.backbone_parameters > 0
    assert largest(asked, 1000) is None


def test_the_dial_is_even_where_heads_are_wide():
    assert [depth for depth in dial() if depth < 26] == [*range(2, 20), 20, 22, 24]


def test_a_depth_is_a_size():
    policy = load_policy("bc")
    named, dialled = (
        workload_of(
            policy.model_copy(update={"backbone": policy.backbone.model_copy(update={"size": size})}),
            load_task("chain2"),
            Layout(),
        )
        for size in ("s", "d8")
    )
    assert named.weights == dialled.weights
