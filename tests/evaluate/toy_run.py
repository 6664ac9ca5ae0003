"""A trained run on the scripted scene: a few steps on made-up episodes, with an untrained critic to hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "data"))
import synthetic  # noqa: E402
from scripted_scene import TASK  # noqa: E402

from robo_orl.config import PolicyConfig, RunConfig, deep_merge  # noqa: E402
from robo_orl.engine.train import train  # noqa: E402

FLOW = {
    "name": "tiny_flow",
    "action_head": {"kind": "flow", "chunk": 4, "execute": 2, "flow_steps": 2},
    "optim": {"steps": 4, "batch_size": 16, "warmup_steps": 1},
}
IQL = {"critic": {"topology": "shared"}, "objective": {"name": "iql"}}


def episode(index: int):
    """Sixteen frames that move right, noisily; two in three reach the goal."""
    draw = np.random.default_rng(index)
    actions = np.clip(draw.normal(0.5, 0.4, (16, 1)), -1, 1).astype(np.float32)
    positions = np.concatenate(([-index / 3], -index / 3 + np.cumsum(actions[:, 0]) / 8)).astype(np.float32)
    obs = {"position": positions[:-1, None]}
    return synthetic.episode(
        16, index % 3 != 0, index, obs=obs, next_obs={"position": positions[1:, None]}, actions=actions
    )


def trained(folder: Path, policy: dict | None = None, **fields: object) -> Path:
    """A run folder with one checkpoint; fields: of its RunConfig."""
    data = synthetic.write(folder / "line.hdf5", [episode(i) for i in range(6)], task=TASK)
    config = PolicyConfig.model_validate(deep_merge(FLOW, policy or {}))
    run = RunConfig(policy=config, task=TASK, data=str(data), tracker="none", **fields)
    train(run, folder / "run", progress=False)
    return folder / "run"
