"""Play episodes of stored results again from their checkpoints, and compare outcomes and lengths with the rows.

A checkpoint is found by its content: the record holds the sha256 of the weights that played. Which episodes are played
is drawn anew by every call, so that nobody can prepare for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import file_sha256
from robo_orl.base.machine import code, cores, hardware, versions
from robo_orl.config import PolicyConfig, RunConfig, parse
from robo_orl.engine.checkpoint import AGENT, load_agent
from robo_orl.engine.run_folder import read_spec
from robo_orl.engine.task_data import task_number
from robo_orl.evaluate.scores import EvaluationPlan
from robo_orl.evaluate.success import SLOTS, one_thread, player, rollouts_of
from robo_orl.results.record import EpisodeRow, Record
from robo_orl.results.reruns import Rerun
from robo_orl.results.store import StoredCell, open_results
from robo_orl.rollout.env_spec import EnvSpec
from robo_orl.rollout.episodes import FinishedEpisode, Policy

REFERENCE_MODEL = "model.pth"  # of robomimic's own format, in checkpoints/epoch_*

Player = tuple[EvaluationPlan, Policy, EnvSpec]
"""The plan of an evaluation, what acts in it, and the environment."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One cell after its episodes were played again: the episodes that differ, or why none was played."""

    cell: str
    name: str
    rerun: Rerun | None
    differing: list[int]
    reason: str = ""


def checkpoints_below(folder: Path) -> dict[str, Path]:
    """sha256 of the weights -> the run folder, of every newest checkpoint below a folder."""
    newest: dict[Path, Path] = {}
    for pattern in (f"step_*/{AGENT}", f"epoch_*/{REFERENCE_MODEL}"):
        for path in sorted(Path(folder).glob(f"**/checkpoints/{pattern}")):
            newest[path.parents[2]] = path
    return {file_sha256(path): run for run, path in newest.items()}


def replay(
    results: Path,
    count: int,
    runs: Path | None = None,
    workers: int | None = None,
    seed: int | None = None,
    references: Callable[[Record, Path], Player] | None = None,
) -> Iterator[Replayed]:
    """Play `count` episodes of every cell of a results folder again, one cell after the other.

    runs: the folder below which checkpoints are, default the results folder. seed: of the choice of episodes, default a
    new one. references: what plays the record of another library from its run (robomimic/evaluation.py); None: they are
    not played. Raises UsageError where no checkpoint of any cell is found.
    """
    stored = open_results(results)
    found = checkpoints_below(runs or results)
    records = [(cell, cell.record()) for cell in stored.cells]
    if not any(record.evaluation.checkpoint_sha256 in found for _, record in records):
        raise UsageError(
            f"No checkpoint below {runs or results} is one that these results were played with; give the folder of the "
            "trained runs with --runs."
        )
    draws = random.SystemRandom() if seed is None else random.Random(seed)
    for cell, record in records:
        players = {"policy": _player, "reference": references}
        yield _replay_cell(cell, record, found, count, workers, draws, players[record.kind])


def drawn_episodes(rows: Sequence[EpisodeRow], count: int, draws: random.Random) -> list[int]:
    """`count` episodes, half of them successes where there are so many: any policy repeats a failure by the limit."""
    solved, failed = ([row.episode for row in rows if row.success_once is once] for once in (True, False))
    wins = min(len(solved), max(count // 2, count - len(failed)))
    return sorted(draws.sample(solved, wins) + draws.sample(failed, min(count - wins, len(failed))))


def _replay_cell(
    cell: StoredCell,
    record: Record,
    found: dict[str, Path],
    count: int,
    workers: int | None,
    draws: random.Random,
    player_of: Callable[[Record, Path], Player] | None,
) -> Replayed:
    if player_of is None:
        return Replayed(record.cell, cell.name, None, [], "a reference of another library; `robo-orl eval` plays it")
    run = found.get(record.evaluation.checkpoint_sha256 or "")
    if run is None:
        return Replayed(record.cell, cell.name, None, [], "its checkpoint is not here")
    rows = cell.rows(record)
    chosen = drawn_episodes(rows, count, draws)
    try:
        ready = player_of(record, run)
    except RunError as error:  # robomimic is not installed
        return Replayed(record.cell, cell.name, None, [], str(error).rstrip("."))
    played = {finished.episode: finished for finished in _played(record, ready, chosen, workers)}
    rerun = Rerun(
        cell=record.cell,
        checkpoint_sha256=record.evaluation.checkpoint_sha256 or "",
        episodes_sha256=record.evaluation.episodes_sha256,
        episodes=chosen,
        success=[played[i].outcome.success_once for i in chosen],
        length=[played[i].outcome.length for i in chosen],
        versions=versions(),
        hardware=hardware(),
        code=code(),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    return Replayed(record.cell, cell.name, rerun, rerun.differing(rows))


def _played(record: Record, ready: Player, episodes: Sequence[int], workers: int | None) -> list[FinishedEpisode]:
    """The episodes as the record's evaluation plays them."""
    plan, actor, env_spec = ready
    processes = min(workers or cores(), len(episodes))
    slots = min(SLOTS, -(-len(episodes) // processes))
    with one_thread(), rollouts_of(plan, actor, env_spec, processes, slots, {}) as rollouts:
        info = rollouts.info()
        if info.starts_sha256 != record.evaluation.starts_sha256:
            raise UsageError(f"The start states of {record.task.name} here are not those of the record.")
        return list(rollouts.run(episodes))


def _player(record: Record, run_dir: Path) -> Player:
    """A policy of ours with the selection of the record."""
    agent, run = load_agent(run_dir)
    policy = parse(PolicyConfig, record.policy.config, f"the record of {record.cell[:10]}")
    plan = _plan(record, run, policy, run_dir)
    agent.select_by(policy.selection)
    if torch.cuda.is_available():
        agent = agent.to("cuda")
    actor, env_spec = player(agent, plan, record.evaluation.loop, "test", tuple(agent.spec))
    return plan, actor, env_spec


def _plan(record: Record, run: RunConfig, policy: PolicyConfig, run_dir: Path) -> EvaluationPlan:
    number = task_number(run, record.task.name if len(run.tasks) > 1 else None)
    task = run.tasks[number].task
    if task.digest() != record.task.digest:
        raise UsageError(f"{run_dir} learned another {task.name} than the record is of: their digests differ.")
    spec = read_spec(run_dir)
    render = spec.render[number] if spec.render else None
    sentences = tuple(record.evaluation.sentences)
    checkpoint = record.evaluation.checkpoint_sha256 or ""
    return EvaluationPlan(policy, task, checkpoint, run.policy.steps, record.evaluation.seed, sentences, render)
