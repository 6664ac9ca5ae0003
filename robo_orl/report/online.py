"""Learning after the data end: what became of one start by each method, beside the account and published curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from markupsafe import Markup

from robo_orl.report.layers import Look
from robo_orl.report.learning import curves_figure
from robo_orl.report.published import published_online
from robo_orl.results.online_estimators import (
    FIRST_STEPS,
    Change,
    Curve,
    DeepestDip,
    area_of,
    change_at,
    deepest_dip,
    gain,
    kaplan_meier,
    lost_share,
    recovery,
    regret_of,
    success_at,
)
from robo_orl.results.online_record import OnlineAccount, OnlinePoint
from robo_orl.results.record import Record
from robo_orl.results.trainings import DesignEffect, Estimate, design_effect, estimate

Key = tuple[str, str, str, str]  # task, regime, size, policy of the start


@dataclass(frozen=True)
class Events:
    """Steps until something: how many trainings saw it, of how many in which it could be, and the median."""

    seen: int
    of: int
    median: int | None


@dataclass(frozen=True)
class OnlineRow:
    """One method from one start. changes: at every named step; deepest: of each training, with its null.

    share: of the published budget of the method's namesake, None where there is none. critic: calibrations by step.
    others: by task the changes in those that the start learned beside this one, where it learned several.
    """

    policy: str
    method: str
    trainings: int
    env_steps: int
    success: Estimate
    changes: list[Change]
    deepest: list[DeepestDip]
    recovery: Events
    gain: Events
    area: Estimate
    area_first: Estimate
    regret: Estimate
    lost: tuple[float, float, float] | None
    critic: list[dict[str, Any]]
    warm_up: dict[str, Any] | None
    account: dict[str, float]
    published: str
    share: float | None
    others: dict[str, list[Change]]


@dataclass(frozen=True)
class OnlineBoard:
    """The methods from one start. start: k, n and interval, of all trainings of it. curves: a series per row, and those
    that are published."""

    task: str
    regime: str
    size: str
    start: str
    start_score: Estimate
    over_trainings: bool
    rows: list[OnlineRow]
    curves: list[dict[str, Any]]
    published: list[dict[str, Any]]


def online_boards(records: Sequence[Record]) -> list[OnlineBoard]:
    """A board per task, regime, size and start of the records that learned online; none without any."""
    boards: dict[Key, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.online is not None:
            key = (record.task.name, record.regime, record.size, record.online.start.policy)
            boards[key][record.policy.name].append(record)
    return [_board(key, rows) for key, rows in sorted(boards.items())]


def _board(key: Key, rows: dict[str, list[Record]]) -> OnlineBoard:
    task, regime, size, start = key
    curves = {policy: [Curve.of(record.online) for record in own] for policy, own in rows.items()}
    effect = design_effect([[curve.solved[-1] for curve in own] for own in curves.values()])
    starts = {record.online.start.run: Curve.of(record.online).start for own in rows.values() for record in own}
    of_others = [one for one in published_online() if one["task"] == task]
    elsewhere = _changes_elsewhere(rows)
    return OnlineBoard(
        task=task,
        regime=regime,
        size=size,
        start=start,
        start_score=_score(list(starts.values()), effect),
        over_trainings=effect is not None,
        rows=[_row(policy, own, curves[policy], effect, of_others, elsewhere[policy]) for policy, own in rows.items()],
        curves=[_series(policy, curves[policy], effect) for policy in rows]
        + [_staying(start, list(curves.values()), effect)],
        published=of_others,
    )


def _score(starts: list, effect: DesignEffect | None) -> Estimate:
    return estimate([start.astype(float) for start in starts], effect, binary=True)


def _changes_elsewhere(rows: dict[str, list[Record]]) -> dict[str, dict[str, list[Change]]]:
    """By policy and task the changes from the start in its other tasks; no task where it learned one."""
    found: dict[str, dict[str, list[Change]]] = {policy: {} for policy in rows}
    tasks = sorted({task for own in rows.values() for record in own for task in record.online.start.judged.others})
    for task in tasks:
        curves = {policy: [Curve.in_other(record.online, task) for record in own] for policy, own in rows.items()}
        effect = design_effect([[curve.solved[-1] for curve in own] for own in curves.values()])
        for policy, own in curves.items():
            found[policy][task] = _changes(own, effect)
    return found


def _changes(curves: list[Curve], effect: DesignEffect | None) -> list[Change]:
    """At every named step."""
    named = sorted({int(step) for curve in curves for step in curve.steps})
    return [change for step in named if (change := change_at(curves, step, effect)) is not None]


def _row(
    policy: str,
    records: list[Record],
    curves: list[Curve],
    effect: DesignEffect | None,
    of_others: list[dict],
    elsewhere: dict[str, list[Change]],
) -> OnlineRow:
    online = [record.online for record in records]
    method, steps = online[0].method, max(one.env_steps for one in online)
    named = sorted({int(step) for curve in curves for step in curve.steps})
    changes = _changes(curves, effect)
    gains = [time for curve in curves if (time := gain(curve)) is not None]
    namesake = next((one for one in of_others if one["ours"] and method.split("_")[0] == one["ours"]), None)
    return OnlineRow(
        policy=policy,
        method=method,
        trainings=len(records),
        env_steps=steps,
        success=success_at(curves, named[-1], effect),
        changes=changes,
        deepest=[deepest_dip(curve) for curve in curves],
        recovery=_events([recovery(curve) for curve in curves]),
        gain=_events(gains),
        area=area_of(curves, effect),
        area_first=area_of([curve.until(FIRST_STEPS) for curve in curves], effect),
        regret=regret_of(curves, effect),
        lost=lost_share(changes[-1]),
        critic=_critic([one.points for one in online]),
        warm_up=online[0].warm_up.model_dump() if online[0].warm_up else None,
        account=_account([one.account for one in online]),
        published=namesake["method"] if namesake else "",
        share=steps / namesake["budget"] if namesake else None,
        others=elsewhere,
    )


def _events(times: list) -> Events:
    survival = kaplan_meier(times)
    return Events(survival.events, survival.n, survival.median)


def _critic(trainings: list[list[OnlinePoint]]) -> list[dict[str, Any]]:
    """By step the means over trainings of a critic's calibration; empty without a critic."""
    by_step: dict[int, list[OnlinePoint]] = defaultdict(list)
    for point in (point for points in trainings for point in points):
        if point.calibration is not None:
            by_step[point.at].append(point)
    return [{"step": step, **_mean_calibration(points)} for step, points in sorted(by_step.items())]


def _mean_calibration(points: list[OnlinePoint]) -> dict[str, Any]:
    found = [point.calibration for point in points]
    aucs = [one.outcome_auc for one in found if one.outcome_auc is not None]
    ranked = [one.decisions.correlation for one in found if one.decisions.correlation is not None]
    return {
        "decisions": sum(one.decisions.n for one in found),
        "bias": fmean(one.decisions.bias for one in found),
        "mean_absolute": fmean(one.decisions.mean_absolute for one in found),
        "correlation": fmean(ranked) if ranked else None,
        "outcome_auc": fmean(aucs) if aucs else None,
    }


def _account(accounts: list[OnlineAccount]) -> dict[str, float]:
    """The mean over trainings of everything on the account."""
    return {name: fmean(getattr(one, name) for one in accounts) for name in OnlineAccount.model_fields}


# --------------------------------------------------------------------------------------------------------------- curves


def _series(policy: str, curves: list[Curve], effect: DesignEffect | None) -> dict[str, Any]:
    named = sorted({int(step) for curve in curves for step in curve.steps})
    return {"policy": policy, "points": [_counted(step, [c.at(step) for c in curves], effect) for step in named]}


def _staying(start: str, rows: list[list[Curve]], effect: DesignEffect | None) -> dict[str, Any]:
    """The start as a line: what staying with it gives."""
    last = max(int(curve.steps[-1]) for curves in rows for curve in curves)
    of_one = [curve.start for curve in max(rows, key=len)]
    return {"policy": start, "points": [_counted(step, of_one, effect) for step in (0, last)]}


def _counted(step: int, solved: list, effect: DesignEffect | None) -> dict[str, Any]:
    known = [one for one in solved if one is not None]
    score, k = _score(known, effect), int(sum(one.sum() for one in known))
    made = {"low": score.low, "high": score.high, "trainings": score.trainings}
    return {"step": step, "value": score.mean, "k": k, "n": score.n, **made}


def online_figures(board: dict[str, Any], look: Look) -> list[tuple[str, Markup]]:
    """Success against environment steps: the first steps after the switch, to the end, and beside published curves."""
    last = max(point["step"] for one in board["curves"] for point in one["points"])
    first = [_cut(one, FIRST_STEPS) for one in board["curves"]]
    drawn = [(f"the first {min(last, FIRST_STEPS):,} environment steps", first)]
    if last > FIRST_STEPS:
        drawn.append(("to the end", board["curves"]))
    if board["published"]:
        marked = [{"policy": f"published: {one['method']}", "points": one["points"]} for one in board["published"]]
        drawn.append(("beside published curves, on their data and budget", [*board["curves"], *marked]))
    axis = "environment steps after the switch"
    return [(title, curves_figure(title, series, "step", axis, look)) for title, series in drawn]


def _cut(series: dict[str, Any], last: int) -> dict[str, Any]:
    kept = [point for point in series["points"] if point["step"] <= last]
    beyond = [point for point in series["points"] if point["step"] > last]
    if beyond and len(series["points"]) == 2:  # staying: level
        kept.append({**beyond[0], "step": last})
    return {**series, "points": kept}
