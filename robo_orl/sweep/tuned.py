"""The file of a search, tasks/tuned/*.yaml: the values chosen for each policy, and the budget of the search.

A suite names one file, which is laid on its policies whatever they learn from, or one for each kind of data.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from robo_orl.base.errors import UsageError
from robo_orl.config import PlainName, Strict, SuiteConfig, parse
from robo_orl.config.presets import preset_values
from robo_orl.config.regimes import regime_parts
from robo_orl.config.suites import EndpointName
from robo_orl.results.record import Tuning


class Chosen(Strict):
    """The best trial of one policy."""

    objective: str
    set: dict[str, Any] = Field({}, description="laid on the policy file; empty: the file as it is was best")
    trial: int = Field(ge=0, description="which trial it was; 0 is the file as it is")
    trials: int = Field(ge=1, description="how many there were: the budget, or all points of a smaller space")
    k: int = Field(ge=0, description="successes of its n episodes on all tasks, from start states for tuning")
    n: int = Field(ge=1)
    score: float | None = Field(None, description="what it was chosen by, `score_of`; older files do not say")
    one_training: bool = Field(False, description="chosen for one training, as a noise vector is: no variant takes it")


class Tuned(Strict):
    """The result of `robo-orl tune`. Every policy had the same number of trials."""

    name: PlainName
    suite: str
    task: str = Field(description="or several, joined by commas: a trial's score is the mean over them")
    regime: str
    endpoint: EndpointName = Field("success", description="what a trial's score is; older files do not say")
    trials: int = Field(ge=1, description="the budget of each policy")
    episodes: int = Field(ge=1)
    seed: int = 0
    steps: int = Field(ge=1, description="of a trial's training")
    set: dict[str, Any] | None = Field(None, description="what was laid on every policy; older files do not say")
    policies: dict[str, Chosen]

    def of(self, name: str, objective: str) -> Chosen | None:
        """The choice for a policy: its own; that of the policy that it is a variant of; or of the only one tuned alike.

        bc_flow_zero_noise is a variant of bc_flow, and of bc where bc_flow was not tuned. A policy whose name says no
        such thing takes the choice of the only policy that was tuned for its objective. What was chosen for one
        training is for that policy alone.
        """
        same = {
            tuned: chosen
            for tuned, chosen in self.policies.items()
            if chosen.objective == objective and (tuned == name or not chosen.one_training)
        }
        tuned_names = [tuned for tuned in same if name == tuned or name.startswith(f"{tuned}_")]
        if tuned_names:
            return same[max(tuned_names, key=len)]
        return next(iter(same.values())) if len(same) == 1 else None

    def provenance(self, chosen: Chosen | None) -> Tuning:
        """The search behind a result's settings, for its record."""
        trials = chosen.trials if chosen else 0
        return Tuning(trials=trials, episodes=self.episodes, task=self.task, regime=self.regime)


def load_tuned(name: str) -> Tuned:
    """A file by its name in tasks/tuned/, or by path."""
    return parse(Tuned, preset_values("tasks/tuned", name), f"tuned {name}")


def searches_of(suite: SuiteConfig) -> list[Tuned]:
    """The searches that a suite names; UsageError where two of them are of one kind of data."""
    names = [suite.tuned] if isinstance(suite.tuned, str) else suite.tuned or []
    searches = [load_tuned(name) for name in names]
    kinds = [search.regime for search in searches]
    if len(set(kinds)) < len(kinds):
        twice = next(kind for kind in kinds if kinds.count(kind) > 1)
        raise UsageError(f"suite {suite.name}: tuned names two searches on {twice} data; leave one of them out.")
    return searches


def search_for(suite: SuiteConfig, searches: list[Tuned], regime: str) -> Tuned | None:
    """Of a suite's searches the one for the policies that learn from a regime; None where it names none.

    A single file serves every regime. Of several, that of the regime, or of the regime without its variants.
    UsageError where none is.
    """
    if not isinstance(suite.tuned, list):
        return searches[0] if searches else None
    by_kind = {search.regime: search for search in searches}
    found = by_kind.get(regime) or by_kind.get(regime_parts(regime)[0])
    if found is None:
        raise UsageError(
            f"suite {suite.name}: tuned has files for {', '.join(by_kind)} and none for {regime}; make one with "
            f"`robo-orl tune --suite {suite.name} --regime {regime}`, or name one file for all."
        )
    return found
