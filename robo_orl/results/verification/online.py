"""The part of a record that is about learning online: its counts, its grid of points, and its account."""

from __future__ import annotations

from collections.abc import Sequence

from robo_orl.config import PolicyConfig
from robo_orl.results.addresses import Policy
from robo_orl.results.intervals import wilson
from robo_orl.results.online_record import Judged, OnlineRecord, OtherTask
from robo_orl.results.record import EpisodeRow, Record


def online_faults(record: Record, policy: Policy) -> list[str]:
    """The contradictions of `online` that hold without the rows."""
    online = record.online
    if online is None:
        return []
    if not isinstance(policy, PolicyConfig) or policy.online is None:
        return ["online is stated of a policy whose configuration does not go online."]
    start, grid = PolicyConfig.model_validate(online.start.config), policy.online.evaluation
    issues = []
    if (start.name, start.digest()) != (online.start.policy, online.start.digest):
        issues.append("online.start.config is not what online.start.digest was taken of, or has another name.")
    if [point.at for point in online.points] != grid.until(online.env_steps):
        issues.append("online.points are not at the steps that policy.config names.")
    if start.critic is None and online.start.judged.calibration is not None:
        issues.append("online.start has a calibration and no critic.")
    for name, judged in (("start", online.start.judged), *((f"point {p.at}", p) for p in online.points)):
        issues += _judged_faults(name, judged, grid.episodes)
        for task, other in judged.others.items():
            issues += _judged_faults(f"{name} in {task}", other, grid.episodes)
    if any(point.others.keys() != online.start.judged.others.keys() for point in online.points):
        issues.append("online.points and online.start are not of the same other tasks.")
    return issues + _order_faults(online)


def _judged_faults(name: str, judged: Judged | OtherTask, episodes: int) -> list[str]:
    score, k = judged.success, judged.solved.count("1")
    if (score.k, score.n) != (k, len(judged.solved)) or score.n != episodes:
        return [f"online {name} is {score.k} of {score.n}, its starts say {k} of {len(judged.solved)}."]
    if max(abs(a - b) for a, b in zip((score.low, score.high), wilson(k, score.n), strict=True)) > 1e-9:
        return [f"online {name}: the interval is not that of {k} of {score.n}."]
    return []


def _order_faults(online: OnlineRecord) -> list[str]:
    points, account, issues = online.points, online.account, []
    for name in ("env_steps", "updates"):
        values = [getattr(point, name) for point in points]
        if values != sorted(values) or any(p.env_steps < p.at for p in points):
            issues.append(f"online.points: {name} falls, or is below the step that the point is of.")
        if values and values[-1] > getattr(account, name):
            issues.append(f"online.account.{name} is below that of the last point.")
    if account.warm_up_steps > account.env_steps or account.critic_only_updates > account.updates:
        issues.append("online.account: a part is above its whole.")
    return issues


def online_row_faults(record: Record, rows: Sequence[EpisodeRow]) -> list[str]:
    """The last point against the episodes of the record, which are its episodes."""
    if record.online is None or not record.online.points:
        return []
    bits = "".join("1" if row.success_once else "0" for row in sorted(rows, key=lambda row: row.episode))
    last = record.online.points[-1]
    return [] if bits == last.solved else [f"online point {last.at} is not of the episodes of this record."]
