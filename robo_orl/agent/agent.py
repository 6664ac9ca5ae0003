"""Everything that learns, as one module: one forward of a paired window gives one loss, and one backward trains it all.

B batch (pairs in training, observations in acting), h chunk, A action dim, N samples, c actions that the critic values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from robo_orl.agent.compatibility import check_policy, check_selection
from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.rng import Draws, FixedDraws, ScaledDraws, derive_seed
from robo_orl.base.types import Observation, PairedWindow
from robo_orl.config import BackboneConfig, CriticConfig, PolicyConfig, SelectionConfig
from robo_orl.data.statistics import Statistics
from robo_orl.models.action_heads import ACTION_HEADS
from robo_orl.models.backbones import BACKBONES, check_backbone, critic_backbone_config
from robo_orl.models.backbones.transformer import add_entropy
from robo_orl.models.critics import Critic
from robo_orl.models.layers import last_layer
from robo_orl.models.normaliser import Normaliser
from robo_orl.models.targets import Gather, PolicyAverage, Target, average_buffers, buffer_copy, numbers
from robo_orl.objectives import OBJECTIVES, Parts
from robo_orl.objectives.step import Step


def build_agent(
    policy: PolicyConfig,
    spec: dict[str, int],
    action_dim: int,
    gamma: float,
    statistics: Statistics | None,
    seed: int,
) -> Agent:
    """Build a freshly initialised agent.

    spec: low-dim key -> size. gamma: discount per decision of the windows it will see (their `discount` is gamma^n).
    statistics: None where a checkpoint will be loaded over it. UsageError where the policy's parts do not go together.
    """
    check_agent(policy)
    return Agent(policy, spec, action_dim, gamma, statistics, seed)


def check_agent(policy: PolicyConfig) -> None:
    """UsageError where an agent of this policy cannot be built: a name is unknown, or parts do not go together."""
    if policy.objective.name not in OBJECTIVES:
        raise unknown("objective", policy.objective.name, OBJECTIVES)
    check_backbone(policy.backbone)
    objective, head = OBJECTIVES[policy.objective.name](policy), ACTION_HEADS[policy.action_head.kind]
    check_policy(policy, objective, head)
    check_selection(policy.selection, objective, head)


def check_learns_from_data(policy: PolicyConfig) -> None:
    """UsageError where a policy cannot be trained on data."""
    if OBJECTIVES[policy.objective.name].on_policy:
        raise UsageError(
            f"Objective '{policy.objective.name}' learns from rounds that the policy collects itself: "
            f"train a cloned policy, and go on with `robo-orl online RUN --method {policy.objective.name}`."
        )


class Agent(nn.Module):
    """Backbone, action head, critic, targets and normaliser of one policy, and the objective that trains them."""

    def __init__(
        self,
        policy: PolicyConfig,
        spec: dict[str, int],
        action_dim: int,
        gamma: float,
        statistics: Statistics | None,
        seed: int,
    ):
        super().__init__()
        self.policy, self.spec, self.action_dim, self.gamma, self.seed = policy, dict(spec), action_dim, gamma, seed
        self.objective = OBJECTIVES[policy.objective.name](policy)
        self.topology = policy.critic.topology if policy.critic else None
        self.valued_actions = self.objective.valued_actions(policy)  # c
        self.normaliser = Normaliser(spec, action_dim, statistics)
        with _initialised_from(seed, "policy"):
            self.backbone = self._new_backbone(policy.backbone)
            depth = BACKBONES[policy.backbone.kind].depth(policy.backbone)
            head = ACTION_HEADS[policy.action_head.kind]
            self.action_head = head(self.backbone.width, depth, action_dim, policy.action_head)
        if self.topology == "frozen" or not self.objective.trains_base:
            self.backbone.requires_grad_(False)
        self.action_head.requires_grad_(self.objective.trains_base)
        self.critic_backbone = self.critic = self.target = None
        if self.objective.heads:
            with _initialised_from(seed, "critic"):
                self._build_critic(policy.critic)
        self.extra, self.slow_head = self._build_extra(), None
        if self.objective.slow_policy:
            self.slow_head = buffer_copy(self.action_head)
        self.average = PolicyAverage(*self._acting()) if policy.optim.policy_ema else None
        self.untrained = None
        self.select_by(policy.selection)

    def _new_backbone(self, config: BackboneConfig) -> nn.Module:
        return BACKBONES[config.kind](self.spec, config, self.policy.observation)

    def _build_critic(self, config: CriticConfig) -> None:
        sizes = {"separate": self.policy.backbone.size, "separate_small": config.small_size}
        if self.topology in sizes:
            config_of_backbone = critic_backbone_config(self.policy.backbone, sizes[self.topology])
            self.critic_backbone = self._new_backbone(config_of_backbone)
        backbone = self.critic_backbone or self.backbone
        numbers_valued = self.objective.valued_numbers(self._parts())
        self.critic = Critic(backbone.width, numbers_valued, self.objective.heads, config)
        if self.objective.bootstraps:
            self.target = Target(self.critic, backbone, config)

    def _parts(self) -> Parts:
        return Parts(
            policy=self.policy,
            token_width=self.backbone.width,
            depth=BACKBONES[self.policy.backbone.kind].depth(self.policy.backbone),
            critic_width=(self.critic_backbone or self.backbone).width,
            action_dim=self.action_dim,
            valued_actions=self.valued_actions,
            obs_numbers=sum(self.spec.values()),
        )

    def _build_extra(self) -> nn.ModuleDict:
        """The objective's own modules; each starts the same whatever else there is."""
        extra = nn.ModuleDict()
        for name, build in self.objective.modules(self._parts()).items():
            with _initialised_from(self.seed, f"extra {name}"):
                extra[name] = build()
        return extra

    def _acting(self) -> tuple[nn.Module, nn.Module, nn.ModuleDict]:
        """The networks that act: backbone, action head and the objective's own modules, without those of the critic."""
        policy = {name: module for name, module in self.extra.items() if not name.startswith("critic")}
        return self.backbone, self.action_head, nn.ModuleDict(policy)

    # ------------------------------------------------------------------------------------------------------ training

    def forward(self, window: PairedWindow, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """window: B pairs in raw units. Returns the summed loss (0-dim) and detached 0-dim metrics."""
        terms, metrics = self.objective.losses(Step(self, window, draws))
        add_entropy("backbone", self.backbone, terms, metrics)
        add_entropy("critic_backbone", self.critic_backbone, terms, metrics)
        loss = sum(terms.values())
        named = {f"{name}/loss": term for name, term in terms.items()} | metrics | {"loss": loss}
        return loss, {name: value.detach() for name, value in named.items()}

    def policy_tokens(self, obs: Observation) -> Tensor:
        """obs: normalised. Returns (B, S, D)."""
        with torch.no_grad() if self.topology == "frozen" else nullcontext():
            return self.backbone(obs)

    def head_tokens(self, policy_tokens: Tensor) -> Tensor:
        """The tokens that the modules of the policy read in training; their gradient may end here."""
        return policy_tokens.detach() if self.policy.backbone.stop_expert_gradient else policy_tokens

    def critic_tokens(self, obs: Observation, policy_tokens: Tensor) -> Tensor:
        """The tokens that the critic reads at normalised `obs`, given the policy's: the topology, in one place."""
        if self.critic_backbone is not None:
            return self.critic_backbone(obs)
        policy_tokens = last_layer(policy_tokens)
        if self.topology != "shared":
            return policy_tokens.detach()
        share = self.policy.critic.trunk_gradient
        return policy_tokens if share == 1 else policy_tokens.detach().lerp(policy_tokens, share)

    def aggregate(self, values: Tensor) -> Tensor:
        """(E, ...) -> (...): the ensemble's mean or minimum."""
        return values.mean(0) if self.policy.critic.aggregate == "mean" else values.amin(0)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trained parameters by component; components that are not trained are left out."""
        components = {
            "backbone": self.backbone,
            "action_head": self.action_head,
            "critic": self.critic,
            "critic_backbone": self.critic_backbone,
            **self.extra,
        }
        groups = {n: [p for p in m.parameters() if p.requires_grad] for n, m in components.items() if m is not None}
        return {name: parameters for name, parameters in groups.items() if parameters}

    def update_targets(self, gather: Gather = lambda parameters: nullcontext()) -> None:
        """Move every slow copy one step; call after the optimiser's step, on every process.

        gather: makes the given parameters whole within its context (ZeRO-3); nothing to do elsewhere.
        """
        if self.target is not None:
            self.target.update(self.critic, self.critic_backbone or self.backbone, gather)
        if self.slow_head is not None:
            average_buffers(self.slow_head, self.action_head, self.policy.critic.tau, gather)
        if self.average is not None:
            self.average.update(*self._acting(), self.policy.optim.policy_ema, gather)

    def parameter_counts(self) -> dict[str, int]:
        """Numbers held per component, adding up to the total.

        target: every slow copy, the averaged policy included. The objective's own modules count as action_head, those
        of the critic as critic.
        """
        extra = {name: numbers(module.parameters()) for name, module in self.extra.items()}
        of_critic = sum(count for name, count in extra.items() if name.startswith("critic"))
        slow = numbers(self.slow_head.buffers()) if self.slow_head is not None else 0
        components = {
            "backbone": numbers(self.backbone.parameters()),
            "action_head": numbers(self.action_head.parameters()) + sum(extra.values()) - of_critic,
            "critic": sum(numbers(m.parameters()) for m in (self.critic, self.critic_backbone) if m is not None)
            + of_critic,
            "target": sum(m.size() for m in (self.target, self.average) if m is not None) + slow,
        }
        buffers = sum(m.buffers_held() for m in (self.target, self.average) if m is not None) + slow
        total = numbers(self.parameters()) + buffers
        assert sum(components.values()) == total, f"{components} do not add up to {total}"
        return components | {"total": total}

    # -------------------------------------------------------------------------------------------------------- acting

    def select_by(self, selection: SelectionConfig) -> None:
        """Choose among samples by `selection` from now on; UsageError where this agent cannot."""
        check_selection(selection, self.objective, self.action_head)
        self.selection = selection
        acting = selection.acting if selection.acting not in ("random", "base") else None
        for head in (self.action_head, self.average.action_head if self.average else None):
            if head is not None:
                head.act_by(acting or self.policy.action_head.acting)
        if selection.untrained_critic and self.untrained is None:
            with _initialised_from(self.seed, "untrained critic"):
                numbers_valued = self.objective.valued_numbers(self._parts())
                critic = Critic(self.backbone.width, numbers_valued, ("q",), self.policy.critic or CriticConfig())
            self.untrained = buffer_copy(critic, persistent=False)

    @torch.no_grad()
    def act(self, obs: Observation, draws: Draws) -> Tensor:
        """obs: B raw observations -> (B, h, A) raw actions; the best of `selection.num_samples` by the critic.

        UsageError where the samples are to be ranked in the simulator, which an agent does not have.
        """
        if self.selection.look_ahead:
            raise UsageError(
                "selection.look_ahead ranks samples in the simulator, and this acts without one: evaluate the policy "
                "by `robo-orl eval`, or set selection.look_ahead to 0."
            )
        if self.selection.acting == "random":
            return 2 * draws.uniform("random", len(obs), self.policy.action_head.chunk, self.action_dim) - 1
        policy, obs, tokens, draws = self.average or self, *self._seen(obs, draws)
        n = self.selection.num_samples
        if self.selection.acting == "base":
            return self.normaliser.raw_actions(policy.action_head.act(tokens, n, draws, "act")[:, 0])
        candidates = self.objective.candidates(policy, tokens, n, draws)  # (B, N, h, A)
        best = candidates[:, 0] if n == 1 else _chosen(candidates, self._values(obs, tokens, candidates))
        chunk = self.objective.realise(policy, tokens, best, draws)
        return self.normaliser.raw_actions(chunk)

    @torch.no_grad()
    def proposals(self, obs: Observation, draws: Draws) -> tuple[Tensor, Tensor | None]:
        """obs: B raw observations -> the raw chunks (B, N, h, A) among which `act` chooses, and Q (B, N) of them.

        Q is of the critic that the selection ranks by; None where there is none.
        """
        policy, obs, tokens, draws = self.average or self, *self._seen(obs, draws)
        candidates = self.objective.candidates(policy, tokens, self.selection.num_samples, draws)
        ranks = "q" in self.objective.heads or self.selection.untrained_critic
        values = self._values(obs, tokens, candidates) if ranks else None
        chunks = [self.objective.realise(policy, tokens, one, draws) for one in candidates.unbind(1)]
        return self.normaliser.raw_actions(torch.stack(chunks, 1)), values

    def _seen(self, obs: Observation, draws: Draws) -> tuple[Observation, Tensor, Draws]:
        """What acting begins with: the normalised observation, its tokens, and the draws of this selection.

        Scale and seed of the noise are of the stream "act" alone, from which a flow starts that ends in actions.
        """
        if self.selection.noise_seed is not None:
            draws = FixedDraws(draws, "act", self.selection.noise_seed)
        if self.selection.noise_scale != 1:
            draws = ScaledDraws(draws, "act", self.selection.noise_scale)
        obs = self.normaliser.observation(obs)
        return obs, (self.average or self).backbone(obs), draws

    def _values(self, obs: Observation, tokens: Tensor, chunks: Tensor) -> Tensor:
        """(B, N): the critic's values, on the backbone that it was trained on, also where an averaged policy acts."""
        if self.objective.values_actions:
            chunks = chunks[:, :, : self.valued_actions]
        if self.selection.untrained_critic:
            tokens = tokens.to(self.untrained.readout.queries.dtype)
            q = self.untrained.q(self.untrained.readout(tokens), chunks).value
            return q.mean(0)
        if self.average is not None and self.critic_backbone is None:
            tokens = self.backbone(obs)
        features = self.critic.readout(self.critic_tokens(obs, tokens))
        return self.aggregate(self.critic.q(features, chunks).value)

    @torch.no_grad()
    def value(self, obs: Observation, actions: Tensor) -> Tensor:
        """Q of a chunk, or V where the critic has no Q of chunks: (B,).

        obs: B raw observations. actions: (B, h, A), raw. UsageError for a policy without a critic.
        """
        if self.critic is None:
            raise UsageError(f"Policy '{self.policy.name}' has no critic, and so no value.")
        obs = self.normaliser.observation(obs)
        features = self.critic.readout(self.critic_tokens(obs, self.policy_tokens(obs)))
        if "q" not in self.objective.heads or not self.objective.values_actions:
            return self.critic.v(features).value.squeeze(0)
        chunk = self.normaliser.scale_actions(actions)[:, : self.valued_actions]
        return self.aggregate(self.critic.q(features, chunk).value)


def _chosen(candidates: Tensor, values: Tensor) -> Tensor:
    """candidates (B, N, ...), values (B, N) -> the one of the largest value in each row, (B, ...)."""
    return candidates[torch.arange(len(candidates), device=candidates.device), values.argmax(-1)]


@contextmanager
def _initialised_from(seed: int, name: str) -> Iterator[None]:
    """Initialise from a generator of its own: the policy starts the same with any critic and with none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "initialise", name))
        yield
