"""The file of a search, tasks/tuned/*.yaml: the values chosen for each policy, and the budget of the search."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from robo_orl.config import PlainName, Strict, SuiteConfig, parse
from robo_orl.config.presets import preset_values
from robo_orl.results.record import Tuning


class Chosen(Strict):
    """The best trial of one policy."""

    objective: str
    set: dict[str, Any] = Field({}, description="laid on the policy file; empty: the file as it is was best")
    trial: int = Field(ge=0, description="which trial it was; 0 is the file as it is")
    trials: int = Field(ge=1, description="how many there were: the budget, or all points of a smaller space")
    k: int = Field(ge=0, description="successes of its n episodes, on start states for tuning")
    n: int = Field(ge=1)


class Tuned(Strict):
    """The result of `robo-orl tune`. Every policy had the same number of trials."""

    name: PlainName
    suite: str
    task: str
    regime: str
    trials: int = Field(ge=1, description="the budget of each policy")
    episodes: int = Field(ge=1)
    seed: int = 0
    steps: int = Field(ge=1, description="of a trial's training")
    set: dict[str, Any] | None = Field(None, description="what was laid on every policy; older files do not say")
    policies: dict[str, Chosen]

    def of(self, name: str, objective: str) -> Chosen | None:
        """The choice for a policy: its own, or that of the only policy that was tuned for its objective."""
        if name in self.policies:
            return self.policies[name]
        same = [chosen for chosen in self.policies.values() if chosen.objective == objective]
        return same[0] if len(same) == 1 else None

    def provenance(self, chosen: Chosen | None) -> Tuning:
        """The search behind a result's settings, for its record."""
        trials = chosen.trials if chosen else 0
        return Tuning(trials=trials, episodes=self.episodes, task=self.task, regime=self.regime)


def load_tuned(name: str) -> Tuned:
    """A file by its name in tasks/tuned/, or by path."""
    return parse(Tuned, preset_values("tasks/tuned", name), f"tuned {name}")


def tuned_of(suite: SuiteConfig) -> Tuned | None:
    """The search that a suite names, None where it names none."""
    return load_tuned(suite.tuned) if suite.tuned else None
