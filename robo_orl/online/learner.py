"""The agent that learns while episodes are collected: the training step of offline training on other windows."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.rng import derive_seed
from robo_orl.config import PolicyConfig, RunConfig
from robo_orl.engine.checkpoint import restore_agent, restore_optimizer, whole_weights
from robo_orl.engine.optimizer import GradientWatch, make_optimizer, set_step_count
from robo_orl.engine.training_step import TrainingStep
from robo_orl.engine.zero import release
from robo_orl.objectives import OBJECTIVES
from robo_orl.online.experience import Experience
from robo_orl.online.imitation.registry import check_imitation
from robo_orl.online.rounds import Round
from robo_orl.online.team import Team


@dataclass
class Learner:
    """An agent and its optimiser in one process of a team.

    updates: so far; critic_updates: those of them that trained the critic alone; skipped: those that were due and not
    made.
    """

    run: RunConfig
    agent: nn.Module
    team: Team
    updates: int = 0
    critic_updates: int = 0
    skipped: int = 0
    _step: TrainingStep | None = None
    _watch: GradientWatch | None = None
    _rates: dict[str, float] = field(default_factory=dict)
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _summed: int = 0

    def __post_init__(self) -> None:
        policy = self.run.policy
        check_trainable(policy)
        if policy.online.trains != "all":
            self.agent.backbone.requires_grad_(False)
        self.agent.train()
        self._groups = self.agent.parameter_groups()

    def begin(self) -> None:
        """Be ready to learn from the weights that the agent has, once: under DeepSpeed a collective, which divides
        them among the processes."""
        if self._step is not None:
            return
        team, optim, seed = self.team, self.run.policy.optim, derive_seed(self.run.seed, "online")
        optimizer = make_optimizer(self.agent, optim)
        self._rates = {group["name"]: group["base_lr"] for group in optimizer.param_groups}
        model, optimizer = team.prepare(self.run, self.agent, optimizer)
        through = team.accelerator or team
        self._step = TrainingStep(through, self.agent, model, optimizer, optim, seed, records=False)
        # ZeRO-3 repeats the last gradient of a parameter that gets none, plain torch leaves it out.
        self._watch = GradientWatch(self.agent) if team.accelerator is not None else None

    def end(self) -> None:
        """Take the hooks of the engine off."""
        if self._watch is not None:
            self._watch.close()
            release(self._step.model)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, or what the engine made of it."""
        self.begin()
        return self._step.optimizer

    @property
    def device(self) -> torch.device:
        """Where it learns."""
        return self.team.device

    def update(self, experience: Experience | Round, critic_only: bool) -> bool:
        """Make the next update on a batch of `experience`; True where it is the last one that its round allows."""
        self.begin()
        self._choose(critic_only)

        def read(rank: int, world: int):
            batch = self.run.policy.optim.batch_size
            return experience.batch(self._step.seed, self.updates, rank, world, batch).to(self.device)

        metrics = experience.learn(self._step.seed, self.updates)
        metrics |= self._step.run(self.updates, read)
        if self._watch is not None:
            self._watch.check(self.updates + 1)
            if critic_only:  # which comes first of all: the shards of the others stepped with gradients of zero
                set_step_count(self.optimizer, 0, _of_policy)
        self.updates += 1
        self.critic_updates += critic_only
        self._summed += 1
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value.detach() if name in self._sums else value.detach()
        limit = self.agent.objective.kl_limit
        return limit is not None and self.team.mean({"kl": metrics["actor/kl"].item()})["kl"] > limit

    def skip(self, updates: int) -> None:
        """Count so many updates that are not made."""
        self.updates += updates
        self.skipped += updates

    def metrics(self) -> dict[str, float]:
        """The means since the last call, empty without an update. RunError where the loss is not finite."""
        means = self.team.mean({name: value.item() / self._summed for name, value in self._sums.items()})
        self._sums, self._summed = {}, 0
        loss = means.get("loss", 0.0)
        if loss != loss or loss in (float("inf"), float("-inf")):
            raise RunError(
                f"The loss is not finite before update {self.updates}: learning has diverged; the checkpoints before "
                "are kept. Lower optim.lr or optim.critic_lr."
            )
        return means

    def resume(self, folder: Path, identity: str, critic_updates: int) -> None:
        """Go on from a checkpoint, which `critic_updates` updates of the critic alone are part of."""
        state = restore_agent(folder, self.agent, identity)
        self.begin()
        self.updates, self.skipped, self.critic_updates = state.step, state.skipped, critic_updates
        self._choose(bool(critic_updates) and critic_updates == self.updates)
        made = self.updates - self.skipped
        if self.updates:
            restore_optimizer(folder, self.agent, self.optimizer, made)
        set_step_count(self.optimizer, made - critic_updates, _of_policy)  # AdamW counts a tensor's own steps

    def give(self, agent: nn.Module | None) -> None:
        """Put the weights of now, whole, into another agent of the first process; all call it, the others with None."""
        own = {} if agent is None else agent.state_dict()
        with torch.no_grad():
            for name, tensor in whole_weights(self.agent):
                if agent is not None:
                    own[name].copy_(tensor)

    def copy(self) -> nn.Module | None:
        """A copy of the agent as it is now, whole, in the first process; None in the others, which call it too."""
        agent, copy = self.agent, None
        if self.team.main and self.team.accelerator is None:
            return deepcopy(agent)
        if self.team.main:
            copy = build_agent(agent.policy, agent.spec, agent.action_dim, agent.gamma, None, agent.seed)
            copy.to(self.device)
        self.give(copy)
        return copy

    def _choose(self, critic_only: bool) -> None:
        """Have the critic alone learn, or everything. ZeRO steps a shard without gradient too: at a rate of 0."""
        for name, parameters in self._groups.items():
            for parameter in parameters:
                parameter.requires_grad_(not critic_only or not _of_policy(name))
        for group in self.optimizer.param_groups:
            group["base_lr"] = 0.0 if critic_only and _of_policy(group["name"]) else self._rates[group["name"]]


def _of_policy(group: str) -> bool:
    """True for a group of parameters that is not the critic's."""
    return not group.startswith("critic")


def check_trainable(policy: PolicyConfig) -> None:
    """UsageError where what is to learn online does not go together."""
    online, critic = policy.online, policy.critic
    if policy.optim.capture in ("on", "compile"):
        raise UsageError("An update online trains now all networks, now the critic alone: set optim.capture to off.")
    own = critic is not None and critic.topology in ("separate", "separate_small")
    if online.trains != "all" and own:
        raise UsageError(
            f"online.trains '{online.trains}' keeps the backbone that policy and critic read, and the critic has one "
            "of its own: choose another critic.topology, or online.trains all."
        )
    if online.trains == "cached" and policy.backbone.kind != "transformer":
        raise UsageError(
            f"online.trains 'cached' keeps the tokens of the native backbone, and this one is "
            f"'{policy.backbone.kind}': set online.trains to head."
        )
    if online.warm_up.critic_updates and critic is None:
        raise UsageError("online.warm_up.critic_updates train a critic, and this policy has none: set them to 0.")
    check_imitation(policy)
    if online.epochs != 1 and not OBJECTIVES[policy.objective.name].on_policy:
        raise UsageError(
            f"online.epochs are passes over a round, and objective '{policy.objective.name}' draws from a replay: "
            "leave it out and set online.updates."
        )
    if online.reset == "critic" and critic is None:
        raise UsageError("online.reset critic: this policy has no critic: set it to none.")
    if policy.optim.schedule != "constant":
        raise UsageError("Learning online has no last step that a cosine could end at: set optim.schedule to constant.")
