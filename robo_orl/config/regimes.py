"""The names of data: a regime of demonstrators, alone or with variants of its outcomes joined to it (`mg+permuted`)."""

from __future__ import annotations

from typing import Literal, get_args

from robo_orl.base.errors import UsageError, unknown

Regime = Literal["ph", "mh", "mg", "stitch", "paired", "half_fast", "never_whole"]
REGIMES: tuple[Regime, ...] = get_args(Regime)
OutcomeVariant = Literal["permuted", "ended"]
"""permuted: every episode has another one's rewards, stages and success. ended: where a demonstrator walks off before
the time limit, the episode ends in a terminal and not in a timeout. Neither is recorded anew: `robo-orl data edit`
writes a copy of the regime's file."""
OUTCOME_VARIANTS: tuple[OutcomeVariant, ...] = get_args(OutcomeVariant)


def split_regime(name: str) -> tuple[Regime, tuple[OutcomeVariant, ...]]:
    """The regime that is recorded, and the variants of its outcomes; UsageError for a name that is neither."""
    regime, *variants = name.split("+")
    if regime not in REGIMES:
        raise unknown("regime", regime, REGIMES)
    for variant in variants:
        if variant not in OUTCOME_VARIANTS:
            raise unknown(f"variant of regime {regime}", variant, OUTCOME_VARIANTS)
    if len(set(variants)) < len(variants):
        raise UsageError(f"The regime {name} names a variant twice: give each once.")
    return regime, tuple(variants)
