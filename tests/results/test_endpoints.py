"""Endpoints: their values are recounted from the rows, and a suite that names none has the defaults."""

import numpy as np
import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import SuiteConfig, parse
from robo_orl.results.endpoints import Endpoint, declares_endpoints, endpoints_of, success_curve, success_times
from robo_orl.results.record import EpisodeRow


def row(index: int, stages: list[bool], length: int, **more) -> EpisodeRow:
    solved = stages[-1]
    return EpisodeRow(episode=index, start=index, seed=0, success_once=solved, success_at_end=solved, stages=stages,
                      length=length, wall_s=1.0, discounted_return=0.99**length if solved else 0.0, **more)  # fmt: skip


ROWS = [
    row(0, [True, True], 80),
    row(1, [True, True], 81, stage_steps=[30, 81]),
    row(2, [True, False], 200, stage_steps=[150, None]),
    row(3, [False, False], 200),
    row(4, [True, True], 200, stage_steps=[10, 200]),
]


def test_the_values_of_every_endpoint():
    assert Endpoint("success").values(ROWS, 200).tolist() == [1, 1, 0, 0, 1]
    assert Endpoint("deadline", 0.4).values(ROWS, 200).tolist() == [1, 0, 0, 0, 0]
    assert Endpoint("deadline", 0.8).values(ROWS, 200).tolist() == [1, 1, 0, 0, 0]
    assert Endpoint("stages").values(ROWS, 200).tolist() == [1, 1, 0.5, 0, 1]
    assert Endpoint("return").values(ROWS, 200).tolist() == [r.discounted_return for r in ROWS]


def test_a_curve_is_the_count_of_successes_within_every_number_of_decisions():
    rng = np.random.default_rng(0)
    rows = [row(i, [bool(rng.random() < 0.7)], int(rng.integers(1, 200))) for i in range(100)]
    decisions = list(range(0, 205, 3))
    brute = [sum(r.success_once and r.length <= d for r in rows) for d in decisions]
    assert success_curve(success_times(rows), decisions).tolist() == brute
    assert success_curve(success_times(ROWS), [79, 80, 81, 199, 200]).tolist() == [0, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("share", "horizon", "decisions"), [(0.4, 200, 80), (0.6, 400, 240), (0.8, 35, 28), (0.7, 10, 7)]
)
def test_a_deadline_is_a_share_of_the_limit_rounded_down(share, horizon, decisions):
    assert Endpoint("deadline", share).decisions(horizon) == decisions


def test_a_suite_declares_its_endpoints_and_one_that_names_none_has_the_defaults():
    names = [endpoint.name for endpoint in endpoints_of(None)]
    assert names == ["return", "success", "within_40", "within_60", "within_80"]
    suite = {"name": "s", "groups": [{"tasks": ["lift"], "regimes": ["mg"], "policies": ["bc"]}]}
    resolved = parse(SuiteConfig, suite, "suite").model_dump(mode="json")
    assert declares_endpoints(resolved) and not declares_endpoints({}) and not declares_endpoints(None)
    assert endpoints_of(resolved) == endpoints_of(None)
    other = parse(SuiteConfig, suite | {"endpoints": ["deadline", "stages"], "deadlines": [0.5, 0.25]}, "suite")
    assert [e.name for e in endpoints_of(other.model_dump())] == ["within_25", "within_50", "stages"]


@pytest.mark.parametrize(
    "wrong", [{"endpoints": ["success", "success"]}, {"deadlines": [1.0]}, {"endpoints": ["speed"]}]
)
def test_a_suite_with_an_endpoint_that_is_none_is_refused(wrong):
    suite = {"name": "s", "groups": [{"tasks": ["lift"], "regimes": ["mg"], "policies": ["bc"]}]}
    with pytest.raises(UsageError, match=next(iter(wrong))):
        parse(SuiteConfig, suite | wrong, "suite")
