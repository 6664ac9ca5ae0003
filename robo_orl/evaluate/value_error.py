"""The error of a trained critic against the Monte-Carlo returns of the data that it learned from.

The return is that of the policy that recorded the data. A critic that looks for better actions than the data's may lie
above it with reason: the rank correlation measures the order of states, the bias an overestimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from torch import Tensor, nn

from robo_orl.base.errors import UsageError
from robo_orl.base.types import PairedWindow
from robo_orl.config import RunConfig, TaskConfig, TaskData
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.task_data import make_windows, open_data, task_number

FRAMES, BATCH = 4096, 512
POSITIONS = 5  # equal parts of an episode


@dataclass(frozen=True)
class ErrorStatistics:
    """Errors of predicted values against n returns; all but n are None without any.

    bias: mean of value - return. correlation: Spearman's, kendall_tau: Kendall's; None where one side is constant.
    """

    n: int
    mean_absolute: float | None = None
    bias: float | None = None
    rmse: float | None = None
    correlation: float | None = None
    kendall_tau: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values; without frames only n."""
        return asdict(self) if self.n else {"n": 0}


@dataclass(frozen=True)
class CriticErrors:
    """The errors of a critic over frames of the data.

    gamma: the discount per decision of the returns. by_success: of the frames of successes and of failures
    ("success", "failure"). by_end: of the frames of successes, of failures that ran into the time limit, and of those
    that were ended before it ("success", "time_limit", "walked_off"): what the last would still have got is unknown.
    by_position: of equal parts of an episode, from its start to its end.
    """

    gamma: float
    overall: ErrorStatistics
    by_success: dict[str, ErrorStatistics]
    by_end: dict[str, ErrorStatistics]
    by_position: tuple[ErrorStatistics, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values, `overall` beside the others; a part of an episode is named by its ends in [0, 1]."""
        parts = len(self.by_position)
        return {
            "gamma": self.gamma,
            **self.overall.to_json(),
            "by_success": {name: errors.to_json() for name, errors in self.by_success.items()},
            "by_end": {name: errors.to_json() for name, errors in self.by_end.items()},
            "by_position": [
                {"from": i / parts, "to": (i + 1) / parts} | errors.to_json()
                for i, errors in enumerate(self.by_position)
            ],
        }


def value_error(
    run_dir: Path | str, data: Path | str | None = None, frames: int = FRAMES, task: str | None = None
) -> CriticErrors:
    """Compare the value of the newest checkpoint with the discounted return-to-go, in frames spread over the episodes.

    data: default the file that the run was trained on. frames: at most so many, evenly spaced over all that have a
    whole n-step window or end in a true terminal (a return that a timeout cut is none). task: one of those that the run
    learned, default the first.

    Raises UsageError for a policy without a critic.
    """
    agent, run = load_agent(run_dir)
    if agent.critic is None:
        raise UsageError(f"{run_dir} is '{run.policy.name}', which has no critic; compare a policy that has one.")
    source = run.tasks[task_number(run, task)]
    return critic_errors(
        agent, run, source.model_copy(update={"data": str(data or source.data), "filter": None}), frames
    )


def critic_errors(agent: nn.Module, run: RunConfig, source: TaskData, frames: int = FRAMES) -> CriticErrors:
    """The errors of an agent's critic over frames of `source`, as in `value_error`."""
    gamma = run.policy.gamma.value(source.task.horizon)
    alone = run.model_copy(update={"tasks": [source]})
    windows = make_windows(alone, open_data(alone))
    value, returned, position, episode = compared(agent, windows, frames)
    end = episode_ends(windows.arrays, source.task)[episode]
    success = end == SUCCESS
    part = np.minimum((position * POSITIONS).astype(int), POSITIONS - 1)
    return CriticErrors(
        gamma=gamma,
        overall=error_statistics(value, returned),
        by_success={
            "success": error_statistics(value[success], returned[success]),
            "failure": error_statistics(value[~success], returned[~success]),
        },
        by_end={name: error_statistics(value[end == i], returned[end == i]) for i, name in enumerate(ENDS)},
        by_position=tuple(error_statistics(value[part == i], returned[part == i]) for i in range(POSITIONS)),
    )


def error_statistics(value: np.ndarray, returned: np.ndarray) -> ErrorStatistics:
    """Errors of `value` (n,) against `returned` (n,)."""
    if len(value) == 0:
        return ErrorStatistics(0)
    difference = value - returned
    return ErrorStatistics(
        n=len(value),
        mean_absolute=float(np.abs(difference).mean()),
        bias=float(difference.mean()),
        rmse=float(np.sqrt(np.square(difference).mean())),
        correlation=_ranked(stats.spearmanr, value, returned),
        kendall_tau=_ranked(stats.kendalltau, value, returned),
    )


def _ranked(statistic: Callable[..., Any], value: np.ndarray, returned: np.ndarray) -> float | None:
    if np.ptp(value) == 0 or np.ptp(returned) == 0:
        return None
    return float(np.clip(statistic(value, returned).statistic, -1.0, 1.0))


ENDS = ("success", "time_limit", "walked_off")
SUCCESS, TIME_LIMIT, WALKED_OFF = range(3)


def episode_ends(arrays: EpisodeArrays, task: TaskConfig) -> np.ndarray:
    """(E,) the place in ENDS of every episode: a failure shorter than the time limit was ended by its operator.

    Dead time is not counted by the limit: an episode that reached r stages waited at least max(r, 1) times.
    """
    dead, lengths = round(task.padding * task.control_hz), np.diff(arrays.starts)
    last = arrays.stages[arrays.starts[1:] - 1]
    waits = np.maximum(last.sum(1), 1) if last.shape[1] else np.ones(len(lengths))
    limit = round(task.max_seconds * task.control_hz) + dead * waits
    return np.where(arrays.success, SUCCESS, np.where(lengths < limit, WALKED_OFF, TIME_LIMIT))


def compared(agent: nn.Module, windows: PairedWindows, frames: int) -> tuple[np.ndarray, ...]:
    """Value, return-to-go, position in the episode in [0, 1), number of the episode: (n,) each, of at most so many
    frames, evenly spaced."""
    at = np.unique(np.linspace(0, len(windows) - 1, min(frames, len(windows))).round().astype(np.int64))
    parts = [_batch(agent, windows.gather(windows.frames[some])) for some in np.split(at, range(BATCH, len(at), BATCH))]
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _batch(agent: nn.Module, window: PairedWindow) -> tuple[np.ndarray, ...]:
    window = window.to(next(agent.parameters()).device)
    value = agent.value(window.obs, window.actions)
    length = window.frame + window.steps_to_go
    columns: tuple[Tensor, ...] = (value.double(), window.return_to_go.double(), window.frame / length, window.episode)
    return tuple(column[window.td_valid].cpu().numpy() for column in columns)
