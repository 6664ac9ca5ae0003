"""The result of an evaluation as a value, as JSON and in the words of a terminal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from robo_orl.config import SelectionConfig
from robo_orl.results.record import Evaluation, Score
from robo_orl.rollout.episodes import Rollouts


@dataclass(frozen=True)
class Speed:
    """The speed of the episodes of one call. Shares are of the time spent working, in all processes together; None
    where nothing was run.

    start_s: seconds until the first simulator was ready; wall_s: seconds after that. workers_busy: share of the
    processes' time that was simulation.
    """

    episodes_run: int
    wall_s: float
    start_s: float
    episodes_per_s: float
    policy_share: float | None
    simulation_share: float | None
    workers_busy: float
    episodes_per_policy_call: float
    workers: int
    slots: int
    episodes_reused: int

    @classmethod
    def of(cls, rollouts: Rollouts, run: int, reused: int, wall_s: float, start_s: float) -> Speed:
        """The speed of rollouts that ran `run` episodes; `reused` were there before."""
        work_s = rollouts.policy_s + rollouts.simulation_s
        return cls(
            episodes_run=run,
            wall_s=wall_s,
            start_s=start_s,
            episodes_per_s=run / wall_s,
            policy_share=rollouts.policy_s / work_s if work_s else None,
            simulation_share=rollouts.simulation_s / work_s if work_s else None,
            workers_busy=rollouts.simulation_s / (rollouts.workers * wall_s),
            episodes_per_policy_call=rollouts.decisions / max(1, rollouts.policy_calls),
            workers=rollouts.workers,
            slots=rollouts.slots,
            episodes_reused=reused,
        )


@dataclass(frozen=True)
class Lengths:
    """Decisions of an episode, over all episodes."""

    mean: float
    median: float


@dataclass(frozen=True)
class EvaluationResult:
    """The scores of an evaluation and the circumstances: the content of eval.json, which `to_json` gives.

    training_finished: whether the checkpoint is the policy's last. policy_dtype: of the policy's arithmetic.
    """

    scores: Evaluation
    policy: str
    selection: SelectionConfig
    task: str
    task_digest: str
    checkpoint_sha256: str
    step: int
    training_finished: bool
    lengths: Lengths
    policy_dtype: str
    speed: Speed
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """JSON values, the scores first and beside the others."""
        others = {name: value for name, value in vars(self).items() if name != "scores"}
        nested = {
            "selection": self.selection.model_dump(mode="json"),
            "lengths": asdict(self.lengths),
            "speed": asdict(self.speed),
        }
        return self.scores.model_dump(mode="json") | others | nested

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> EvaluationResult:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValidationError for the JSON of another version."""
        scores = {name: values[name] for name in Evaluation.model_fields if name in values}
        own = cls.__dataclass_fields__
        others = {name: value for name, value in values.items() if name in own or name not in scores}
        nested = {
            "selection": SelectionConfig.model_validate(others["selection"]),
            "lengths": Lengths(**others["lengths"]),
            "speed": Speed(**others["speed"]),
        }
        return cls(scores=Evaluation.model_validate(scores), **(others | nested))


def in_words(result: EvaluationResult) -> dict[str, str]:
    """The result as the few lines that a terminal shows; no rate without its k, n and interval."""
    scores, speed = result.scores, result.speed
    unfinished = "" if result.training_finished else " (training is not finished)"
    lines = {
        "policy": f"{result.policy}, step {result.step}{unfinished}",
        "task": f"{result.task}, physics loop {scores.loop}",
        "success": _score_in_words(scores.success_once),
        "success at the end": _score_in_words(scores.success_at_end),
    }
    for stage in scores.stages:
        given = stage.conditional
        before = f"; {_score_in_words(given)} of those that reached the stage before" if given.n else ""
        lines[f"  {stage.name}"] = _score_in_words(stage.reached) + before
    if scores.success_length_median is not None:
        lines["length of a success"] = f"{scores.success_length_median:.0f} decisions (median)"
    lines["discounted return"] = f"{scores.discounted_return:.3f} (mean, gamma {scores.gamma:.4g} per decision)"
    if scores.look_ahead_decisions is not None:
        lines["look-ahead"] = f"{scores.look_ahead_decisions:,} decisions simulated beside the episodes' own"
    if scores.render_difference:
        lines["pictures"] = f"not those that it learned from: {scores.render_difference}"
    if scores.restarts:
        lines["run again"] = f"{scores.restarts} times because a simulator died"
    if speed.policy_share is None:
        lines["speed"] = "no episode was run: all were stored"
    else:
        lines["speed"] = (
            f"{speed.episodes_per_s:.2f} episodes/s; the policy was {100 * speed.policy_share:.1f} % of the work, the"
            " simulator with its pictures the rest"
        )
    return lines


def _score_in_words(score: Score) -> str:
    low, high = 100 * score.low, 100 * score.high
    return f"{score.k} of {score.n} ({100 * score.k / score.n:.0f} %, 95 % interval {low:.0f} to {high:.0f})"
