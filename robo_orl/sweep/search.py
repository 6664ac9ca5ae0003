"""A search for hyper-parameters: its plan, the space of every policy, and the points that are tried in it.

The plan says which policies of a suite are tuned, on which data, by which budget, the same for every policy. Trial 0 is
the policy file as it is. The others are drawn by optuna's tree-structured Parzen estimator (Bergstra et al. 2011) from
the grid that the objective's authors published, without repeating a point; with few trials that is a random search.
Everything is a function of the seed and of the scores so far: an interrupted search that observes its stored scores
proposes the same points.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robo_orl.agent.agent import check_agent
from robo_orl.base.errors import RunError, UsageError, unknown
from robo_orl.config import (
    EvaluationRequest,
    GridConfig,
    PolicyChoice,
    PolicyConfig,
    SuiteConfig,
    apply_overrides,
    deep_merge,
    parse,
    sha256_of,
)
from robo_orl.config.presets import stored_name, written_name
from robo_orl.config.suites import EndpointName
from robo_orl.objectives import OBJECTIVES
from robo_orl.sweep.cells import load_suite, policy_of

Point = dict[str, Any]  # key of a policy file -> value
# Every method has it. Little more: a budget of a few trials is for what the authors tuned.
COMMON = {"optim.lr": (0.0003, 0.001, 0.003)}
# Of a critic that learns from its own estimates: how far a backup reaches, how fast its targets follow, and how far it
# looks ahead: a reward at the end of the horizon counts e^-1, e^-2 or e^-4 at its beginning.
BACKUP = {"n_step": (None, "execute"), "critic.tau": (0.02, 0.05), "gamma.matched": (1.0, 2.0, 4.0)}
NOISE = {"selection.noise_seed": tuple(range(64))}


def space_of(policy: PolicyConfig) -> dict[str, tuple[Any, ...]]:
    """Key -> values; the policy's own value is always among them, the first.

    Of a policy that acts by a fixed noise vector it is the vector that is chosen, and nothing else: all trials share
    one training.
    """
    objective, space = OBJECTIVES[policy.objective.name], {}
    backup = BACKUP if objective.bootstraps else {}
    searched = NOISE if policy.selection.noise_seed is not None else COMMON | backup | objective.search
    for key, values in searched.items():
        own = _value(policy, key)
        published = key in objective.search  # by the objective's authors, whatever the file has
        fits = [value for value in values if value != own and (published or _takes(policy, key, value))]
        if fits:
            space[key] = (own, *fits)
    return space


def _takes(policy: PolicyConfig, key: str, value: Any) -> bool:
    """Whether a policy takes another value; one whose file names a length of backups or a discount keeps it."""
    if key == "gamma.matched":
        return policy.gamma.matched is not None
    return key != "n_step" or (policy.n_step is None and _backs_up(policy, value))


def _backs_up(policy: PolicyConfig, n_step: int | str | None) -> bool:
    try:
        check_agent(policy.model_copy(update={"n_step": n_step}))
    except UsageError:
        return False
    return True


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


# ------------------------------------------------------------------------------------------------------------- the plan


@dataclass(frozen=True)
class SearchRequest:
    """The options of `robo-orl tune`; None is the default of an option.

    suite: a name or path. policies, task: comma-separated names of the suite's policies and tasks. settings: laid on
    every policy.
    """

    suite: str
    policies: str | None = None
    task: str | None = None
    regime: str | None = None
    trials: int = 8
    episodes: int = 50
    seed: int = 0
    settings: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """A search. choices: the suite's policies by name; layer: the settings that are laid on each of them; tasks: those
    that a trial is judged on, each by its own training."""

    suite: SuiteConfig
    choices: dict[str, PolicyChoice]
    layer: dict[str, Any]
    tasks: tuple[str, ...]
    regime: str
    size: str | None
    trials: int
    episodes: int
    seed: int

    @property
    def task(self) -> str:
        """The tasks, joined by commas."""
        return ",".join(self.tasks)

    @property
    def endpoint(self) -> EndpointName:
        """What a trial is judged by: what the suite's boards are sorted by."""
        return self.suite.endpoints[0]

    def policy(self, name: str) -> PolicyConfig:
        """A policy of the plan as the suite has it."""
        choice = self.choices[name].model_copy(update={"name": name})
        return policy_of(choice, self.layer, size=self.size, where=f"suite {self.suite.name}")

    def trial(self, name: str, number: int, point: Point) -> PolicyChoice:
        """A trial as a policy of a suite, with a name of its own."""
        choice = self.choices[name]
        settings = deep_merge(choice.set, nested(point))
        values = {"use": choice.use, "name": f"{name}_trial{number}", "set": settings}
        return parse(PolicyChoice, values, f"suite {self.suite.name}")

    def cells_of(self, trials: list[PolicyChoice]) -> SuiteConfig:
        """The suite whose cells are these trials."""
        names = {name: pair for group in self.suite.groups for name, pair in group.data_names().items()}
        regime, choice = names[self.regime]
        group = GridConfig(
            tasks=list(self.tasks),
            regimes=[regime],
            rewards=[] if choice is None else [choice],
            policies=trials,
            sizes=[self.size] if self.size else [],
            seeds=[self.seed],
            set=self.layer,
        )
        evaluation = EvaluationRequest(episodes=self.episodes, loop=self.suite.evaluation.loop, starts="tuning")
        values = {
            "name": f"tune-{self.suite.name}",
            "description": f"Trials of a search for suite {self.suite.name}; judged on start states for tuning.",
            "groups": [group],
            "data": self.suite.data,
            "evaluation": evaluation,
            "endpoints": self.suite.endpoints,
            "deadlines": self.suite.deadlines,
            "value_error": False,
        }
        return parse(SuiteConfig, values, f"suite {self.suite.name}")


def make_plan(request: SearchRequest) -> Plan:
    """The plan of a request; UsageError where the suite has no such policy, task or regime."""
    suite = load_suite(request.suite)
    if not suite.groups:
        raise UsageError(f"suite {suite.name} trains nothing: there is nothing to tune.")
    tasks = _tasks(suite, request.task)
    groups = [_group_of(suite, task, request.regime) for task in tasks]
    choices = {choice.row: choice for g in suite.groups for choice in g.policies}
    names = _names(request.policies) if request.policies is not None else [choice.row for choice in groups[0].policies]
    regimes = {name for group in suite.groups for name in group.data_names()}
    _check_known("policy of the suite", names, set(choices))
    _check_known("regime of the suite", [] if request.regime is None else [request.regime], regimes)
    layers = [apply_overrides(deep_merge(suite.set, group.set), list(request.settings)) for group in groups]
    for task, group, layer in zip(tasks, groups, layers, strict=True):
        if (layer, group.sizes[:1]) != (layers[0], groups[0].sizes[:1]):
            raise UsageError(
                f"suite {suite.name} trains on {task} with other settings or another size than on {tasks[0]}; tune on "
                "one of them at a time."
            )
    return Plan(
        suite=suite,
        choices={name: choices[name] for name in names},
        layer=layers[0],
        tasks=tasks,
        regime=request.regime or next(iter(groups[0].data_names())),
        size=groups[0].sizes[0] if groups[0].sizes else None,
        trials=request.trials,
        episodes=request.episodes,
        seed=request.seed,
    )


def _tasks(suite: SuiteConfig, asked: str | None) -> tuple[str, ...]:
    """The tasks that are asked for, by default the suite's first."""
    if asked is None:
        return (suite.groups[0].tasks[0],)
    names = [written_name("tasks", name.strip()) for name in asked.split(",")]
    _check_known("task of the suite", names, {task for group in suite.groups for task in group.tasks})
    return tuple(dict.fromkeys(names))


def _group_of(suite: SuiteConfig, task: str, regime: str | None) -> GridConfig:
    """The group whose settings a task is tuned with: the first that has it, with the regime where one does."""
    groups = [group for group in suite.groups if task in group.tasks]
    return next((group for group in groups if regime in group.data_names()), groups[0])


def _names(policies: str) -> list[str]:
    names = [stored_name(name.strip()) for name in policies.split(",") if name.strip()]
    if not names:
        raise UsageError("--policies names no policy; leave it out for those of the suite's first group.")
    return names


def _check_known(kind: str, names: Sequence[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)


def spaces_of(plan: Plan) -> dict[str, Any]:
    """Per policy the values that may be tried (its own value first), and the number of points."""
    policies = {}
    for name in plan.choices:
        space = space_of(plan.policy(name))
        policies[name] = {"points": size_of(space), "trials": min(plan.trials, size_of(space)), "space": space}
    return {"suite": plan.suite.name, "task": plan.task, "regime": plan.regime, "policies": policies}
