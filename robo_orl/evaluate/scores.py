"""From finished episodes to files: rows, scores with intervals, and how fast it went."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pydantic import ValidationError

from robo_orl.base.files import file_sha256, write_text
from robo_orl.base.machine import versions
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.config import PolicyConfig, ReferenceConfig, TaskConfig, sha256_of
from robo_orl.results.record import EpisodeRow, Evaluation
from robo_orl.results.store import rows_text
from robo_orl.results.summary import summarise
from robo_orl.rollout.episodes import Finished, Rollouts
from robo_orl.rollout.simulator import Hello


@dataclass(frozen=True)
class Request:
    """What is evaluated. Two equal requests have equal episodes, however they are carried out.

    sentences: what the policy is told, by turns. render: the fingerprint of the pictures that it learned from.
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
        return 0.99 ** (20 / self.task.control_hz)

    def digest(self, hello: Hello) -> str:
        """A hash of all that decides an episode, the simulator's loop and start states included."""
        seen = {"sentences": self.sentences} if self.sentences else {}
        if hello.render is not None:
            seen["pictures"] = [hello.render["look"], hello.render["reference_sha256"]]
        return sha256_of(
            seen
            | {
                "policy": self.policy.digest(),
                "task": self.task.digest(),
                "checkpoint": self.checkpoint_sha256,
                "seed": self.seed,
                "starts": hello.starts_sha256,
                "loop": hello.loop,
            }
        )

    def render_difference(self, hello: Hello) -> str | None:
        """How the pictures shown differ from those learned from, None where they do not or nobody knows."""
        if self.render is None or hello.render is None:
            return None
        from robo_orl.envs.rendering.fingerprint import difference

        return difference(hello.render, self.render)


def row_of(finished: Finished, request: Request, hello: Hello) -> EpisodeRow:
    """The row of one finished episode."""
    outcome = finished.outcome
    return EpisodeRow(
        episode=finished.episode,
        start=finished.episode,
        seed=request.seed,
        success_once=outcome.success_once,
        success_at_end=outcome.success_at_end,
        stages=[step is not None for step in outcome.stage_steps],
        stage_steps=outcome.stage_steps,
        length=outcome.length,
        discounted_return=outcome.discounted_return,
        wall_s=finished.wall_s,
        restarts=finished.restarts,
        starts_sha256=hello.starts_sha256,
        loop=hello.loop,
        request=request.digest(hello),
        fingerprint=outcome.fingerprint,
    )


def speed_of(rollouts: Rollouts, episodes: int, wall_s: float, start_s: float) -> dict[str, Any]:
    """How fast the episodes of this call went. Shares are of the time spent working, in all processes together."""
    work_s = rollouts.policy_s + rollouts.simulation_s
    return {
        "episodes_run": episodes,
        "wall_s": wall_s,
        "start_s": start_s,
        "episodes_per_s": episodes / wall_s,
        "policy_share": rollouts.policy_s / work_s if work_s else None,
        "simulation_share": rollouts.simulation_s / work_s if work_s else None,
        "workers_busy": rollouts.simulation_s / (rollouts.workers * wall_s),
        "episodes_per_policy_call": rollouts.decisions / max(1, rollouts.policy_calls),
        "workers": rollouts.workers,
        "slots": rollouts.slots,
    }


def is_current(out: Path, rows: list[EpisodeRow]) -> bool:
    """Whether `out` holds exactly these rows and the scores taken of them."""
    written = out / "episodes.jsonl", out / "eval.json"
    if not all(path.exists() for path in written) or written[0].read_text() != rows_text(rows):
        return False
    return json.loads(written[1].read_text()).get("episodes_sha256") == file_sha256(written[0])


def write_scores(
    request: Request, hello: Hello, rows: list[EpisodeRow], out: Path, speed: dict[str, Any], dtype: str
) -> dict[str, Any]:
    """episodes.jsonl first, then eval.json, which names its hash: a pair that does not match is never taken for one."""
    write_text(out / "episodes.jsonl", rows_text(rows))
    scores = Evaluation(
        **summarise(rows, request.task.stages),
        gamma=request.gamma,
        episodes_file="episodes.jsonl",
        episodes_sha256=file_sha256(out / "episodes.jsonl"),
        starts_sha256=hello.starts_sha256,
        loop=hello.loop,
        seed=request.seed,
        wall_s=speed["wall_s"],
        sentences=list(request.sentences),
        render=hello.render,
        render_difference=request.render_difference(hello),
    )
    result = scores.model_dump(mode="json") | {
        "policy": request.policy.name,
        "selection": request.policy.selection.model_dump(mode="json"),
        "task": request.task.name,
        "task_digest": request.task.digest(),
        "checkpoint_sha256": request.checkpoint_sha256,
        "step": request.step,
        "training_finished": request.step == request.policy.steps,
        "lengths": {"mean": fmean(row.length for row in rows), "median": median(row.length for row in rows)},
        "policy_dtype": dtype.removeprefix("torch."),
        "speed": speed,
        "versions": versions(),
    }
    write_text(out / "eval.json", json.dumps(result, indent=1) + "\n")
    return result


def in_words(result: dict[str, Any]) -> dict[str, str]:
    """eval.json as the few lines that a person wants on a terminal; no rate without its k, n and interval."""
    speed = result["speed"]
    lines = {
        "policy": f"{result['policy']}, step {result['step']}"
        + ("" if result["training_finished"] else " (training is not finished)"),
        "task": f"{result['task']}, physics loop {result['loop']}",
        "success": _score_in_words(result["success_once"]),
        "success at the end": _score_in_words(result["success_at_end"]),
    }
    for stage in result["stages"]:
        given = stage["conditional"]
        before = f"; {_score_in_words(given)} of those that reached the stage before" if given["n"] else ""
        lines[f"  {stage['name']}"] = _score_in_words(stage["reached"]) + before
    if result["success_length_median"] is not None:
        lines["length of a success"] = f"{result['success_length_median']:.0f} decisions (median)"
    lines["discounted return"] = f"{result['discounted_return']:.3f} (mean, gamma {result['gamma']:.4g} per decision)"
    if result["render_difference"]:
        lines["pictures"] = f"not those that it learned from: {result['render_difference']}"
    if result["restarts"]:
        lines["run again"] = f"{result['restarts']} times because a simulator died"
    lines["speed"] = (
        f"{speed['episodes_per_s']:.2f} episodes/s, policy {100 * (speed['policy_share'] or 0):.0f} % of the work"
    )
    return lines


def _score_in_words(score: dict[str, Any]) -> str:
    low, high = 100 * score["low"], 100 * score["high"]
    return (
        f"{score['k']} of {score['n']} ({100 * score['k'] / score['n']:.0f} %, 95 % interval {low:.0f} to {high:.0f})"
    )


class FinishedRows:
    """Rows by episode, backed by a file of JSON lines that survives a kill at any moment.

    Rows of another request, and a last line cut short, are dropped when the file is opened.
    """

    def __init__(self, path: Path, request: str):
        self.path, self.request = path, request
        rows = [row for line in _lines(path) if (row := _parsed(line)) is not None and row.request == request]
        self._rows = {row.episode: row for row in rows}
        write_text(path, rows_text(list(self._rows.values())))

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
