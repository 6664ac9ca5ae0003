"""The names of data: a regime of demonstrators, alone or with variants joined to it (`mg+permuted`, `mg+25demos`).

Where the rewards are those of a source the name ends in it: `stitch@stages_25`.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from robo_orl.base.errors import UsageError, unknown

Regime = Literal["ph", "mh", "mg", "stitch", "paired", "half_fast", "never_whole"]
REGIMES: tuple[Regime, ...] = get_args(Regime)
OutcomeVariant = Literal["permuted", "ended"]
"""permuted: every episode has another one's rewards, stages and success. ended: where a demonstrator walks off before
the time limit, the episode ends in a terminal and not in a timeout. Neither is recorded anew: `robo-orl data edit`
writes a copy of the regime's file."""
OUTCOME_VARIANTS: tuple[OutcomeVariant, ...] = get_args(OutcomeVariant)
AMOUNT = re.compile(r"([1-9]\d*)demos")
"""A variant that is an amount of data: its number of demonstrations, in place of the suite's. A longer recording begins
like a shorter one, so that more demonstrations are the fewer and others."""
REWARD_SIGN = "@"


def split_regime(name: str) -> tuple[Regime, tuple[OutcomeVariant, ...]]:
    """The regime that is recorded, and the variants of its outcomes; UsageError for a name that is neither."""
    regime, *variants = regime_parts(name)
    if regime not in REGIMES:
        raise unknown("regime", regime, REGIMES)
    outcomes = [variant for variant in variants if not AMOUNT.fullmatch(variant)]
    for variant in outcomes:
        if variant not in OUTCOME_VARIANTS:
            raise unknown(f"variant of regime {regime}", variant, [*OUTCOME_VARIANTS, "25demos"])
    if len(set(outcomes)) < len(outcomes) or len(variants) > len(outcomes) + 1:
        raise UsageError(f"The regime {name} names a variant twice: give each once.")
    return regime, tuple(outcomes)


def regime_parts(name: str) -> list[str]:
    """The regime and its variants as they are written, known or not, whatever the rewards: `mg+ended@stages_25` is
    `mg` and `ended`."""
    return without_reward(name).split("+")


def amount_of(name: str) -> int | None:
    """The demonstrations that the name of a regime asks for, `mg+25demos` for 25; None where it says nothing."""
    found = [AMOUNT.fullmatch(variant) for variant in regime_parts(name)[1:]]
    return next((int(match[1]) for match in found if match), None)


def with_reward(name: str, reward: str) -> str:
    """The name of data with the rewards of a source: `stitch` and `stages_25` are `stitch@stages_25`."""
    return f"{name}{REWARD_SIGN}{reward}"


def without_reward(name: str) -> str:
    """The name of the data that a source's rewards were put on."""
    return name.partition(REWARD_SIGN)[0]
