"""The shipped policy files as parameters of a test: every objective in the fast run, all topologies in the slow."""

from __future__ import annotations

import pytest

from robo_orl.presets import available

TOPOLOGIES = ("shared_detached", "separate_small", "separate")
COMPARED = ("iql", "qc")  # whose topologies the suites compare


def policy_files() -> list:
    """Names of policies/, those that are not `distinct` marked slow."""
    fast = distinct()
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in available("policies")]


def distinct() -> list[str]:
    """Names of policies/ without those that only lay another topology on one more objective."""
    return [name for name in available("policies") if not _repeats(name)]


def _repeats(name: str) -> bool:
    base = next((name.removesuffix(f"_{t}") for t in TOPOLOGIES if name.endswith(f"_{t}")), None)
    return base is not None and base not in COMPARED
