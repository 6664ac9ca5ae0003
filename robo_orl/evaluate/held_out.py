"""The losses of an agent on data that it did not train on."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from robo_orl.base.rng import Draws
from robo_orl.config import RunConfig, TaskData
from robo_orl.engine.task_data import make_windows, open_data

FRAMES, BATCH = 4096, 512


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
