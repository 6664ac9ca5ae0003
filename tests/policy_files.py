"""The shipped policy files as parameters of a test: every objective in the fast run, all topologies in the slow."""

from __future__ import annotations

import pytest

from robo_orl.presets import available

TOPOLOGIES = ("shared_detached", "separate_small", "separate")
COMPARED = ("iql", "qc")  # whose topologies the suites compare


def policy_files() -> list:
    """Names of policies/, those that only lay another topology on a third objective marked slow.

    Policies on a vision-language model have tests of their own (test_vlm_policies.py).
    """
    native = [name for name in available("policies") if not name.startswith("vla_")]
    return [pytest.param(name, marks=pytest.mark.slow) if _repeats(name) else name for name in native]


def _repeats(name: str) -> bool:
    base = next((name.removesuffix(f"_{t}") for t in TOPOLOGIES if name.endswith(f"_{t}")), None)
    return base is not None and base not in COMPARED
