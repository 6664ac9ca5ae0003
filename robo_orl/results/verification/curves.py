"""The learning curve of a record against its training and its start states."""

from __future__ import annotations

from robo_orl.config import PolicyConfig
from robo_orl.results.addresses import Policy
from robo_orl.results.intervals import score
from robo_orl.results.record import CurvePoint, LearningCurve, Record
from robo_orl.results.verification.tasks import start_bank, task_of


def curve_faults(record: Record, policy: Policy) -> list[str]:
    """The contradictions of the points, one sentence each; none where a record has no curve."""
    curve = record.curve
    if curve is None:
        return []
    issues = _start_faults(record, curve)
    steps = [point.step for point in curve.points]
    if not steps or steps != sorted(set(steps)):
        issues.append("curve.points are not each of another step, in the order of the steps.")
    for point in curve.points:
        issues += [f"curve, step {point.step}: {fault}." for fault in _point_faults(record, policy, curve, point)]
    return issues


def _start_faults(record: Record, curve: LearningCurve) -> list[str]:
    if (curve.starts_sha256 is None) != (curve.episodes == 0):
        return ["curve.starts_sha256 and curve.episodes disagree."]
    task = task_of(record.task)
    if curve.starts_sha256 is not None and task is not None and curve.starts_sha256 == start_bank(task):
        return ["curve.starts_sha256 is the bank of start states that results are reported from."]
    return []


def _point_faults(record: Record, policy: Policy, curve: LearningCurve, point: CurvePoint) -> list[str]:
    issues = []
    if point.step > record.train.steps:
        issues.append(f"the training has {record.train.steps} steps")
    elif point.step % curve.every and point.step != record.train.steps:
        issues.append(f"points are {curve.every} steps apart")
    if (point.success is None) != (curve.episodes == 0):
        issues.append("success and curve.episodes disagree")
    if point.success is not None:
        k, n = point.success.k, point.success.n
        if n != curve.episodes:
            issues.append(f"it is of {n} episodes, curve.episodes is {curve.episodes}")
        if point.success != score(k, n):
            issues.append(f"{k}/{n} has another interval than [{point.success.low:.3f}, {point.success.high:.3f}]")
        if point.stages_reached is not None and n and point.stages_reached < k / n - 1e-9:
            issues.append("fewer stages are reached than episodes solved")
    if (point.losses is None) != (curve.held_out_sha256 is None):
        issues.append("losses and curve.held_out_sha256 disagree")
    return issues + _value_faults(policy, point)


def _value_faults(policy: Policy, point: CurvePoint) -> list[str]:
    errors = point.value_errors
    if errors is None:
        return []
    if not isinstance(policy, PolicyConfig) or policy.critic is None or policy.selection.untrained_critic:
        return ["value errors are stated of a policy without a trained critic"]
    if abs(errors.bias) > errors.mean_absolute * (1 + 1e-9) + 1e-12:
        return [f"the bias {errors.bias:.4g} exceeds the mean absolute error {errors.mean_absolute:.4g}"]
    return []
