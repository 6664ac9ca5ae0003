"""The training step of one policy on synthetic windows, in one process: what the cost measurements run.

Windows have the right shapes without data or a simulator: they are for measuring cost, never for learning. The step is
the engine's own (engine/training_step.py); no data, logging or checkpoints take part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from time import perf_counter

import torch
from torch import Tensor, nn

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.rng import Draws
from robo_orl.base.types import DecisionWindow, Observation, PairedWindow
from robo_orl.config import ObservationConfig, PolicyConfig, TaskConfig
from robo_orl.engine.distributed import choose_tf32, keep_freed_memory
from robo_orl.engine.optimizer import make_optimizer
from robo_orl.engine.training_step import OneProcess, Phase, TrainingStep, unmeasured
from robo_orl.envs.any_scene import is_any
from robo_orl.envs.registry import SCENES, action_size, observation_sizes
from robo_orl.models.action_heads.flow import AnyExpert, time_turns
from robo_orl.objectives.step import Step

__all__ = ["action_size", "policy_spec", "synthetic_window", "task_spec"]

WORDS = 32  # tokens of an instruction


def task_spec(task: TaskConfig) -> dict[str, int]:
    """The observation of a scene, low-dim key -> size, known without starting it.

    Raises UsageError for a scene that does not declare its size in the registry.
    """
    sizes = observation_sizes(task)
    if not task.has_environment:
        raise UsageError(
            f"Task {task.name} has no environment (env: none) that says its observation: its data do, "
            "`robo-orl train --dry-run` predicts from them."
        )
    if sizes is None and (task.env in SCENES or is_any(task.env)):
        raise UsageError(
            f"The scene '{task.env}' declares no observation size, which its simulator alone knows: give a data set "
            "of it, or set `object_size` in its registry entry."
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


def goes_online(policy: PolicyConfig) -> str:
    """What of a policy learns after the data end: `all`, `head` or `cached`; `all` as well where nothing does."""
    return "all" if policy.online is None else policy.online.trains


def frozen_online(agent: nn.Module) -> nn.Module:
    """The agent with its backbone frozen, where its policy goes online without it."""
    if goes_online(agent.policy) != "all":
        agent.backbone.requires_grad_(False)
    return agent


@torch.no_grad()
def as_read(agent: nn.Module, window: PairedWindow, seed: int) -> PairedWindow:
    """A window as updates of the agent's policy read it: with the tokens of a frozen backbone where it goes online on
    cached ones, as decisions of a round where its objective is on-policy."""
    if goes_online(agent.policy) == "cached":
        seen = {name: getattr(window, name) for name in ("obs", "next_obs")}
        tokens = {n: agent.backbone(agent.normaliser.observation(obs)) for n, obs in seen.items()}
        window = replace(window, **{name: replace(obs, features=tokens[name]) for name, obs in seen.items()})
    return decisions(agent, window, seed) if agent.objective.on_policy else window


@torch.no_grad()
def decisions(agent: nn.Module, window: PairedWindow, seed: int) -> DecisionWindow:
    """The two halves of a window as decisions of a round, with what an on-policy objective keeps of each."""
    swapped = replace(
        window,
        obs=window.next_obs,
        next_obs=window.obs,
        actions=window.next_actions,
        next_actions=window.actions,
        action_mask=window.next_action_mask,
        next_action_mask=window.action_mask,
    )
    halves = [agent.objective.keep(Step(agent, half, Draws(seed, 0))) for half in (window, swapped)]
    kept = {name: torch.cat([half[name] for half in halves]) for name in halves[0]}
    credit = {name: torch.cat((window.return_to_go, window.next_return_to_go)) for name in ("advantage", "target")}
    if not agent.objective.heads:
        del credit["target"]
    parts = {field.name: getattr(window, field.name) for field in fields(PairedWindow)}
    return DecisionWindow(**parts, kept=kept | credit)


class SyntheticStep:
    """A freshly initialised agent with its optimiser and one window, ready to step any number of times."""

    def __init__(
        self,
        policy: PolicyConfig,
        spec: dict[str, int],
        action_dim: int,
        gamma: float,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ):
        self.policy, self.device, self.seed, self.steps = policy, torch.device(device), seed, 0
        self.spec, self.action_dim, self.gamma = dict(spec), action_dim, gamma
        self.agent, optim = self._build(), policy.optim
        if self.device.type == "cuda":
            choose_tf32(optim.tf32, cpu=False)
        engine = OneProcess(self.device, optim.precision, optim.accumulation)
        self.optimizer = make_optimizer(self.agent, optim)
        self.training_step = TrainingStep(engine, self.agent, self.agent, self.optimizer, optim, seed)
        pairs = optim.batch_size // 2 // optim.accumulation
        chunk, discount = policy.action_head.chunk, gamma**policy.n
        window = synthetic_window(pairs, spec, action_dim, chunk, discount, seed, policy.observation)
        self.window = window.to(self.device)
        self._compute_constants()
        self.window = as_read(self.agent, self.window, seed)

    def _compute_constants(self) -> None:
        """What the first step computes for all others, so that every step measured is like the later ones: the joined
        scales of observations, and the frequencies of a flow's time features."""
        self.agent.normaliser.observation(self.window.obs)
        for module in self.agent.modules():
            if isinstance(module, AnyExpert):
                module.turns = time_turns(self.device)

    def _build(self) -> nn.Module:
        if self.device.type == "cpu":
            keep_freed_memory()
        with self.device:  # a billion random numbers take a CPU longer than what is measured
            agent = build_agent(self.policy, self.spec, self.action_dim, self.gamma, None, self.seed)
        return frozen_online(agent.to(self.device))

    def run(self, phase: Phase = unmeasured) -> Tensor:
        """One step, with the one window for every part of the batch; returns the loss."""
        metrics = self.training_step.run(self.steps, lambda rank, world: self.window, phase)
        self.steps += 1
        return metrics["loss"]

    def gradients(self, phase: Phase = unmeasured) -> Tensor:
        """Forward and backward alone; returns the loss."""
        return self.training_step.gradients(self.steps, lambda rank, world: self.window, phase)["loss"]

    def timed(self) -> dict[str, float]:
        """Seconds of each phase of one step, the device waited for at every boundary."""
        seconds: dict[str, float] = {}

        @contextmanager
        def stopwatch(name: str) -> Iterator[None]:
            began = perf_counter()
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            seconds[name] = seconds.get(name, 0.0) + perf_counter() - began

        self.run(stopwatch)
        return seconds

    def tensors(self) -> dict[str, list[Tensor]]:
        """The tensors that live between two steps, by role."""
        moments = [v for state in self.optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
        held: list[Tensor] = []
        self.window.map(lambda t: held.append(t) or t)
        trained = [p for p in self.agent.parameters() if p.requires_grad]
        others = [p for p in self.agent.parameters() if not p.requires_grad] + list(self.agent.buffers())
        return {"trained": trained, "not_trained": others, "optimizer": moments, "window": held}
