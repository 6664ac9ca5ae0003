"""The agent that learns while episodes are collected: the training step of offline training on other windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.rng import derive_seed
from robo_orl.config import PolicyConfig, RunConfig
from robo_orl.engine.checkpoint import restore_agent, restore_optimizer
from robo_orl.engine.optimizer import make_optimizer
from robo_orl.engine.training_step import TrainingStep
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
    optimizer: torch.optim.AdamW = field(init=False)
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _summed: int = 0

    def __post_init__(self) -> None:
        policy = self.run.policy
        check_trainable(policy)
        if policy.online.trains != "all":
            self.agent.backbone.requires_grad_(False)
        self.agent.to(self.team.device).train()
        self.optimizer = make_optimizer(self.agent, policy.optim)
        self._step = TrainingStep(
            self.team,
            self.agent,
            self.agent,
            self.optimizer,
            policy.optim,
            derive_seed(self.run.seed, "online"),
            records=False,
        )
        self._groups = self.agent.parameter_groups()

    @property
    def device(self) -> torch.device:
        """Where it learns."""
        return self.team.device

    def update(self, experience: Experience | Round, critic_only: bool) -> bool:
        """Make the next update on a batch of `experience`; True where it is the last one that its round allows."""
        self._choose(critic_only)

        def read(rank: int, world: int):
            batch = self.run.policy.optim.batch_size
            return experience.batch(self._step.seed, self.updates, rank, world, batch).to(self.device)

        metrics = experience.learn(self._step.seed, self.updates)
        metrics |= self._step.run(self.updates, read)
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
        self.updates, self.skipped, self.critic_updates = state.step, state.skipped, critic_updates
        self._choose(bool(critic_updates) and critic_updates == self.updates)
        made = self.updates - self.skipped
        if self.updates:
            restore_optimizer(folder, self.agent, self.optimizer, made)
        for name, parameters in self._groups.items():
            for parameter in parameters if not name.startswith("critic") else ():
                if parameter in self.optimizer.state:  # AdamW counts a tensor's own steps
                    self.optimizer.state[parameter]["step"].fill_(made - critic_updates)

    def _choose(self, critic_only: bool) -> None:
        """Have the critic alone learn, or everything."""
        for name, parameters in self._groups.items():
            for parameter in parameters:
                parameter.requires_grad_(not critic_only or name.startswith("critic"))


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
