"""The parts that all stored schemas are made of: a frozen model, k of n, and k of n with its interval."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Stored(BaseModel):
    """A frozen part of a record; unknown keys are refused, and numbers that are infinite or no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Count(Stored):
    """k of n."""

    k: int = Field(ge=0)
    n: int = Field(ge=0)

    @model_validator(mode="after")
    def _k_is_part_of_n(self) -> Count:
        if self.k > self.n:
            raise ValueError(f"k ({self.k}) cannot exceed n ({self.n})")
        return self

    @property
    def rate(self) -> float | None:
        """k/n, or None where nothing was counted."""
        return self.k / self.n if self.n else None


class Score(Count):
    """k of n with its 95 % Wilson interval (0 to 1 where n is 0)."""

    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
