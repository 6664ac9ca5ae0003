"""Q against what happens: a critic's values of what its policy does, beside the returns of those very episodes.

An episode's return ends with the time limit, which a discounted value looks beyond: of a policy that never succeeds the
bias is the whole value, and not more than it should be where episodes are only slow.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import nn

from robo_orl.base.os_errors import describe_os_errors
from robo_orl.config import TaskConfig
from robo_orl.data.windows import PairedWindows
from robo_orl.evaluate.policy import AgentPolicy, EpisodeDraws
from robo_orl.evaluate.value_error import compared, error_statistics
from robo_orl.results.record import EpisodeRow
from robo_orl.rollout.episodes import PolicyQuery

FRAMES = 2048  # collected frames on which a warm-up is judged, at most

Values = Mapping[int, Sequence[float]]  # episode -> the value of each of its decisions


class ValuedPolicy(AgentPolicy):
    """An agent that acts and keeps its critic's value of every chunk that it acts by, where it has a trained critic.

    values: episode -> the value of each decision so far. Nothing that it draws or does depends on them.
    """

    values: dict[int, list[float]]

    def __call__(self, queries: list[PolicyQuery]) -> np.ndarray:
        """(B, c, A) for B episodes."""
        observation = self.observation(queries)
        draws = EpisodeDraws(self.seed, queries, self.device, self.dtype)
        with torch.inference_mode():
            chunks = self.agent.act(observation, draws)  # (B, h, A)
            if self.is_valued:
                for query, value in zip(queries, self.agent.value(observation, chunks).tolist(), strict=True):
                    own = self.values[query.episode]
                    del own[query.decision :]  # an episode that a crash repeated decides once more
                    own.append(value)
        return self.sent(chunks)

    @property
    def is_valued(self) -> bool:
        """True where a trained critic values what it does."""
        return self.agent.critic is not None and not self.agent.selection.untrained_critic

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.values = defaultdict(list)


class KeptValues:
    """The values of finished episodes in a file of JSON lines, which an interrupted point goes on with."""

    def __init__(self, path: Path):
        self.path, self.values = path, _read(path)

    def add(self, episode: int, values: Sequence[float]) -> None:
        """Keep the values of an episode."""
        self.values[episode] = list(values)
        with describe_os_errors(self.path), self.path.open("a") as file:
            file.write(json.dumps({"episode": episode, "values": self.values[episode]}) + "\n")


def _read(path: Path) -> dict[int, list[float]]:
    values: dict[int, list[float]] = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:  # cut short by a kill
            continue
        values[row["episode"]] = row["values"]
    return values


def returns_to_go(row: EpisodeRow, task: TaskConfig, gamma: float, execute: int) -> np.ndarray:
    """(D,) the discounted return from each decision of an episode on, a decision every `execute` steps.

    The rewards of a task come with its stages, and the row says when each was reached.
    """
    paid = [(step, 1.0) for step in row.stage_steps[-1:] if step is not None]
    if task.reward == "stages":
        paid = [(step, 1 / len(row.stage_steps)) for step in row.stage_steps if step is not None]
    at = np.arange(0, row.length, execute)
    return sum((np.where(at < step, reward * gamma ** (step - 1.0 - at), 0.0) for step, reward in paid), 0.0 * at)


def calibration(
    values: Values, rows: Sequence[EpisodeRow], task: TaskConfig, gamma: float, execute: int
) -> dict[str, Any] | None:
    """Bias and error of a critic on what it acts, and how well it tells successes from failures; None without values.

    decisions: over all decisions of the episodes; starts: over their first ones. outcome_auc: the chance that the value
    at the start of a success is above that of a failure, ties counted half; None without both.
    """
    known = [row for row in rows if values.get(row.episode)]
    if not known:
        return None
    pairs = [(np.array(values[row.episode]), returns_to_go(row, task, gamma, execute)) for row in known]
    first = np.array([value[0] for value, _ in pairs]), np.array([returned[0] for _, returned in pairs])
    every = tuple(np.concatenate(column) for column in zip(*pairs, strict=True))
    return {
        "gamma": gamma,
        "decisions": error_statistics(*every).to_json(),
        "starts": error_statistics(*first).to_json(),
        "mean_value": float(first[0].mean()),
        "outcome_auc": outcome_auc(first[0], np.array([row.success_once for row in known])),
    }


def outcome_auc(values: np.ndarray, success: np.ndarray) -> float | None:
    """The chance that a success has a higher value than a failure, ties counted half; None without both.

    The Mann-Whitney statistic U / (k m) from ranks. values: (n,); success: (n,) bool.
    """
    k, m = int(success.sum()), int((~success).sum())
    if not k or not m:
        return None
    return float((rankdata(values)[success].sum() - k * (k + 1) / 2) / (k * m))


def errors_on(agent: nn.Module, windows: PairedWindows) -> dict[str, Any]:
    """The error of an agent's critic against the returns of collected episodes, over frames spread over them."""
    value, returned, _, _ = compared(agent, windows, FRAMES)
    return error_statistics(value, returned).to_json()
