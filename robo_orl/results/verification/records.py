"""A record against its own configuration: every field that another one decides."""

from __future__ import annotations

import math
import re
from datetime import datetime

from pydantic import ValidationError

from robo_orl.config import LOOPS, PolicyConfig, ReferenceConfig
from robo_orl.results.addresses import Policy, evaluation_gamma
from robo_orl.results.record import RankCorrelation, Record
from robo_orl.results.verification.addresses import Requests, evaluation_of
from robo_orl.results.verification.curves import curve_faults
from robo_orl.results.verification.online import online_faults
from robo_orl.results.verification.tasks import start_bank, task_faults, task_of

SHA256 = re.compile(r"[0-9a-f]{64}")


def policy_of(record: Record) -> Policy:
    """The policy of a record; pydantic's ValidationError where its configuration is none."""
    schema = ReferenceConfig if record.kind == "reference" else PolicyConfig
    return schema.model_validate(record.policy.config)


def read_policy(record: Record) -> tuple[Policy | None, list[str]]:
    """The policy of a record, or None, and what is wrong with the part that describes it."""
    if ("library" in record.policy.config) != (record.kind == "reference"):
        return None, [f"the record is of kind {record.kind}, its policy.config is not."]
    try:
        policy = policy_of(record)
        digest = policy.digest()
        trained = trained_policy(record, policy)
        stated = (policy.size, trained.steps, trained.batch_size)
    except ValidationError as error:
        reason = " ".join(str(error.errors()[0]["msg"]).split())
        return None, [f"policy.config is no configuration: {reason}."]
    except (KeyError, TypeError):
        return None, ["policy.config is no configuration: its settings are not complete."]
    issues = []
    if digest != record.policy.digest:
        issues.append(f"policy.config is not what policy.digest {record.policy.digest[:12]}... was taken of.")
    if policy.name != record.policy.name:
        issues.append(f"policy.name is {record.policy.name}, its configuration is called {policy.name}.")
    names = ("size", "train.steps", "train.batch_size")
    own = (record.size, record.train.steps, record.train.batch_size)
    issues += [
        f"{name} is {value}, policy.config says {expected}."
        for name, value, expected in zip(names, own, stated, strict=True)
        if value != expected
    ]
    return policy, issues


def trained_policy(record: Record, policy: Policy) -> Policy:
    """The policy that was trained on the data: where it went on to learn, that of its start."""
    return policy if record.online is None else PolicyConfig.model_validate(record.online.start.config)


def record_faults(record: Record, policy: Policy, requests: Requests | None) -> list[str]:
    """The contradictions of a record that hold without its rows. requests: of the suite that has its cell."""
    return [
        *_form_faults(record),
        *task_faults(record.task),
        *_data_faults(record, requests),
        *_training_faults(record, trained_policy(record, policy)),
        *_evaluation_faults(record, policy, requests),
        *_value_faults(record, policy),
        *_ranking_faults(record, policy),
        *_together_faults(record),
        *curve_faults(record, policy),
        *online_faults(record, policy),
    ]


def _form_faults(record: Record) -> list[str]:
    hashes = {
        "cell": record.cell,
        "train.run": record.train.run,
        "data.sha256": record.data.sha256,
        "task.digest": record.task.digest,
        "evaluation.episodes_sha256": record.evaluation.episodes_sha256,
        "evaluation.starts_sha256": record.evaluation.starts_sha256,
    }
    if record.evaluation.checkpoint_sha256 is not None:
        hashes["evaluation.checkpoint_sha256"] = record.evaluation.checkpoint_sha256
    issues = [f"{name} is no sha256." for name, value in hashes.items() if not SHA256.fullmatch(value)]
    if not _is_time(record.created):
        issues.append(f"created is {record.created[:40]!r}, which is no time with its zone.")
    if record.versions.get("robo_orl", record.code.version) != record.code.version:
        issues.append(f"versions says robo_orl {record.versions['robo_orl']}, code.version {record.code.version}.")
    return issues


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _data_faults(record: Record, requests: Requests | None) -> list[str]:
    data, issues = record.data, []
    if data.success.n != data.episodes:
        issues.append(f"data.success is of {data.success.n} episodes, data.episodes is {data.episodes}.")
    if not data.episodes <= data.frames:
        issues.append(f"data.frames is {data.frames}, fewer than one for each of {data.episodes} episodes.")
    if data.frames > data.episodes * record.task.horizon:
        issues.append(f"data.frames is {data.frames}, more than {data.episodes} episodes of the horizon hold.")
    if data.official is not None and data.sha256 != data.official.sha256:
        issues.append("data.sha256 is not that of the official file which the data are said to be.")
    if requests is not None:
        for name in ("seed",) if data.official is not None else ("episodes", "seed"):
            stated, expected = getattr(data, name), [getattr(request, name) for request in requests.data(record)]
            if stated not in expected:
                issues.append(f"data.{name} is {stated}, the suite asks for {' or '.join(map(str, expected))}.")
    return issues


def _training_faults(record: Record, policy: Policy) -> list[str]:
    train, issues = record.train, []
    if not math.isclose(train.steps_per_s * train.step_s_median, 1, rel_tol=1e-6):
        issues.append(f"train.steps_per_s {train.steps_per_s:.4g} is not 1/step_s_median {train.step_s_median:.4g}.")
    if not math.isclose(train.samples_per_s, train.batch_size * train.steps_per_s, rel_tol=1e-6):
        issues.append(f"train.samples_per_s {train.samples_per_s:.4g} is not batch_size times steps_per_s.")
    if min(train.parameters.values()) < 0:
        issues.append("train.parameters has a negative count.")
    if isinstance(policy, PolicyConfig):
        has = {"critic": policy.critic is not None, "target": policy.critic is not None}
        if policy.critic is not None:
            has["target"] = policy.critic.target != "none"
        for name, expected in has.items():
            if (count := train.parameters.get(name, 0)) and not expected:
                issues.append(f"train.parameters has {count} of a {name}, policy.config has none.")
            if expected and not count:
                issues.append(f"train.parameters has none of the {name} that policy.config has.")
    return issues


def _evaluation_faults(record: Record, policy: Policy, requests: Requests | None) -> list[str]:
    evaluation, issues = record.evaluation, []
    gamma = evaluation_gamma(record.task.control_hz) if record.task.control_hz > 0 else evaluation.gamma
    if not math.isclose(evaluation.gamma, gamma, rel_tol=1e-12):
        issues.append(f"evaluation.gamma is {evaluation.gamma:.6g}, at this control rate it is {gamma:.6g}.")
    if evaluation.loop not in LOOPS:
        issues.append(f"evaluation.loop is {evaluation.loop!r}; loops are {', '.join(LOOPS)}.")
    if requests is not None:
        for name in ("episodes", "seed"):
            stated, expected = getattr(evaluation, name), getattr(requests.evaluation, name)
            if stated != expected:
                issues.append(f"evaluation.{name} is {stated}, the suite asks for {expected}.")
        if evaluation.loop not in ("stock", requests.evaluation.loop):
            issues.append(f"evaluation.loop is {evaluation.loop}, the suite asks for {requests.evaluation.loop}.")
    issues += _bank_faults(record, policy, requests)
    if isinstance(policy, PolicyConfig):
        if bool(policy.observation.cameras) != (evaluation.render is not None):
            issues.append("evaluation.render and the cameras of policy.config disagree.")
        if policy.observation.instruction != bool(evaluation.sentences):
            issues.append("evaluation.sentences and observation.instruction of policy.config disagree.")
    return issues


def _bank_faults(record: Record, policy: Policy, requests: Requests | None) -> list[str]:
    """The hash of the start bank against the shipped one, where the address says which bank was meant."""
    task = task_of(record.task)
    shipped = start_bank(task) if task is not None else None
    requested = evaluation_of(record, policy, requests)
    if shipped is None or requested is None:
        return []
    if (record.evaluation.starts_sha256 == shipped) == (requested.starts == "test"):
        return []
    return [f"evaluation.starts_sha256 is not the bank of start states {requested.starts!r} of this scene."]


def _value_faults(record: Record, policy: Policy) -> list[str]:
    errors, own = record.value_errors, record.own_policy
    stated = [name for name, value in (("value_errors", errors), ("own_policy", own)) if value is not None]
    if stated and (not isinstance(policy, PolicyConfig) or policy.critic is None or policy.selection.untrained_critic):
        return [f"{' and '.join(stated)} are stated of a policy without a trained critic."]
    issues = _own_policy_faults(record, policy) if own is not None else []
    if errors is None:
        return issues
    if errors.n > record.data.frames:
        issues.append(f"value_errors.n is {errors.n}, the data have {record.data.frames} frames.")
    if abs(errors.bias) > errors.mean_absolute * (1 + 1e-9) + 1e-12:
        issues.append(
            f"value_errors.bias {errors.bias:.4g} exceeds the mean absolute error {errors.mean_absolute:.4g}."
        )
    if errors.by_end is not None and sum(part.n for part in errors.by_end.values()) != errors.n:
        issues.append(f"value_errors.by_end does not add up to value_errors.n, {errors.n}.")
    gamma = _gamma(record, policy)
    if not math.isclose(errors.gamma, gamma, rel_tol=1e-9):
        issues.append(f"value_errors.gamma is {errors.gamma:.6g}, policy.config gives {gamma:.6g}.")
    return issues


def _ranking_faults(record: Record, policy: Policy) -> list[str]:
    ranking = record.ranking
    if ranking is None:
        return []
    if not isinstance(policy, PolicyConfig) or policy.critic is None or policy.selection.look_ahead:
        return ["ranking is stated of a policy that no critic ranks."]
    parts, whole = ranking.stages, ranking.overall
    issues = []
    if ranking.samples != policy.selection.num_samples:
        issues.append(f"ranking.samples is {ranking.samples}, policy.config has {policy.selection.num_samples}.")
    if [part.name for part in parts] != record.task.stages:
        issues.append("ranking.stages are not those of the task.")
    for name in ("states", "tied"):
        if sum(getattr(part, name) for part in parts) != getattr(whole, name):
            issues.append(f"ranking.overall.{name} is {getattr(whole, name)}, its stages add up to another number.")
    if not math.isclose(ranking.gamma, evaluation_gamma(record.task.control_hz), rel_tol=1e-9):
        issues.append(f"ranking.gamma is {ranking.gamma:.6g}, the evaluation discounts otherwise.")
    if not whole.states * ranking.samples <= ranking.simulated <= whole.states * ranking.samples * ranking.look_ahead:
        issues.append(f"ranking.simulated is {ranking.simulated}, which its states and look-ahead do not give.")
    return [*issues, *(issue for part in (whole, *parts) for issue in _correlation_faults(part))]


def _correlation_faults(part: RankCorrelation) -> list[str]:
    if part.tied > part.states:
        return [f"ranking has {part.tied} tied states of {part.states}."]
    if (part.tied == part.states) != (part.kendall is None) or (part.kendall is None) != (part.spearman is None):
        return ["ranking states a correlation where every state is tied, or none where one is not."]
    if part.low is not None and not part.low - 1e-9 <= part.kendall <= part.high + 1e-9:
        return [f"ranking.kendall {part.kendall:.4g} lies outside its interval."]
    return []


def _gamma(record: Record, policy: PolicyConfig) -> float:
    """As GammaConfig.value, without its refusals."""
    fixed, matched = policy.gamma.fixed, policy.gamma.matched
    return fixed if fixed is not None else 1 - matched / record.task.horizon


def _own_policy_faults(record: Record, policy: PolicyConfig) -> list[str]:
    own, issues = record.own_policy, []
    if own.successes > own.states * own.rollouts:
        issues.append(f"own_policy.successes is {own.successes} of {own.states * own.rollouts} rollouts.")
    if {own.own.n, own.data.n} != {own.states}:
        issues.append("own_policy.own and own_policy.data are not of all states.")
    elif not math.isclose(own.data.bias - own.own.bias, own.gain[0], rel_tol=1e-6, abs_tol=1e-9):
        issues.append("own_policy.gain is not the difference of the biases against the data and the own policy.")
    if not own.gain[1] <= own.gain[0] <= own.gain[2]:
        issues.append("own_policy.gain lies outside its interval.")
    if not math.isclose(own.gamma, _gamma(record, policy), rel_tol=1e-9):
        issues.append(f"own_policy.gamma is {own.gamma:.6g}, which policy.config does not give.")
    return issues


def _together_faults(record: Record) -> list[str]:
    if record.together is None:
        return []
    issues = [fault for share in record.together for fault in task_faults(share.task, f"together, {share.task.name}")]
    if record.task not in [share.task for share in record.together]:
        issues.append("together does not name the task that was judged.")
    if len({share.task.digest for share in record.together}) != len(record.together) or len(record.together) < 2:
        issues.append("together does not name each of several tasks once.")
    return issues
