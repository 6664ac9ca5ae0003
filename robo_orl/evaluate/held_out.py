"""A policy against demonstrations that it did not learn from: action errors, losses and value errors.

It is how a policy of a task without an environment (`env: none`, a real robot) is judged. An action error is no
success: a policy with a smaller one may still fail where small errors add up.

RUN/eval/held_out.json   the result
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from robo_orl.base.errors import UsageError
from robo_orl.base.files import file_sha256, read_json, write_json
from robo_orl.base.machine import versions
from robo_orl.base.rng import Draws
from robo_orl.config import RunConfig, TaskData
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.checkpoint import AGENT, checkpoints, load_agent
from robo_orl.engine.run_folder import Spec, read_spec
from robo_orl.engine.task_data import make_windows, open_data, task_number
from robo_orl.evaluate.policy import EpisodeDraws
from robo_orl.evaluate.value_error import critic_errors
from robo_orl.results.intervals import mean_interval
from robo_orl.rollout.episodes import PolicyQuery

FRAMES, BATCH = 4096, 512
HELD_OUT = "held_out.json"
TRAINED, VALID = "train", "valid"  # robomimic's masks of the two parts of a file


@dataclass(frozen=True)
class DimensionError:
    """Errors of one number of the action. constant: mean absolute error of always acting as the training data's mean.

    unit: half the range that the data's actions were scaled from, where the file says it: errors times it are in the
    robot's own units.
    """

    name: str
    mean_absolute: float
    rmse: float
    constant: float
    unit: float | None = None


@dataclass(frozen=True)
class ActionErrors:
    """Errors of predicted actions in [-1, 1] over the actions of a chunk that the policy executes.

    frames: compared. mean_absolute: over frames, actions and dimensions; low, high: its 95 % interval over episodes.
    constant: that of always acting as the mean of the training data. by_step: mean absolute error of each action of the
    chunk, those that are not executed too.
    """

    frames: int
    mean_absolute: float
    low: float
    high: float
    rmse: float
    constant: float
    by_step: tuple[float, ...]
    dimensions: tuple[DimensionError, ...]


@dataclass(frozen=True)
class HeldOutResult:
    """A checkpoint on data that were held out. losses: of its training, each term and their sum. value_errors: of its
    critic against the data's returns, None without a critic or without frames whose return is known."""

    policy: str
    task: str
    data: str
    data_sha256: str
    mask: str | None
    episodes: int
    step: int
    checkpoint_sha256: str
    seed: int
    actions: ActionErrors
    losses: dict[str, float]
    value_errors: dict[str, Any] | None
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def held_out(
    run_dir: Path | str,
    data: Path | str | None = None,
    mask: str | None = None,
    task: str | None = None,
    seed: int = 0,
    frames: int = FRAMES,
    out: Path | None = None,
) -> HeldOutResult:
    """Compare the newest checkpoint of a run with demonstrations, and write RUN/eval/held_out.json.

    data: default the file that the run was trained on. mask: the episodes of it. Without both those of the run's own
    `evaluation.held_out`, or `valid` where the run learned from the mask `train`. seed: of what the policy draws.
    frames: at most so many, evenly spread.

    Raises UsageError where nothing is held out, and where an episode was trained on.
    """
    run_dir = Path(run_dir)
    agent, run = load_agent(run_dir)
    number = task_number(run, task)
    source = _source(run, number, data, mask)
    alone = run.model_copy(update={"tasks": [source]})
    arrays = open_data(alone)[0]
    _check_apart(run_dir, run, number, source, arrays)
    checkpoint = checkpoints(run_dir)[-1]
    errors = held_out_actions(agent, run, source, arrays, read_spec(run_dir), seed, frames)
    result = HeldOutResult(
        policy=run.policy.name,
        task=source.task.name,
        data=str(source.data),
        data_sha256=arrays.sha256,
        mask=source.filter,
        episodes=int(arrays.chosen(source.filter).sum()),
        step=int(checkpoint.name.split("_")[1]),
        checkpoint_sha256=file_sha256(checkpoint / AGENT),
        seed=seed,
        actions=errors,
        losses=held_out_losses(agent, run, source),
        value_errors=_values(agent, run, source),
        versions=versions(),
    )
    write_json((out or run_dir / "eval") / HELD_OUT, result.to_json())
    return result


def _source(run: RunConfig, number: int, data: Path | str | None, mask: str | None) -> TaskData:
    """The data that are held out. UsageError where none are named and the run says none."""
    source, wanted = run.tasks[number], run.evaluation
    if data is None and mask is None and wanted.measures_losses:
        data, mask = wanted.held_out, wanted.held_out_filter
    elif data is None and mask is None and source.filter == TRAINED:
        mask = VALID
    elif data is None and mask is None:
        raise UsageError(
            f"The run learned from all episodes of {source.data}, and nothing is held out: give other data with "
            "--held-out FILE, or train with --filter train on a file that `robo-orl data edit --split 0.1` has divided."
        )
    return source.model_copy(update={"data": str(data or source.data), "filter": mask})


def _check_apart(run_dir: Path, run: RunConfig, number: int, source: TaskData, arrays: EpisodeArrays) -> None:
    """UsageError where the run was trained on an episode of the data."""
    trained = read_json(run_dir / "data.json")["files"][number]["sha256"]
    if arrays.sha256 != trained:
        return
    common = int((arrays.chosen(source.filter) & arrays.chosen(run.tasks[number].filter)).sum())
    if common:
        raise UsageError(
            f"{common} episodes of {source.data} are held out and trained on: name others with --held-out-filter, or "
            "another file with --held-out."
        )


def _values(agent: nn.Module, run: RunConfig, source: TaskData) -> dict[str, Any] | None:
    if agent.critic is None or run.policy.selection.untrained_critic:
        return None
    errors = critic_errors(agent, run, source)
    return errors.to_json() if errors.overall.n else None


@torch.no_grad()
def held_out_losses(agent: nn.Module, run: RunConfig, source: TaskData, frames: int = FRAMES) -> dict[str, float]:
    """The mean of every loss term of the agent over frames of `source`, and of their sum as `loss`.

    frames: at most so many, evenly spread over those that may be drawn. Frames and draws are the same for every
    agent of the run, so that two steps of a training differ by their weights alone.
    """
    own = run.model_copy(update={"tasks": [source]})
    windows = make_windows(own, open_data(own))
    at = np.unique(np.linspace(0, len(windows) - 1, min(frames, len(windows))).round().astype(np.int64))
    sums: dict[str, float] = {}
    for number, some in enumerate(np.split(at, range(BATCH, len(at), BATCH))):
        _, metrics = agent(windows.gather(windows.frames[some]), Draws(run.seed, number))
        for name, value in metrics.items():
            if name == "loss" or name.endswith("/loss"):
                sums[name] = sums.get(name, 0.0) + len(some) * value.item()
    return {name: total / len(at) for name, total in sums.items()}


# -------------------------------------------------------------------------------------------------------------- actions


def held_out_actions(
    agent: nn.Module,
    run: RunConfig,
    source: TaskData,
    arrays: EpisodeArrays,
    spec: Spec,
    seed: int = 0,
    frames: int = FRAMES,
) -> ActionErrors:
    """`action_errors` over frames of all episodes of `source`: at most so many, evenly spread. arrays: of its data."""
    chosen = arrays.frames(arrays.chosen(source.filter))
    at = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(frames, len(chosen))).round().astype(np.int64))]
    agent.select_by(run.policy.selection)
    windows = make_windows(run.model_copy(update={"tasks": [source]}), [arrays])
    return action_errors(agent, windows, at, run.policy.action_head.execute, seed, spec)


def action_errors(
    agent: nn.Module, windows: PairedWindows, at: np.ndarray, execute: int, seed: int, spec: Spec
) -> ActionErrors:
    """The errors of the agent's chunks at the frames `at` (n,), against the actions that follow in the data.

    execute: actions of a chunk that are carried out. A policy that samples draws by (seed, episode, frame).
    """
    error, mask, episode = _compared(agent, windows, at, seed)  # (n, h, A), (n, h), (n,)
    actions, there = windows.gather(at).actions.double().numpy(), mask[:, :execute]
    constant = np.abs(actions - np.array(spec.statistics.action.mean))[:, :execute]
    done = np.abs(error[:, :execute])
    by_dimension, squares = done[there].mean(0), np.square(done[there]).mean(0)  # (A,)
    means, constants = done.mean(-1), constant[there].mean(0)
    sums = [(means[rows][there[rows]].sum(), there[rows].sum()) for rows in _of_episodes(episode)]
    value, low, high = mean_interval(np.array(sums), _ratio)
    names, units = _meanings(windows.arrays)
    rows = zip(names, by_dimension, np.sqrt(squares), constants, units, strict=True)
    steps = np.abs(error).mean(-1)
    return ActionErrors(
        frames=len(at),
        mean_absolute=value,
        low=low,
        high=high,
        rmse=float(np.sqrt(squares.mean())),
        constant=float(constants.mean()),
        by_step=tuple(float(steps[mask[:, i], i].mean()) for i in range(mask.shape[1]) if mask[:, i].any()),
        dimensions=tuple(DimensionError(name, *map(float, numbers), unit) for name, *numbers, unit in rows),
    )


def _compared(agent: nn.Module, windows: PairedWindows, at: np.ndarray, seed: int) -> tuple[np.ndarray, ...]:
    """Predicted minus recorded (n, h, A), whether the episode has that action (n, h), number of the episode (n,)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    agent, dtype = agent.to(device), next(agent.parameters()).dtype
    parts = []
    for some in np.split(at, range(BATCH, len(at), BATCH)):
        window = windows.gather(some)
        places = zip(window.episode.tolist(), window.frame.tolist(), strict=True)
        draws = EpisodeDraws(seed, [PolicyQuery(episode, frame, {}) for episode, frame in places], device, dtype)
        with torch.inference_mode():
            chunks = agent.act(window.obs.to(device), draws).double().cpu().clamp(-1, 1)
        parts.append(((chunks - window.actions).numpy(), window.action_mask.numpy(), window.episode.numpy()))
    agent.to("cpu")
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _of_episodes(episode: np.ndarray) -> Iterator[np.ndarray]:
    """The places of each episode in (n,)."""
    return (np.flatnonzero(episode == number) for number in np.unique(episode))


def _ratio(sums: np.ndarray) -> float:
    """The mean over frames of episodes whose (sum, count) are given, (E, 2)."""
    return float(sums[:, 0].sum() / sums[:, 1].sum())


def _meanings(arrays: EpisodeArrays) -> tuple[list[str], Sequence[float | None]]:
    """The name of each number of an action, and the unit of the robot that 1 stands for."""
    names = arrays.action_names or [str(i) for i in range(arrays.action_dim)]
    if arrays.action_range is None:
        return names, [None] * len(names)
    low, high = arrays.action_range
    return names, [(h - b) / 2 for b, h in zip(low, high, strict=True)]


def in_words(result: HeldOutResult) -> dict[str, Any]:
    """The lines and tables that a terminal shows."""
    errors, where = result.actions, f" of the mask '{result.mask}'" if result.mask else ""
    lines: dict[str, Any] = {
        "policy": result.policy,
        "held out": f"{result.episodes} episodes{where}, {errors.frames} frames of {result.data}",
        "action error": f"{errors.mean_absolute:.4f}, 95 % interval {errors.low:.4f} to {errors.high:.4f} (actions are "
        f"within -1 and 1; always the mean action: {errors.constant:.4f})",
        "losses": ", ".join(f"{name} {value:.4g}" for name, value in result.losses.items()),
    }
    if (values := result.value_errors) is not None:
        rank = values["correlation"]
        rank = "without a rank correlation" if rank is None else f"rank correlation {rank:.2f}"
        lines["value error"] = f"{values['mean_absolute']:.3f}, bias {values['bias']:+.3f}, {rank}"
    rows = [asdict(row) for row in errors.dimensions]
    known = rows[0]["unit"] is not None
    lines["dimensions"] = [
        {key: value if key == "name" else round(value, 4) for key, value in row.items() if known or key != "unit"}
        for row in rows
    ]
    return lines
