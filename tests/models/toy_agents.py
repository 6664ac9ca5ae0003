"""Small agents and synthetic windows of the right shapes, for the tests of models and objectives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import torch

from robo_orl.agent.agent import Agent, build_agent
from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation, PairedWindow
from robo_orl.config import PolicyConfig, Topology, deep_merge
from robo_orl.config.methods import with_method
from robo_orl.config.presets import available, preset_values
from robo_orl.data.cache import EpisodeArrays

SPEC = {"robot0_eef_pos": 3, "robot0_gripper_qpos": 2, "object": 9}
CHUNK, ACTION_DIM = 4, 3
TOPOLOGIES: tuple[Topology, ...] = get_args(Topology)
WITH_CRITIC = {  # objective -> the least that a policy file has to say
    "iql": {},
    "qc": {"selection": {"num_samples": 2}},
    "mc_awr": {"critic": {"target": "none"}},
}


def policy(learns: str = "bc", head: str = "flow", topology: Topology = "shared", **over: Any) -> PolicyConfig:
    """A debug-size policy; `over` is laid on top of it."""
    values: dict[str, Any] = {
        "name": f"{learns}_{topology}",
        "action_head": {"kind": head, "chunk": CHUNK, "execute": 2},
        "objective": {"name": learns},
    }
    if head.startswith("flow"):
        values["action_head"]["flow_steps"] = 4
    if learns in WITH_CRITIC:
        values = deep_merge(values, {"critic": {"topology": topology}})
        values = deep_merge(values, WITH_CRITIC[learns])
    return PolicyConfig.model_validate(deep_merge(values, over))


def shipped(name: str, **over: Any) -> PolicyConfig:
    """A policy file at debug size; `over` is laid on top of it."""
    small = {"action_head": {"chunk": CHUNK, "execute": 2}, "backbone": {"size": "tiny"}}
    values = deep_merge(deep_merge(_values(name), small), over)
    if (values.get("critic") or {}).get("topology", "shared") != "shared":
        values["critic"].pop("trunk_gradient", None)
    if values["action_head"]["kind"] == "flow":
        values["action_head"]["flow_steps"] = 4
    return PolicyConfig.model_validate(values)


ONLINE = {"sac": "rlpd"}  # objective -> the method that has it, where no file of policies/ has


def _values(name: str) -> dict[str, Any]:
    """A policy file's values; of an objective that learns online alone those of its method, on a cloned flow."""
    method = ONLINE.get(name, name)
    if name in available("policies") or method not in available("policies/online"):
        return preset_values("policies", name)
    return with_method(preset_values("policies", "bc+flow"), method) | {"name": name}


def agent(config: PolicyConfig | None = None, seed: int = 0) -> Agent:
    """A freshly initialised agent on SPEC."""
    return build_agent(config or policy(), SPEC, ACTION_DIM, gamma=0.9, statistics=None, seed=seed)


def observation(batch: int, seed: int = 0) -> Observation:
    """Normal numbers under every key of SPEC."""
    g = torch.Generator().manual_seed(seed)
    return Observation({key: torch.randn(batch, size, generator=g) for key, size in SPEC.items()}, {})


def window(pairs: int = 8, seed: int = 0) -> PairedWindow:
    """Random content; the last pair is cut by a timeout, the one before ends in a terminal."""
    g = torch.Generator().manual_seed(seed + 1000)
    valid = torch.arange(pairs) < pairs - 1
    terminal = torch.arange(pairs) == pairs - 2
    mask = torch.ones(pairs, CHUNK, dtype=torch.bool)
    mask[-2:, 2:] = False
    return PairedWindow(
        obs=observation(pairs, seed),
        next_obs=observation(pairs, seed + 1),
        actions=torch.rand(pairs, CHUNK, ACTION_DIM, generator=g) * 2 - 1,
        action_mask=mask,
        next_actions=torch.rand(pairs, CHUNK, ACTION_DIM, generator=g) * 2 - 1,
        next_action_mask=mask.flip(0),
        reward=torch.rand(pairs, generator=g),
        discount=torch.where(terminal, 0.0, 0.9**CHUNK),
        td_valid=valid,
        return_to_go=torch.rand(pairs, generator=g),
        next_return_to_go=torch.rand(pairs, generator=g),
        steps_to_go=torch.arange(pairs, dtype=torch.float32),
        success=torch.arange(pairs) % 2 == 0,
        stage=torch.zeros(pairs, dtype=torch.int64),
        episode=torch.arange(pairs),
        frame=torch.zeros(pairs, dtype=torch.int64),
    )


def arrays(
    spec: dict[str, int], lengths: list[int], success: list[bool], observations: Any, actions: Any, rewards: Any
) -> EpisodeArrays:
    """Episodes of these lengths as data: every success ends in a terminal, every failure in a timeout."""
    many, starts = len(lengths), np.concatenate(([0], np.cumsum(lengths)))
    return EpisodeArrays(
        path="made", sha256="", spec=spec, starts=starts, success=np.array(success), terminal=np.array(success),
        observations=np.asarray(observations, np.float32), actions=np.asarray(actions, np.float32),
        rewards=np.asarray(rewards, np.float32), stages=np.zeros((starts[-1], 1), np.uint8),
        start_state=np.full(many, -1), masks={}, names=[str(i) for i in range(many)], operators=[""] * many,
        grades=[""] * many, task=None, regime=None, loop=None,
    )  # fmt: skip


def train(
    learner: Agent,
    steps: int,
    lr: float = 1e-3,
    pairs: int = 8,
    start: int = 0,
    windows: Callable[[int], PairedWindow] | None = None,
) -> list[float]:
    """AdamW steps on a new window each, by default a made one; the losses."""
    windows = windows or (lambda step: window(pairs, seed=10 * step))
    groups = [{"params": p, "lr": lr} for p in learner.parameter_groups().values()]
    optimiser = torch.optim.AdamW(groups, foreach=True)
    losses = []
    for step in range(start, start + steps):
        loss, _ = learner(windows(step), Draws(0, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        learner.update_targets()
        losses.append(loss.item())
    return losses
