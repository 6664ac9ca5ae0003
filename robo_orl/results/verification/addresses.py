"""The addresses of a record, taken again from the configuration that it holds.

A record holds its policy, task, seeds and counts whole. Of the requests it does not hold the loop of the data, the
view of their pictures and the name of the start bank: those are the suite's where the suite has the cell. Without a
suite, or after it was changed, every value that these may have is tried, and a record passes with one of them. The
version of the objective is not stored either: of the versions from 1 to 32 one must give the address.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from robo_orl.config import LOOPS, DataRequest, EvaluationRequest, PolicyConfig, SuiteConfig, View
from robo_orl.config.regimes import without_reward
from robo_orl.config.tasks import START_BANKS
from robo_orl.results.addresses import (
    Policy,
    cell_key,
    data_key,
    evaluation_request,
    needs_next_obs,
    online_key,
    run_key,
)
from robo_orl.results.record import EpisodeRow, Record

OBJECTIVE_VERSIONS = range(1, 33)


@dataclass(frozen=True, slots=True)
class Requests:
    """The data and the evaluation that a suite asks for."""

    suite: SuiteConfig

    @property
    def evaluation(self) -> EvaluationRequest:
        """Of every cell."""
        return self.suite.evaluation

    def data(self, record: Record) -> list[DataRequest]:
        """The data sets that its groups ask for on the task and regime of a record."""
        requests = self.suite.data_requests(record.task.name, without_reward(record.regime))
        stated = {"reward": record.data.reward, "official": record.data.official}
        return [request.model_copy(update=stated) for request in requests]


def address_faults(record: Record, policy: Policy, requests: Requests | None) -> list[str]:
    """`train.run` and `cell` against the addresses of the record's own content. requests: of the suite that has it."""
    issues = []
    if not _run_matches(record, policy, requests):
        issues.append(
            f"train.run {record.train.run[:12]}... is not the address of this task, regime, data, policy and seed."
        )
    if evaluation_of(record, policy, requests) is None:
        issues.append(
            f"cell {record.cell[:12]}... is not the address of this run, policy name, selection and evaluation."
        )
    return issues


def evaluation_of(record: Record, policy: Policy, requests: Requests | None) -> EvaluationRequest | None:
    """The evaluation that the address of a record was taken of; None where it is of no evaluation that it could be."""
    judged = record.task.digest if record.together else None
    requested = _evaluations(record, requests)
    return next((r for r in requested if cell_key(record.train.run, policy, r, judged) == record.cell), None)


def request_faults(record: Record, policy: Policy, rows: list[EpisodeRow]) -> list[str]:
    """The rows' `request` against the record. An older record does not hold the hash of its checkpoint."""
    stated = {row.request for row in rows}
    if len(stated) > 1:
        return ["the rows are of more than one evaluation: their request differs."]
    evaluation = record.evaluation
    if not rows or evaluation.checkpoint_sha256 is None:
        return []
    try:
        expected = evaluation_request(
            policy,
            record.task.digest,
            evaluation.checkpoint_sha256,
            evaluation.seed,
            evaluation.starts_sha256,
            evaluation.loop,
            evaluation.sentences,
            evaluation.render,
        )
    except KeyError as error:
        return [f"evaluation.render has no {error.args[0]}."]
    if stated == {expected}:
        return []
    return ["the rows' request is not that of this policy, task, checkpoint, seed, start bank and loop."]


def _run_matches(record: Record, policy: Policy, requests: Requests | None) -> bool:
    next_obs = needs_next_obs(policy)
    versions = OBJECTIVE_VERSIONS if isinstance(policy, PolicyConfig) else (1,)
    for data in _data(record, policy, requests):
        learned: str | list[tuple[str, float]] = data_key(record.task.digest, record.regime, data, next_obs)
        if record.together:
            shares = record.together
            learned = [(data_key(s.task.digest, record.regime, data, next_obs), s.weight) for s in shares]
        if any(key == record.train.run for key in _run_keys(record, policy, learned, versions)):
            return True
    return False


def _run_keys(
    record: Record, policy: Policy, learned: str | list[tuple[str, float]], versions: Sequence[int]
) -> Iterator[str]:
    """The addresses that a run on these data may have, one for each version of its objectives."""
    online = record.online
    if online is None:
        yield from (run_key(learned, policy, record.seed, version) for version in versions)
        return
    start = PolicyConfig.model_validate(online.start.config)
    begun = [run_key(learned, start, record.seed, version) for version in versions]
    if online.start.run in begun:
        judged = record.task.digest if record.together else None
        yield from (
            online_key(online.start.run, policy, online.env_steps, record.seed, version, judged) for version in versions
        )


def _data(record: Record, policy: Policy, requests: Requests | None) -> Iterator[DataRequest]:
    if requests is not None:
        yield from requests.data(record)
        return
    views: list[View | None] = [None]
    if isinstance(policy, PolicyConfig) and policy.observation.cameras:
        seen = {"cameras": tuple(policy.observation.cameras), "size": policy.observation.image_size}
        views = [View(**seen, look=look) for look in ("plain", "full")]
    for loop, view in product(LOOPS, views):
        yield DataRequest(
            episodes=record.data.requested or max(1, record.data.episodes),
            seed=record.data.seed,
            loop=loop,
            view=view,
            reward=record.data.reward,
            official=record.data.official,
        )


def _evaluations(record: Record, requests: Requests | None) -> Iterator[EvaluationRequest]:
    if requests is not None:
        yield requests.evaluation
        return
    own = record.evaluation
    loops = LOOPS if own.loop == "stock" else (own.loop,)  # where a loop's assumptions do not hold, stock is used
    for loop, starts in product(loops, START_BANKS):
        if loop in LOOPS:
            yield EvaluationRequest(episodes=max(1, own.episodes), seed=own.seed, loop=loop, starts=starts)
