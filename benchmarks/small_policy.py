"""A small policy for benchmarks that need one that has learned its task: demonstrations, then a few hundred steps."""

from __future__ import annotations

from pathlib import Path

from robo_orl.config import RunConfig, TaskConfig
from robo_orl.config.presets import load_policy
from robo_orl.data.generate import generate
from robo_orl.engine.train import train

FOLDER = Path("runs") / "small_policies"
EPISODES = 60  # demonstrations by clean operators
STEPS = 600


def small_policy(task: TaskConfig, folder: Path = FOLDER, steps: int = STEPS, episodes: int = EPISODES) -> Path:
    """The run's folder: behaviour cloning at the smallest size; what is already there is kept, a part is continued."""
    policy = load_policy("bc")
    policy = policy.model_copy(update={"optim": policy.optim.model_copy(update={"steps": steps, "batch_size": 64})})
    data = folder / f"{task.name}-{episodes}.hdf5"
    generate(task, "ph", episodes, data)
    run = folder / f"{task.name}-{episodes}-{steps}"
    train(RunConfig(policy=policy, task=task, data=str(data), tracker="none"), run)
    return run
