"""Choose hyper-parameters for a suite: rounds of trials, each a cell of its own, evaluated on start states for tuning.

In a round the search of every policy proposes one more point; the round's cells run side by side like those of a bench.
A trial is a cell on every task of the search. Its score is the mean over them of what the suite's boards are sorted by,
and where that is equal the share of stages reached; of equal trials the first one is chosen, so that a policy file is
left only for something better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import write_text
from robo_orl.base.locks import BENCH_LOCK, folder_lock
from robo_orl.base.machine import cores
from robo_orl.config import PolicyChoice, SuiteConfig
from robo_orl.results.endpoints import Endpoint, endpoints_of
from robo_orl.results.store import CELLS, StoredCell, folder_cell
from robo_orl.sweep.bench import Bench
from robo_orl.sweep.cells import expand
from robo_orl.sweep.runners.local import LocalRunner, this_machine
from robo_orl.sweep.search import Plan, Point, Search, nested
from robo_orl.sweep.tuned import Chosen, Tuned, load_tuned

TUNED = "tuned.yaml"


@dataclass(frozen=True)
class Outcome:
    """What a trial was worth on one task: k of n episodes solved, and means over them. value: of the endpoint."""

    task: str
    k: int
    n: int
    value: float
    stages_reached: float


@dataclass(frozen=True)
class Trial:
    """A point of the space and its outcome on every task."""

    point: Point
    outcomes: Sequence[Outcome]

    @property
    def score(self) -> float:
        """What the trial is chosen by."""
        return score_of(self.outcomes)

    @property
    def success(self) -> tuple[int, int]:
        """k of the n episodes of all tasks."""
        return sum(outcome.k for outcome in self.outcomes), sum(outcome.n for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """The trial as it is printed."""
        (k, n), tasks = self.success, {outcome.task: asdict(outcome) for outcome in self.outcomes}
        return {"set": nested(self.point), "score": self.score, "k": k, "n": n, "tasks": tasks}


@dataclass
class PolicySearch:
    """The search of one policy and its trials in order."""

    search: Search
    trials: list[Trial]

    def best(self) -> int:
        """The number of the best trial, the first of equals."""
        scores = [trial.score for trial in self.trials]
        return scores.index(max(scores))


@dataclass(frozen=True)
class SearchResult:
    """The file that was written, its content, and every trial of every policy."""

    file: Path
    tuned: Tuned
    trials: dict[str, list[Trial]]

    def to_json(self) -> dict[str, Any]:
        """The result as `robo-orl tune --json` prints it."""
        every_trial = {name: [trial.to_json() for trial in trials] for name, trials in self.trials.items()}
        return {"file": str(self.file), **self.tuned.model_dump(mode="json"), "every_trial": every_trial}


def score_of(outcomes: Sequence[Outcome]) -> float:
    """The mean of the endpoint over tasks; where trials differ by less than 1e-4 of it, stages reached decide."""
    return float(np.mean([outcome.value + 1e-4 * outcome.stages_reached for outcome in outcomes]))


def tune(plan: Plan, out: Path, workers: int | None = None, progress: bool = True) -> SearchResult:
    """Run the plan's trials into the results folder `out`.

    A second call computes nothing; one after a kill continues where that one was; one of more trials or with more
    policies continues from the trials that are there.

    Raises:
        UsageError: another bench at work in the folder, or a tuned.yaml in it of another search, or of more trials.
        RunError: a trial failed, or optuna is not installed.
    """
    out = Path(out).resolve()
    searches = {name: PolicySearch(Search(plan.policy(name), plan.seed), []) for name in plan.choices}
    choices: list[PolicyChoice] = []
    with folder_lock(out, "running a bench", BENCH_LOCK) as lock:
        stored_trials = _stored_trials(plan, out / TUNED)
        runner = this_machine(out / "logs", lock, workers or cores())
        for number in range(plan.trials):
            points = {name: point for name, own in searches.items() if (point := own.search.propose()) is not None}
            choices += [plan.trial(name, number, point) for name, point in points.items()]
            outcomes = _run(plan.cells_of(choices), out, runner, progress)
            for name, point in points.items():
                trial = Trial(point, outcomes[f"{name}_trial{number}"])
                searches[name].search.observe(trial.score)
                searches[name].trials.append(trial)
            tuned = _tuned(plan, searches)
            if number + 1 > stored_trials or number + 1 == plan.trials:  # until then the file holds more trials
                write_text(out / TUNED, _text(tuned, plan))
    return SearchResult(out / TUNED, tuned, {name: own.trials for name, own in searches.items()})


def _stored_trials(plan: Plan, file: Path) -> int:
    """The trials that a policy has in a file of the same search, 0 without one; UsageError for another search."""
    if not file.exists():
        return 0
    stored = load_tuned(str(file))
    ours, theirs = _head(plan), stored.model_dump(mode="json", exclude={"set"} if stored.set is None else set())
    changed = next((key for key, value in ours.items() if key in theirs and theirs[key] != value), None)
    missing = [name for name in stored.policies if name not in plan.choices]
    if changed:
        difference = f"with another {changed} ({theirs[changed]} there, {ours[changed]} here)"
    elif missing:
        difference = f"that has {', '.join(missing)} too"
    elif plan.trials < stored.trials:
        difference = f"of {stored.trials} trials, more than {plan.trials}"
    else:
        return max((chosen.trials for chosen in stored.policies.values()), default=0)
    raise UsageError(f"{file} is of a search {difference}; choose another --out.")


def _head(plan: Plan) -> dict[str, Any]:
    """The keys that identify a search, besides its policies and the number of trials."""
    return {
        "suite": plan.suite.name,
        "task": plan.task,
        "regime": plan.regime,
        "endpoint": plan.endpoint,
        "episodes": plan.episodes,
        "seed": plan.seed,
        "steps": plan.policy(next(iter(plan.choices))).steps,
        "set": plan.layer,
    }


def _run(suite: SuiteConfig, out: Path, runner: LocalRunner, progress: bool) -> dict[str, list[Outcome]]:
    """Run the cells of a suite; returns the outcomes of every policy by its name, in the order of the tasks."""
    cells = expand(suite)
    summary = Bench(suite, cells, out, retry_failed=True).run(runner, progress)
    if summary.failed:
        first = summary.failed[0]
        reason = first.reason.rstrip(".")
        raise RunError(
            f"{len(summary.failed)} trial(s) failed; {first.cell} at {first.step}: {reason}. "
            "Run the same command again to retry them."
        )
    endpoint = endpoints_of(suite.model_dump())[0]
    outcomes: dict[str, list[Outcome]] = {}
    for cell in cells:
        outcomes.setdefault(cell.policy.name, []).append(_outcome(folder_cell(out / CELLS / cell.name), endpoint))
    return outcomes


def _outcome(cell: StoredCell, endpoint: Endpoint) -> Outcome:
    record = cell.record()
    task, judged = record.task, record.evaluation
    value = float(np.mean(endpoint.values(cell.rows(record), task.horizon)))
    return Outcome(task.name, judged.success_once.k, judged.success_once.n, value, judged.stages_reached)


def _tuned(plan: Plan, searches: dict[str, PolicySearch]) -> Tuned:
    policies = {}
    for name, own in searches.items():
        best = own.best()
        trial = own.trials[best]
        k, n = trial.success
        policies[name] = Chosen(
            objective=plan.policy(name).objective.name,
            set=nested(trial.point),
            trial=best,
            trials=len(own.trials),
            k=k,
            n=n,
            score=trial.score,
            one_training=plan.policy(name).selection.noise_seed is not None,
        )
    return Tuned(name=plan.suite.name, trials=plan.trials, policies=policies, **_head(plan))


def _text(tuned: Tuned, plan: Plan) -> str:
    values = tuned.model_dump(mode="json", exclude={"name"})
    head = f"# Written by `robo-orl tune --suite {plan.suite.name}`. Used by a suite that says `tuned: PATH`.\n"
    return head + yaml.safe_dump(values, sort_keys=False, width=120)
