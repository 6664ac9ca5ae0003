"""From finished episodes to files: the plan of an evaluation, its rows, and its scores with intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pydantic import ValidationError

from robo_orl.base.files import file_sha256, write_text
from robo_orl.base.machine import versions
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.config import PolicyConfig, ReferenceConfig, TaskConfig
from robo_orl.evaluate.result import EvaluationResult, Lengths, Speed
from robo_orl.results.addresses import evaluation_gamma, evaluation_request
from robo_orl.results.record import EpisodeRow, Evaluation
from robo_orl.results.store import rows_text
from robo_orl.results.summary import summarise
from robo_orl.rollout.episodes import FinishedEpisode
from robo_orl.rollout.simulator import SimulatorInfo

EPISODES, SCORES = "episodes.jsonl", "eval.json"  # the files of an evaluation


@dataclass(frozen=True)
class EvaluationPlan:
    """The policy, task and seed of an evaluation. Equal plans have equal episodes, however they are carried out.

    sentences: the instructions that the policy reads, by turns. render: the fingerprint of the pictures that it learned
    from.
    """

    policy: PolicyConfig | ReferenceConfig
    task: TaskConfig
    checkpoint_sha256: str
    step: int
    seed: int
    sentences: tuple[str, ...] = ()
    render: dict[str, Any] | None = None

    @property
    def gamma(self) -> float:
        """The discount per decision of discounted returns: equal for all policies, and for all control rates per second
        of simulated time."""
        return evaluation_gamma(self.task.control_hz)

    def digest(self, info: SimulatorInfo) -> str:
        """A hash of all that decides an episode, the simulator's loop and start states included."""
        return evaluation_request(
            self.policy,
            self.task.digest(),
            self.checkpoint_sha256,
            self.seed,
            info.starts_sha256,
            info.loop,
            self.sentences,
            info.render,
        )

    def render_difference(self, info: SimulatorInfo) -> str | None:
        """The difference between the pictures shown and those learned from; None where there is none."""
        return render_difference(self.render, info)


def render_difference(render: dict[str, Any] | None, info: SimulatorInfo) -> str | None:
    """The difference between the pictures of a simulator and those that `render` is the fingerprint of, in words."""
    if info.render is None:
        return None
    if render is None:
        return "its data do not say which renderer made them"
    from robo_orl.envs.rendering.renderer import difference

    return difference(info.render, render)


def row_of(finished: FinishedEpisode, plan: EvaluationPlan, info: SimulatorInfo) -> EpisodeRow:
    """The row of one finished episode."""
    outcome = finished.outcome
    return EpisodeRow(
        episode=finished.episode,
        start=finished.episode,
        seed=plan.seed,
        success_once=outcome.success_once,
        success_at_end=outcome.success_at_end,
        stages=[step is not None for step in outcome.stage_steps],
        stage_steps=outcome.stage_steps,
        length=outcome.length,
        discounted_return=outcome.discounted_return,
        wall_s=finished.wall_s,
        restarts=finished.restarts,
        starts_sha256=info.starts_sha256,
        loop=info.loop,
        request=plan.digest(info),
        fingerprint=outcome.fingerprint,
        horizon=plan.task.horizon,
        look_ahead_decisions=finished.simulated if plan.policy.selection.look_ahead else None,
    )


def read_current(out: Path, rows: Sequence[EpisodeRow]) -> EvaluationResult | None:
    """The result in `out`, None where it is of other rows or of another version."""
    episodes, scores = out / EPISODES, out / SCORES
    if not (episodes.exists() and scores.exists()) or episodes.read_text(errors="replace") != rows_text(rows):
        return None
    try:
        values = json.loads(scores.read_text())
        return EvaluationResult.from_json(values) if values["episodes_sha256"] == file_sha256(episodes) else None
    except (KeyError, TypeError, ValueError):
        return None


def write_scores(
    plan: EvaluationPlan, info: SimulatorInfo, rows: Sequence[EpisodeRow], out: Path, speed: Speed, dtype: str
) -> EvaluationResult:
    """Write episodes.jsonl, then eval.json, which names its hash: a pair that does not match is never taken for one."""
    write_text(out / EPISODES, rows_text(rows))
    scores = Evaluation(
        **summarise(rows, plan.task.stages),
        gamma=plan.gamma,
        episodes_file=EPISODES,
        episodes_sha256=file_sha256(out / EPISODES),
        starts_sha256=info.starts_sha256,
        loop=info.loop,
        seed=plan.seed,
        wall_s=speed.wall_s,
        sentences=list(plan.sentences),
        render=info.render,
        render_difference=plan.render_difference(info),
        checkpoint_sha256=plan.checkpoint_sha256,
    )
    result = EvaluationResult(
        scores=scores,
        policy=plan.policy.name,
        selection=plan.policy.selection,
        task=plan.task.name,
        task_digest=plan.task.digest(),
        checkpoint_sha256=plan.checkpoint_sha256,
        step=plan.step,
        training_finished=plan.step == plan.policy.steps,
        lengths=Lengths(fmean(row.length for row in rows), median(row.length for row in rows)),
        policy_dtype=dtype.removeprefix("torch."),
        speed=speed,
        versions=versions(),
    )
    write_text(out / SCORES, json.dumps(result.to_json(), indent=1) + "\n")
    return result


class FinishedRows:
    """Rows by episode, backed by a file of JSON lines that survives a kill at any moment.

    Rows of another evaluation (`digest`), and a last line cut short, are dropped when the file is opened.
    """

    def __init__(self, path: Path, digest: str):
        self.path = path
        self._rows = {row.episode: row for row in self.of(path, digest)}
        write_text(path, rows_text(list(self._rows.values())))

    @staticmethod
    def of(path: Path, digest: str) -> list[EpisodeRow]:
        """The rows of one evaluation in a file; none where there is no file."""
        return [row for line in _lines(path) if (row := _parsed(line)) is not None and row.request == digest]

    def __contains__(self, episode: int) -> bool:
        return episode in self._rows

    def __getitem__(self, episode: int) -> EpisodeRow:
        return self._rows[episode]

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: EpisodeRow) -> None:
        """Keep a row, on disk first."""
        with describe_os_errors(self.path), self.path.open("a") as file:
            file.write(rows_text([row]))
        self._rows[row.episode] = row


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _parsed(line: str) -> EpisodeRow | None:
    """The row, or None for a line that a kill cut short or another version wrote."""
    try:
        return EpisodeRow.model_validate_json(line)
    except ValidationError:
        return None
