"""The names of data: a regime of demonstrators, alone or with variants joined to it (`mg+permuted`, `mg+25demos`)."""

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


def split_regime(name: str) -> tuple[Regime, tuple[OutcomeVariant, ...]]:
    """The regime that is recorded, and the variants of its outcomes; UsageError for a name that is neither."""
    regime, *variants = name.split("+")
    if regime not in REGIMES:
        raise unknown("regime", regime, REGIMES)
    outcomes = [variant for variant in variants if not AMOUNT.fullmatch(variant)]
    for variant in outcomes:
        if variant not in OUTCOME_VARIANTS:
            raise unknown(f"variant of regime {regime}", variant, [*OUTCOME_VARIANTS, "25demos"])
    if len(set(outcomes)) < len(outcomes) or len(variants) > len(outcomes) + 1:
        raise UsageError(f"The regime {name} names a variant twice: give each once.")
    return regime, tuple(outcomes)


def amount_of(name: str) -> int | None:
    """The demonstrations that the name of a regime asks for, `mg+25demos` for 25; None where it says nothing."""
    found = [AMOUNT.fullmatch(variant) for variant in name.split("+")[1:]]
    return next((int(match[1]) for match in found if match), None)
