"""Budgets from learning curves: the step at which a policy has stopped gaining, by a rule that is stated here.

    held-out loss   the first step after which no later point is lower by more than LOSS_MARGIN of what the loss fell
                    from the first point to its lowest
    success         the first step after which no later point lies above the upper end of its own 95 % interval

and LATER points or more follow: a curve that ends while it gains has no such step. The budget is the later of the two.
The rule is about this training: its learning rate decays to the last step, and with it the gain of the last steps; a
budget near the end of a curve asks for a longer curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.results.curves import curve_of, points_file, read_points
from robo_orl.results.record import LearningCurve
from robo_orl.results.store import open_results, results_folders

LOSS_MARGIN = 0.01
LATER = 2


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of one training by its curve; None where it gains to the end, or the measure is absent.

    points, last: of the curve. sentence: the answer in words.
    """

    task: str
    regime: str
    policy: str
    size: str
    seed: int | None
    points: int
    last: int
    by_loss: int | None
    by_success: int | None
    budget: int | None
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def stopped_gaining(steps: Sequence[int], values: Sequence[float], limits: Sequence[float]) -> int | None:
    """The first of `steps` after which no value exceeds the limit of that step, with LATER points or more after it.

    values: what is to grow; limits: per step the least that would count as a gain on it.
    """
    for index in range(len(steps) - LATER):
        if max(values[index + 1 :]) <= limits[index]:
            return steps[index]
    return None


def loss_budget(curve: LearningCurve) -> int | None:
    """The budget by the held-out loss of the policy, None where it falls to the end or was not measured."""
    measured = [(p.step, p.losses.get("actor/loss", p.losses["loss"])) for p in curve.points if p.losses]
    if not measured:
        return None
    steps, losses = zip(*measured, strict=True)
    margin = LOSS_MARGIN * (losses[0] - min(losses))
    return stopped_gaining(steps, [-loss for loss in losses], [margin - loss for loss in losses])


def success_budget(curve: LearningCurve) -> int | None:
    """The budget by success, None where it grows to the end or was not measured."""
    measured = [(p.step, p.success.rate, p.success.high) for p in curve.points if p.success and p.success.n]
    if not measured:
        return None
    return stopped_gaining(*zip(*measured, strict=True))


def budget_of(
    curve: LearningCurve, task: str, regime: str = "", policy: str = "", size: str = "", seed: int | None = None
) -> Budget:
    """The budget of one curve."""
    by_loss, by_success, last = loss_budget(curve), success_budget(curve), curve.points[-1].step
    has = {"held-out loss": any(p.losses for p in curve.points), "success": any(p.success for p in curve.points)}
    found = {"held-out loss": by_loss, "success": by_success}
    gaining = [name for name, measured in has.items() if measured and found[name] is None]
    budget = None if gaining else max((step for step in found.values() if step is not None), default=None)
    if budget is None and not gaining:
        sentence = "neither held-out loss nor success was measured"
    elif gaining:
        sentence = f"still gains at step {last:,}, by {' and '.join(gaining)}: train longer"
    elif budget == curve.points[0].step:
        sentence = f"gains nothing after its first point, step {budget:,}: closer points say when it stopped"
    else:
        sentence = f"gains nothing after step {budget:,}"
    return Budget(task, regime, policy, size, seed, len(curve.points), last, by_loss, by_success, budget, sentence)


def read_budgets(paths: Sequence[Path]) -> list[Budget]:
    """The budget of every learning curve in results folders and in folders of runs, in their order.

    Raises UsageError where a path is neither, or none of them has a curve.
    """
    budgets: list[Budget] = []
    for path in map(Path, paths):
        budgets += _of_run(path) if points_file(path).is_file() else _of_results(path)
    if not budgets:
        named = ", ".join(map(str, paths))
        raise UsageError(f"{named}: no learning curve; a suite with the key `curve`, or evaluation.every, makes some.")
    return budgets


def _of_run(run: Path) -> list[Budget]:
    curves = {task: curve_of(run, task) for task in dict.fromkeys(point.task for point in read_points(run))}
    return [budget_of(curve, task, policy=run.resolve().name) for task, curve in curves.items() if curve is not None]


def _of_results(path: Path) -> list[Budget]:
    records = [cell.record() for folder in results_folders([path]) for cell in open_results(folder).cells]
    return [
        budget_of(r.curve, r.task.name, r.regime, r.policy.name, r.size, r.seed)
        for r in sorted(records, key=lambda r: (r.task.horizon, r.task.name, r.regime, r.policy.name, r.size, r.seed))
        if r.curve is not None and r.curve.points
    ]
