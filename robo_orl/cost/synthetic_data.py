"""Windows of the right shapes without data or a simulator: for measuring cost, never for learning."""

from __future__ import annotations

import torch
from torch import Tensor

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.types import Observation, PairedWindow
from robo_orl.config import ObservationConfig, PolicyConfig, TaskConfig
from robo_orl.envs.observations import ACTION_DIM, observation_sizes
from robo_orl.envs.registry import SCENES

__all__ = ["ACTION_DIM", "policy_spec", "synthetic_window", "task_spec"]

WORDS = 32  # tokens of an instruction


def task_spec(task: TaskConfig) -> dict[str, int]:
    """The observation of a scene, low-dim key -> size, known without starting it.

    Raises UsageError for a scene that does not declare its size in the registry.
    """
    sizes = observation_sizes(task)
    if sizes is None and task.env in SCENES:
        raise UsageError(
            f"The scene '{task.env}' declares no observation size: set `object_size` in its registry entry."
        )
    if sizes is None:
        raise unknown("env", task.env, SCENES)
    return sizes


def policy_spec(policy: PolicyConfig, task: TaskConfig) -> dict[str, int]:
    """The low-dim observation that `policy` reads of a scene; UsageError for a key that the scene does not have."""
    spec, keys = task_spec(task), policy.observation.low_dim
    for key in keys or ():
        if key not in spec:
            raise unknown(f"low_dim key of the scene '{task.env}'", key, spec)
    return spec if keys is None else {key: spec[key] for key in keys}


def synthetic_window(
    pairs: int,
    spec: dict[str, int],
    action_dim: int,
    chunk: int,
    discount: float,
    seed: int = 0,
    sees: ObservationConfig | None = None,
) -> PairedWindow:
    """`pairs` pairs of normal observations, uniform actions and returns in [0, 1], all valid.

    sees: pictures (uniform bytes), instruction (WORDS tokens) and history of the observation; default: vectors alone.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def picture(*shape: int) -> Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    def observation() -> Observation:
        frames = () if sees is None or sees.history == 1 else (sees.history,)
        low_dim = {key: normal(pairs, *frames, size) for key, size in spec.items()}
        if sees is None:
            return Observation(low_dim, {})
        images = {camera: picture(pairs, *frames, 3, sees.image_size, sees.image_size) for camera in sees.cameras}
        if not sees.instruction:
            return Observation(low_dim, images)
        words = torch.randint(1, 100, (pairs, WORDS), generator=generator)
        return Observation(low_dim, images, words, torch.ones_like(words, dtype=torch.bool))

    valid = torch.ones(pairs, chunk, dtype=torch.bool)
    return PairedWindow(
        obs=observation(),
        next_obs=observation(),
        actions=2 * uniform(pairs, chunk, action_dim) - 1,
        action_mask=valid,
        next_actions=2 * uniform(pairs, chunk, action_dim) - 1,
        next_action_mask=valid.clone(),
        reward=uniform(pairs),
        discount=torch.full((pairs,), discount),
        td_valid=torch.ones(pairs, dtype=torch.bool),
        return_to_go=uniform(pairs),
        next_return_to_go=uniform(pairs),
        steps_to_go=100 * uniform(pairs),
        success=uniform(pairs) < 0.5,
        stage=torch.zeros(pairs, dtype=torch.int64),
        episode=torch.arange(pairs),
        frame=torch.zeros(pairs, dtype=torch.int64),
    )
