"""How far policies' actions are from the data's, dimension by dimension, on the observations of the data.

    python benchmarks/action_error.py runs/mine runs/their_iql --data lift.hdf5 [--episodes 8]

For a policy that fails though its loss is low: a likelihood sums over dimensions and hides which of them is off. Every
run, ours or a reference, decides at every frame of the first episodes of the file, and the first action of its answer
is compared. A line per run: root mean squares of the difference, and how often the last dimension, the gripper, has the
wrong sign. The first line is the standard deviation of the data: what a constant would be off by.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robo_orl.data.cache import EpisodeArrays, open_cache
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.robomimic.evaluation import reference_actor
from robo_orl.robomimic.run_folder import is_reference
from robo_orl.rollout.env_spec import Frames
from robo_orl.rollout.episodes import PolicyQuery


def actor_of(folder: Path) -> tuple[Any, int]:
    """What acts, and how many frames it is shown."""
    if is_reference(folder):
        return reference_actor(folder), 1  # it remembers its frames itself
    agent, run = load_agent(folder)
    agent.select_by(run.policy.selection)
    return AgentPolicy(agent, execute=1, seed=0), run.policy.observation.history


def answers(folder: Path, data: EpisodeArrays, episodes: int) -> Iterator[np.ndarray]:
    """The action (A,) at every frame of the first episodes."""
    actor, history = actor_of(folder)
    for episode in range(episodes):
        frames = Frames(history)
        for decision, at in enumerate(range(data.starts[episode], data.starts[episode + 1])):
            frames.add({key: np.array(values[at]) for key, values in data.obs.items()})
            yield actor([PolicyQuery(episode, decision, frames.stacked())])[0][0]


def row_of(folder: Path, data: EpisodeArrays, episodes: int) -> dict[str, Any]:
    """The errors of one run."""
    told = data.actions[: data.starts[episodes]].astype(np.float64)
    error = np.stack(list(answers(folder, data, episodes))) - told
    wrong = np.sign(error[:, -1] + told[:, -1]) != np.sign(told[:, -1])
    return {"run": str(folder), "rmse": np.sqrt(np.square(error).mean(0)).tolist(), "gripper_wrong": wrong.mean()}


def main() -> None:
    """A line per run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    asked = parser.parse_args()
    data = open_cache(asked.data)
    episodes = min(asked.episodes, len(data))
    rows = [row_of(folder, data, episodes) for folder in asked.runs]
    spread = data.actions[: data.starts[episodes]].std(0).tolist()
    if asked.json:
        print(json.dumps({"frames": int(data.starts[episodes]), "data_std": spread, "rows": rows}))
        return
    print(f"{data.starts[episodes]} frames of {episodes} episodes")
    print(" ".join(f"{value:7.3f}" for value in spread), "          standard deviation of the data")
    for row in rows:
        print(" ".join(f"{value:7.3f}" for value in row["rmse"]), f"{100 * row['gripper_wrong']:7.1f} %", row["run"])


if __name__ == "__main__":
    main()
