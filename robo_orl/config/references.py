"""References as values: algorithms of another library beside our policies."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from robo_orl.config.policies import SelectionConfig
from robo_orl.config.strict import PlainName, Strict


class ReferenceConfig(Strict):
    """An algorithm of another library, trained and judged beside our policies (robo_orl/robomimic)."""

    name: PlainName = Field(description="how its row is called")
    description: str = ""
    algorithm: str = Field(description="a name of robo_orl.robomimic.algorithms")
    library: str = Field(description="whose classes it is made of, with the version")
    settings: dict[str, Any] = Field(description="the library's own configuration, resolved: algo, train, experiment")
    low_dim: list[str] | None = Field(None, min_length=1, description="keys that it sees; default: all of the data")

    @property
    def size(self) -> str:
        """Beside our sizes: the library's own networks."""
        return "reference"

    @property
    def steps(self) -> int:
        """Gradient steps of its training."""
        return self.settings["train"]["num_epochs"] * self.settings["experiment"]["epoch_every_n_steps"]

    @property
    def batch_size(self) -> int:
        """Sequences per gradient step."""
        return self.settings["train"]["batch_size"]

    @property
    def selection(self) -> SelectionConfig:
        """It acts as its library has it act."""
        return SelectionConfig()

    @property
    def critic(self) -> None:
        """Its values are not read: they mean something else in every algorithm."""
