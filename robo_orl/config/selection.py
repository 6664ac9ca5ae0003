"""How a policy chooses among its samples, as a value."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robo_orl.config.strict import Strict


class SelectionConfig(Strict):
    """Selection among the samples of the acting policy."""

    num_samples: int = Field(1, ge=1, le=10_000, description="N: best of N by the critic; 1 = the policy's own sample")
    untrained_critic: bool = Field(False, description="control: rank by a freshly initialised critic")
    look_ahead: int = Field(
        0,
        ge=0,
        description="oracle: rank by what each sample gains in the simulator within so many decisions; 0 = off",
    )
    look_every: int = Field(
        1, ge=1, description="of look_ahead: chunks from one search to the next; between them the first sample is taken"
    )
    noise_scale: float = Field(
        1.0, ge=0, description="of the noise that a flow starts from in acting; 0 = one chunk, without noise"
    )
    noise_seed: int | None = Field(
        None,
        ge=0,
        description="a flow starts from one noise vector at every decision, the draw of this seed; `tune` chooses it",
    )
    acting: Literal["sample", "mode", "low_noise", "random", "base"] | None = Field(
        None,
        description="how one chunk is chosen; default: action_head.acting; random = uniform in [-1, 1], the floor; "
        "base = by the action head alone, without what the objective adds to it",
    )

    @property
    def deterministic(self) -> bool:
        """True where the samples of one observation are copies of one chunk."""
        return self.noise_scale == 0 or self.acting == "mode"
