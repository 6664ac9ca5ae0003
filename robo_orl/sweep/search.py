"""The search space of a policy and the points that are tried in it, the same number for every policy.

Trial 0 is the policy file as it is. The others are drawn by optuna's tree-structured Parzen estimator (Bergstra et al.
2011) from the grid that the objective's authors published, without repeating a point; with few trials that is a random
search. Everything is a function of the seed and of the scores so far: an interrupted search that observes its stored
scores proposes the same points.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from robo_orl.base.errors import RunError
from robo_orl.config import PolicyConfig, deep_merge, sha256_of
from robo_orl.objectives import OBJECTIVES

Point = dict[str, Any]  # key of a policy file -> value
# Every method has it. Nothing more: a budget of a few trials is for what the authors tuned.
COMMON = {"optim.lr": (0.0003, 0.001, 0.003)}


def space_of(policy: PolicyConfig) -> dict[str, tuple[Any, ...]]:
    """Key -> values; the policy's own value is always among them, the first."""
    space = {}
    for key, values in (COMMON | OBJECTIVES[policy.objective.name].search).items():
        own = _value(policy, key)
        space[key] = (own, *(value for value in values if value != own))
    return space


def size_of(space: dict[str, tuple[Any, ...]]) -> int:
    """The number of points in a space."""
    total = 1
    for values in space.values():
        total *= len(values)
    return total


def nested(point: Point) -> dict[str, Any]:
    """A point as settings of a policy file."""
    settings: dict[str, Any] = {}
    for key, value in point.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        settings = deep_merge(settings, value)
    return settings


def _value(policy: PolicyConfig, key: str) -> Any:
    """The policy's value at a dotted key; parameters of an objective that it does not name have their default."""
    parts = key.split(".")
    if parts[:2] == ["objective", "params"] and parts[2] not in policy.objective.params:
        return OBJECTIVES[policy.objective.name].Params.model_fields[parts[2]].default
    value: Any = policy.model_dump(mode="json")
    for part in parts:
        value = value[part]
    return value


class Search:
    """The trials of one policy, one after the other: `propose` a point, `observe` its score."""

    def __init__(self, policy: PolicyConfig, seed: int):
        try:
            import optuna
        except ImportError as error:
            raise RunError(f"Tuning needs optuna ({error}); install it with: pip install 'robo-orl[tune]'.") from None
        optuna.logging.set_verbosity(logging.WARNING)
        self.space, self._seen = space_of(policy), set()
        own_seed = int(sha256_of([seed, policy.name])[:8], 16)  # no two policies draw alike
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=own_seed))
        self._study.enqueue_trial({key: json.dumps(values[0]) for key, values in self.space.items()})
        self._pruned = optuna.trial.TrialState.PRUNED

    def propose(self) -> Point | None:
        """The settings of the next trial that differ from the policy file; None when every point was tried."""
        while len(self._seen) < size_of(self.space):
            self._trial = self._study.ask()
            # As JSON, so that numbers, words and null are categories alike.
            drawn = {
                key: self._trial.suggest_categorical(key, [json.dumps(v) for v in values])
                for key, values in self.space.items()
            }
            if (point := tuple(drawn.values())) not in self._seen:
                self._seen.add(point)
                return {key: json.loads(v) for key, v in drawn.items() if json.loads(v) != self.space[key][0]}
            self._study.tell(self._trial, state=self._pruned)
        return None

    def observe(self, score: float) -> None:
        """Take the score of the point that was proposed last; more is better."""
        self._study.tell(self._trial, score)
