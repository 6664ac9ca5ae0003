"""The shipped policy files as parameters of a test: every objective in the fast run, all topologies in the slow.

Those that see pictures have tests of their own (tests/engine/test_train_sees.py, test_vlm_train.py).
"""

from __future__ import annotations

from collections.abc import Collection

import pytest

from robo_orl.config.presets import available, load_policy
from robo_orl.objectives import OBJECTIVES

TOPOLOGIES = ("shared_detached", "separate_small", "separate")
COMPARED = ("iql", "qc")  # whose topologies the suites compare


def policy_files() -> list:
    """Names of policies/, those that are not `distinct` marked slow."""
    return _slow_but_for(distinct())


def one_an_objective() -> list:
    """Names of policies/, those that are not named after an objective marked slow."""
    return _slow_but_for(OBJECTIVES)


def distinct() -> list[str]:
    """Names of policies/ without those that only lay another topology on one more objective."""
    return [name for name in _blind() if not _repeats(name)]


def _slow_but_for(fast: Collection[str]) -> list:
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in _blind()]


def _blind() -> list[str]:
    """The policies that see vectors only."""
    return [name for name in available("policies") if not load_policy(name).observation.cameras]


def _repeats(name: str) -> bool:
    base = next((name.removesuffix(f"_{t}") for t in TOPOLOGIES if name.endswith(f"_{t}")), None)
    return base is not None and base not in COMPARED
