"""The shipped policies as parameters of a test: base policies, and variants where they change what is tested.

Those that see pictures have tests of their own (tests/engine/test_train_sees.py, test_vlm_train.py).
"""

from __future__ import annotations

from collections.abc import Collection

import pytest

from robo_orl.config.presets import available, load_policy
from robo_orl.objectives import OBJECTIVES

FROM_DATA = [name for name, objective in OBJECTIVES.items() if not objective.on_policy]  # of recorded pairs
TOPOLOGIES = ("shared_detached", "separate_small", "separate")
COMPARED = ("iql", "qc")  # whose topologies the suites compare
OTHERS = (
    "bc+flow", "bc+gaussian", "bc+gmm", "bc+bins", "bc+flow+best_of_n_untrained", "filtered_bc+flow", "top_bc+top25",
    "mc_awr+flow", "return_conditioned+flow", "iql+1step", "iql+l1",
    *(f"{base}+{v}" for base in COMPARED for v in ("frozen", "full_ema", "hl_gauss", "separate+full_ema")),
)  # fmt: skip


def policy_files() -> list:
    """Policies that see vectors, those that are not `distinct` marked slow."""
    return _slow_but_for(distinct())


def one_an_objective() -> list:
    """Policies that see vectors, those that are not named after an objective marked slow."""
    return _slow_but_for(OBJECTIVES)


def distinct() -> list[str]:
    """Policies that see vectors, without those that lay another topology on one more objective."""
    others = [f"{base}+{topology}" for base in COMPARED for topology in TOPOLOGIES]
    return sorted([*_bases(), *OTHERS, *others])


def everything() -> list[str]:
    """Every base policy that sees vectors, its topologies, and the variants of OTHERS."""
    critics = [name for name in _bases() if name in OBJECTIVES and load_policy(name).critic]
    return sorted({*distinct(), *(f"{name}+{topology}" for name in critics for topology in TOPOLOGIES)})


def _slow_but_for(fast: Collection[str]) -> list:
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in everything()]


def _bases() -> list[str]:
    return [name for name in available("policies") if not load_policy(name).observation.cameras]
