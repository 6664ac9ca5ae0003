"""A critic against the value of its own policy: returns of rollouts from stored states, beside those of the data.

A critic that looks for better actions than the data's should lie above the data's returns; whether it lies above what
its policy really gets from the same states is another question, and this is its measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import nn

from robo_orl.base.errors import UsageError
from robo_orl.config import Loop, RunConfig
from robo_orl.data.recording import open_recordings
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.run_folder import read_spec
from robo_orl.engine.task_data import make_windows, open_data, task_number
from robo_orl.evaluate.policy import AgentPolicy, instruction_of
from robo_orl.evaluate.stored_states import Instant, StoredInstants, StoredInstantsSpec
from robo_orl.evaluate.success import one_thread, selected, view_of
from robo_orl.evaluate.value_error import ErrorStatistics, error_statistics
from robo_orl.results.intervals import mean_interval
from robo_orl.rollout.episodes import FinishedEpisode, Rollouts


@dataclass(frozen=True)
class OwnPolicyErrors:
    """The values of a critic in stored states, against what its own policy gets from there and what the data got.

    states: compared; rollouts: of each. actions: of the data that come before the policy's own, as many as the value is
    of (0: a value of states). successes: rollouts that solved the task, of states x rollouts. gain: mean of own - data
    return, (value, low, high) over the states. own, data: errors of the values against either return; `mean_value` is
    the values' mean. Own returns end with the time limit, which a discounted value looks beyond.
    """

    gamma: float
    states: int
    rollouts: int
    actions: int
    successes: int
    mean_value: float
    gain: tuple[float, float, float]
    own: ErrorStatistics
    data: ErrorStatistics

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"own": self.own.to_json(), "data": self.data.to_json(), "gain": list(self.gain)}


def in_words(errors: OwnPolicyErrors) -> dict[str, str]:
    """The lines that a terminal shows."""
    played, gain = errors.states * errors.rollouts, errors.gain
    return {
        "from stored states": f"{errors.states} states, {errors.successes} of {played} rollouts succeed",
        "own policy over the data": f"{gain[0]:+.3f} of return, 95 % interval {gain[1]:+.3f} to {gain[2]:+.3f}",
        "bias against the own policy": f"{errors.own.bias:+.3f}; there against the data {errors.data.bias:+.3f}",
    }


def own_policy_value(
    run_dir: Path | str,
    data: Path | str | None = None,
    states: int = 64,
    rollouts: int = 1,
    workers: int | None = 1,
    seed: int = 0,
    loop: Loop = "exact",
    task: str | None = None,
    overrides: Sequence[str] = (),
) -> OwnPolicyErrors:
    """Roll out the policy of the newest checkpoint from states spread over the episodes of a data file.

    data: default the file that the run was trained on. states: at most so many. rollouts: of each, with other draws: of
    a policy that draws nothing they are all the same. task: one of those that the run learned, default the first.
    overrides: `selection.*` only, as `evaluate` takes them.

    Raises:
        UsageError: a policy without a critic, one that decides on several frames, a file that another software
            recorded.
        RunError: as `evaluate` does, and where a recorded episode cannot be played again.
    """
    agent, run = load_agent(run_dir)
    run = run.model_copy(update={"policy": selected(run.policy, overrides)})
    _check(agent, run, run_dir)
    agent.select_by(run.policy.selection)
    number = task_number(run, task)
    source = run.tasks[number]
    path = Path(data or source.data)
    alone = run.model_copy(update={"tasks": [source.model_copy(update={"data": str(path), "filter": None})]})
    windows, gamma = make_windows(alone, open_data(alone)), run.policy.gamma.value(source.task.horizon)
    if windows.arrays.task is None:
        raise UsageError(f"{path} was recorded by other software: record data with `robo-orl data generate`.")
    open_recordings(path)  # refuses a file whose episodes cannot be played again
    count = agent.valued_actions if "q" in agent.objective.heads and agent.objective.values_actions else 0
    at = _spread(windows, count, states)
    value = _values(agent, windows, at)
    bank = StoredInstants(tuple(_instants(windows, at, count)) * rollouts, windows.arrays.sha256)
    trained = read_spec(run_dir)
    view = view_of(run.policy, trained.render[number] if trained.render else None)
    spec = StoredInstantsSpec(source.task, path, bank, loop, view, keys=tuple(trained.obs))
    finished = _played(agent, run, spec, workers or 1, seed, gamma)
    own = _first_rewards(windows, at, count, gamma) + gamma**count * _mean_returns(finished, rollouts)
    returned = windows.gather(at).return_to_go.double().numpy()
    return OwnPolicyErrors(
        gamma=gamma,
        states=len(at),
        rollouts=rollouts,
        actions=count,
        successes=sum(episode.outcome.success_once for episode in finished),
        mean_value=float(value.mean()),
        gain=mean_interval(own - returned),
        own=error_statistics(value, own),
        data=error_statistics(value, returned),
    )


def _check(agent: nn.Module, run: RunConfig, run_dir: Path | str) -> None:
    policy = run.policy
    if agent.critic is None:
        raise UsageError(f"{run_dir} is '{policy.name}', which has no critic; compare a policy that has one.")
    if policy.observation.history > 1:
        raise UsageError(f"'{policy.name}' decides on several frames, which a rollout from a stored state lacks.")
    if policy.selection.look_ahead:
        raise UsageError(f"'{policy.name}' chooses in the simulator, by no value that could be compared.")


def _spread(windows: PairedWindows, count: int, states: int) -> np.ndarray:
    """(n,) frames, evenly over those that are followed by more than `count` actions of their episode."""
    window = windows.gather(windows.frames)
    enough = windows.frames[window.steps_to_go.numpy() > count]
    if not len(enough):
        raise UsageError(f"No episode of {windows.arrays.path} is longer than the {count} actions that a value is of.")
    return enough[np.unique(np.linspace(0, len(enough) - 1, min(states, len(enough))).round().astype(np.int64))]


def _values(agent: nn.Module, windows: PairedWindows, at: np.ndarray) -> np.ndarray:
    window = windows.gather(at)
    return agent.value(window.obs, window.actions).double().cpu().numpy()


def _instants(windows: PairedWindows, at: np.ndarray, count: int) -> Iterator[Instant]:
    """Where the policy takes over: after the `count` actions that the value is of."""
    window = windows.gather(at)
    for episode, frame in zip(window.episode.tolist(), window.frame.tolist(), strict=True):
        yield Instant(windows.arrays.names[episode], frame + count)


def _played(
    agent: nn.Module, run: RunConfig, spec: StoredInstantsSpec, workers: int, seed: int, gamma: float
) -> list[FinishedEpisode]:
    """The rollouts in the order of their instants."""
    if torch.cuda.is_available():
        agent = agent.to("cuda")
    execute = run.policy.action_head.execute
    acting = AgentPolicy(agent, execute, seed, instructions=instruction_of(run, spec.task))
    with one_thread(), Rollouts(spec, acting, workers, gamma=gamma) as rollouts:
        return sorted(rollouts.run(range(len(spec.bank))), key=lambda finished: finished.episode)


def _mean_returns(finished: list[FinishedEpisode], rollouts: int) -> np.ndarray:
    """(n,) the discounted return of each instant, over its rollouts."""
    returns = np.array([episode.outcome.discounted_return for episode in finished])
    return rearrange(returns, "(rollout state) -> rollout state", rollout=rollouts).mean(0)


def _first_rewards(windows: PairedWindows, at: np.ndarray, count: int, gamma: float) -> np.ndarray:
    """(n,) the discounted sum of the data's rewards of the `count` actions before the policy takes over."""
    following = at[:, None] + np.arange(count)
    return windows.arrays.rewards[following].astype(np.float64) @ gamma ** np.arange(count)
