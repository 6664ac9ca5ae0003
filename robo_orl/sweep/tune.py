"""Choose hyper-parameters for a suite: rounds of trials, each a cell of its own judged on start states for tuning.

In a round every policy asks for one more point; the round's cells run side by side like those of a bench. A trial's
score is its successes, and where those are equal the share of stages reached; of equal trials the first one is chosen,
so that a policy file is left only for something better.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robo_orl.base.errors import RunError, UsageError, unknown
from robo_orl.base.files import write_text
from robo_orl.base.locks import BENCH_LOCK, folder_lock
from robo_orl.base.machine import cores
from robo_orl.config import (
    EvaluationRequest,
    GridConfig,
    PolicyChoice,
    PolicyConfig,
    SuiteConfig,
    apply_overrides,
    deep_merge,
)
from robo_orl.config.presets import stored_name, written_name
from robo_orl.results.record import Evaluation
from robo_orl.results.store import CELLS, read_record
from robo_orl.sweep.bench import Bench
from robo_orl.sweep.cells import expand, load_suite, policy_of
from robo_orl.sweep.runners.local import LocalRunner
from robo_orl.sweep.search import Point, Search, nested, size_of, space_of
from robo_orl.sweep.tuned import Chosen, Tuned, load_tuned

TUNED = "tuned.yaml"


@dataclass(frozen=True)
class Plan:
    """What is searched. choices: the suite's policies by name; layer: what is laid on each of them."""

    suite: SuiteConfig
    choices: dict[str, PolicyChoice]
    layer: dict[str, Any]
    task: str
    regime: str
    size: str | None
    trials: int
    episodes: int
    seed: int

    @staticmethod
    def of(
        suite: str,
        policies: str | None,
        task: str | None,
        regime: str | None,
        trials: int,
        episodes: int,
        seed: int,
        settings: list[str],
    ) -> Plan:
        """The plan that the options of `robo-orl tune` ask for; None is the default of an option.

        Raises UsageError where the suite has no such policy, task or regime, or policies names none.
        """
        config = load_suite(suite)
        if not config.groups:
            raise UsageError(f"suite {config.name} trains nothing: there is nothing to tune.")
        task = task and written_name("tasks", task)
        group = next((g for g in config.groups if task is None or task in g.tasks), config.groups[0])
        known = {choice.row: choice for g in config.groups for choice in g.policies}
        names = [choice.row for choice in group.policies]
        if policies is not None:
            names = [stored_name(name.strip()) for name in policies.split(",") if name.strip()]
            if not names:
                raise UsageError("--policies names no policy; leave it out for those of the suite's first group.")
        asked = [("policy of the suite", name, known) for name in names]
        asked += [("task of the suite", task, {t for g in config.groups for t in g.tasks})]
        asked += [("regime of the suite", regime, {r for g in config.groups for r in g.regimes})]
        for what, name, among in asked:
            if name is not None and name not in among:
                raise unknown(what, name, sorted(among))
        return Plan(
            suite=config,
            choices={name: known[name] for name in names},
            layer=apply_overrides(deep_merge(config.set, group.set), settings),
            task=task or group.tasks[0],
            regime=regime or group.regimes[0],
            size=group.sizes[0] if group.sizes else None,
            trials=trials,
            episodes=episodes,
            seed=seed,
        )

    def policy(self, name: str) -> PolicyConfig:
        """A policy of the plan as the suite has it."""
        choice = self.choices[name].model_copy(update={"name": name})
        return policy_of(choice, self.layer, size=self.size, where=f"suite {self.suite.name}")

    def trial(self, name: str, number: int, point: Point) -> PolicyChoice:
        """A trial as a policy of a suite, with a name of its own."""
        choice = self.choices[name]
        settings = deep_merge(choice.set, nested(point))
        return PolicyChoice(use=choice.use, name=f"{name}_trial{number}", set=settings)

    def cells_of(self, trials: list[PolicyChoice]) -> SuiteConfig:
        """The suite whose cells are these trials."""
        group = GridConfig(
            tasks=[self.task],
            regimes=[self.regime],
            policies=trials,
            sizes=[self.size] if self.size else [],
            seeds=[self.seed],
            set=self.layer,
        )
        evaluation = EvaluationRequest(episodes=self.episodes, loop=self.suite.evaluation.loop, starts="tuning")
        return SuiteConfig(
            name=f"tune-{self.suite.name}",
            description=f"Trials of a search for suite {self.suite.name}; judged on start states for tuning.",
            groups=[group],
            data=self.suite.data,
            evaluation=evaluation,
            value_error=False,
        )


def spaces_of(plan: Plan) -> dict[str, Any]:
    """Per policy: what may be tried (its own value first), and how many points that makes."""
    found = {}
    for name in plan.choices:
        space = space_of(plan.policy(name))
        found[name] = {"points": size_of(space), "trials": min(plan.trials, size_of(space)), "space": space}
    return {"suite": plan.suite.name, "task": plan.task, "regime": plan.regime, "policies": found}


@dataclass
class Trials:
    """One policy's trials so far. done: (point, the scores of its evaluation) in order."""

    search: Search
    done: list[tuple[Point, Evaluation]]

    def best(self) -> int:
        """The number of the best trial, the first of equals."""
        scores = [score_of(evaluation) for _, evaluation in self.done]
        return scores.index(max(scores))


def score_of(evaluation: Evaluation) -> float:
    """Successes, and below one success the share of stages reached."""
    return evaluation.success_once.k + 0.999 * evaluation.stages_reached


def tune(plan: Plan, out: Path, workers: int | None = None, progress: bool = True) -> dict[str, Any]:
    """Run the plan's trials into the results folder `out`; returns what tuned.yaml holds, and every trial.

    A second call computes nothing; one after a kill goes on where that one was; one of more trials or with more
    policies goes on from the trials that are there.

    Raises:
        UsageError: another bench at work in the folder, or a tuned.yaml in it of another search, or of more trials.
        RunError: a trial failed, or optuna is not installed.
    """
    out = Path(out).resolve()
    found = {name: Trials(Search(plan.policy(name), plan.seed), []) for name in plan.choices}
    asked: list[PolicyChoice] = []
    with folder_lock(out, "running a bench", BENCH_LOCK) as lock:
        before = _trials_there(plan, out / TUNED)
        runner = LocalRunner(out / "logs", lock)
        for number in range(plan.trials):
            points = {name: point for name, trials in found.items() if (point := trials.search.ask()) is not None}
            asked += [plan.trial(name, number, point) for name, point in points.items()]
            evaluations = _run(plan.cells_of(asked), out, runner, workers or cores(), progress)
            for name, point in points.items():
                evaluation = evaluations[f"{name}_trial{number}"]
                found[name].search.tell(score_of(evaluation))
                found[name].done.append((point, evaluation))
            tuned = _tuned(plan, found)
            if number + 1 > before or number + 1 == plan.trials:  # until then the file tells of more than was done here
                write_text(out / TUNED, _text(tuned, plan))
    every_trial = {name: _told(trials) for name, trials in found.items()}
    return {"file": str(out / TUNED), **tuned.model_dump(mode="json"), "every_trial": every_trial}


def _trials_there(plan: Plan, file: Path) -> int:
    """How many trials a policy has in a file of the same search, 0 without one; UsageError for another search."""
    if not file.exists():
        return 0
    there = load_tuned(str(file))
    ours, theirs = _head(plan), there.model_dump(mode="json")
    changed = next((key for key, value in ours.items() if key in theirs and theirs[key] != value), None)
    lost = [name for name in there.policies if name not in plan.choices]
    if changed:
        what = f"with another {changed} ({theirs[changed]} there, {ours[changed]} here)"
    elif lost:
        what = f"that has {', '.join(lost)} too"
    elif plan.trials < there.trials:
        what = f"of {there.trials} trials, more than {plan.trials}"
    else:
        return max((chosen.trials for chosen in there.policies.values()), default=0)
    raise UsageError(f"{file} is of a search {what}; choose another --out.")


def _head(plan: Plan) -> dict[str, Any]:
    """What a search is, beside its policies and how many trials each has."""
    return {
        "suite": plan.suite.name,
        "task": plan.task,
        "regime": plan.regime,
        "episodes": plan.episodes,
        "seed": plan.seed,
        "steps": plan.policy(next(iter(plan.choices))).steps,
        "set": plan.layer,
    }


def _run(suite: SuiteConfig, out: Path, runner: LocalRunner, workers: int, progress: bool) -> dict[str, Evaluation]:
    """The cells of a suite; by name of the policy what each scored."""
    cells = expand(suite)
    summary = Bench(suite, cells, out).run(runner, workers, progress)
    if summary["failed"]:
        first = summary["failed"][0]
        reason = first["reason"].rstrip(".")
        raise RunError(
            f"{len(summary['failed'])} trial(s) failed; {first['cell']} at {first['step']}: {reason}. "
            "Run the same command again to retry them."
        )
    return {cell.policy.name: read_record(out / CELLS / cell.name).evaluation for cell in cells}


def _tuned(plan: Plan, found: dict[str, Trials]) -> Tuned:
    policies = {}
    for name, trials in found.items():
        best = trials.best()
        point, evaluation = trials.done[best]
        policies[name] = Chosen(
            objective=plan.policy(name).objective.name,
            set=nested(point),
            trial=best,
            trials=len(trials.done),
            k=evaluation.success_once.k,
            n=evaluation.success_once.n,
        )
    return Tuned(name=plan.suite.name, trials=plan.trials, policies=policies, **_head(plan))


def _told(trials: Trials) -> list[dict[str, Any]]:
    return [
        {"set": nested(point), "k": e.success_once.k, "n": e.success_once.n, "stages_reached": e.stages_reached}
        for point, e in trials.done
    ]


def _text(tuned: Tuned, plan: Plan) -> str:
    values = tuned.model_dump(mode="json", exclude={"name"})
    head = f"# Written by `robo-orl tune --suite {plan.suite.name}`. Used by a suite that says `tuned: PATH`.\n"
    return head + yaml.safe_dump(values, sort_keys=False, width=120)
