"""Choose hyper-parameters for a suite: rounds of trials, each a cell of its own, evaluated on start states for tuning.

In a round the search of every policy proposes one more point; the round's cells run side by side like those of a bench.
A trial's score is its successes, and where those are equal the share of stages reached; of equal trials the first one
is chosen, so that a policy file is left only for something better.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import write_text
from robo_orl.base.locks import BENCH_LOCK, folder_lock
from robo_orl.base.machine import cores
from robo_orl.config import PolicyChoice, SuiteConfig
from robo_orl.results.record import Evaluation
from robo_orl.results.store import CELLS, read_record
from robo_orl.sweep.bench import Bench
from robo_orl.sweep.cells import expand
from robo_orl.sweep.runners.local import LocalRunner, this_machine
from robo_orl.sweep.search import Plan, Point, Search, nested
from robo_orl.sweep.tuned import Chosen, Tuned, load_tuned

TUNED = "tuned.yaml"


@dataclass(frozen=True)
class Trial:
    """A point of the space and the scores of its evaluation."""

    point: Point
    evaluation: Evaluation

    @property
    def score(self) -> float:
        """Successes, and below one success the share of stages reached."""
        return score_of(self.evaluation)

    def to_json(self) -> dict[str, Any]:
        """The trial as it is printed."""
        success, stages = self.evaluation.success_once, self.evaluation.stages_reached
        return {"set": nested(self.point), "k": success.k, "n": success.n, "stages_reached": stages}


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


def score_of(evaluation: Evaluation) -> float:
    """Successes, and below one success the share of stages reached."""
    return evaluation.success_once.k + 0.999 * evaluation.stages_reached


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
            evaluations = _run(plan.cells_of(choices), out, runner, progress)
            for name, point in points.items():
                trial = Trial(point, evaluations[f"{name}_trial{number}"])
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
        "episodes": plan.episodes,
        "seed": plan.seed,
        "steps": plan.policy(next(iter(plan.choices))).steps,
        "set": plan.layer,
    }


def _run(suite: SuiteConfig, out: Path, runner: LocalRunner, progress: bool) -> dict[str, Evaluation]:
    """Run the cells of a suite; returns the scores by the policy's name."""
    cells = expand(suite)
    summary = Bench(suite, cells, out, retry_failed=True).run(runner, progress)
    if summary.failed:
        first = summary.failed[0]
        reason = first.reason.rstrip(".")
        raise RunError(
            f"{len(summary.failed)} trial(s) failed; {first.cell} at {first.step}: {reason}. "
            "Run the same command again to retry them."
        )
    return {cell.policy.name: read_record(out / CELLS / cell.name).evaluation for cell in cells}


def _tuned(plan: Plan, searches: dict[str, PolicySearch]) -> Tuned:
    policies = {}
    for name, own in searches.items():
        best = own.best()
        trial = own.trials[best]
        policies[name] = Chosen(
            objective=plan.policy(name).objective.name,
            set=nested(trial.point),
            trial=best,
            trials=len(own.trials),
            k=trial.evaluation.success_once.k,
            n=trial.evaluation.success_once.n,
        )
    return Tuned(name=plan.suite.name, trials=plan.trials, policies=policies, **_head(plan))


def _text(tuned: Tuned, plan: Plan) -> str:
    values = tuned.model_dump(mode="json", exclude={"name"})
    head = f"# Written by `robo-orl tune --suite {plan.suite.name}`. Used by a suite that says `tuned: PATH`.\n"
    return head + yaml.safe_dump(values, sort_keys=False, width=120)
