"""The base of every objective: named loss terms over one paired window, each with a declared gradient route.

A critic-based objective is a way of learning values and a way of extracting a policy from them. Where several ways of
extracting fit, they are the axis `objective.extraction` (extraction.py); the others write their own policy term.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig, Strict, Topology, parse
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.conditioned import AdvantageCondition
from robo_orl.objectives.distil import Distil
from robo_orl.objectives.extraction import AWR, DDPGBC, BestOfN, Extraction
from robo_orl.objectives.parts import ActingPolicy, Losses, Modules, Parts
from robo_orl.objectives.step import Step

EXTRACTIONS: dict[str, type[Extraction]] = {
    "awr": AWR,
    "ddpg_bc": DDPGBC,
    "best_of_n": BestOfN,
    "advantage_condition": AdvantageCondition,
    "distil": Distil,
}


class Objective:
    """Loss terms as equations over a `Step`. Subclasses declare what they need; the agent builds exactly that."""

    class Params(Strict):
        """The objective's own parameters."""

    heads: ClassVar[tuple[str, ...]] = ()  # value functions that it trains: "q", "v"
    bootstraps: ClassVar[bool] = False  # whether its targets use a slow copy of the critic
    critic_frames: ClassVar[Literal["now", "both"]] = "now"  # frames of the pair whose values it trains
    samples: ClassVar[bool] = False  # whether it draws actions from the policy: needs a stochastic action head
    ranks_candidates: ClassVar[bool] = False  # whether its target is `Step.best_value` of such actions
    values_together: ClassVar[bool] = False  # whether it reads V and Q of the same frames, by `Step.v_and_q`
    trains_base: ClassVar[bool] = True  # whether backbone and action head learn; else they stay as the run has them
    slow_policy: ClassVar[bool] = False  # whether it needs a slow copy of the action head
    extractions: ClassVar[tuple[str, ...]] = ()  # ways of extracting the policy, its authors' first; () = its own
    values_actions: ClassVar[bool] = True  # whether Q's second argument is an action chunk
    cut_short: ClassVar[bool] = False  # whether a timeout shortens a backup to the last frame, and does not drop it
    chooses: ClassVar[bool] = False  # whether its policy is to act by the best of several candidates, and else clones
    reads_rewards: ClassVar[bool] = True  # whether rewards, or the success that they mark, are in its loss
    needs_success: ClassVar[bool] = False  # whether frames of failures teach it nothing
    competent_only: ClassVar[bool] = False  # whether it sees the frames of competent operators alone: an oracle
    whole_batch: ClassVar[bool] = False  # whether its loss has a mean over the batch in it: not to be had in parts
    on_policy: ClassVar[bool] = False  # whether it learns from its own rounds alone, by the weights that made them
    kl_limit: float | None = None  # KL from the policy that acted above which a round's updates end
    # Raise it when a change of the code changes what the objective computes: its results are then computed anew.
    version: ClassVar[int] = 1
    # Parameters that a digest holds at their default too, and those that it holds as they are given: other defaults are
    # left out (`normalised`). The addresses of stored results hold these.
    spelled_out: ClassVar[frozenset[str]] = frozenset()
    as_given: ClassVar[frozenset[str]] = frozenset()
    # Parameter -> (another one, the value of it at which the first does nothing).
    idle_beside: ClassVar[dict[str, tuple[str, Any]]] = {}
    # What `robo-orl tune` may try: key of a policy file -> values, from its paper or its authors' code.
    search: ClassVar[dict[str, tuple[Any, ...]]] = {}
    # Loss term -> what it trains: "policy" (action head and backbone), "critic" (critic and the backbone it trains),
    # or several of "policy", "backbone" (the policy's alone), "critic_backbone" (the one that the critic trains, which
    # may be the policy's) and names of `modules`.
    routes: ClassVar[dict[str, str | tuple[str, ...]]] = {}

    def __init__(self, policy: PolicyConfig):
        where = f"objective {policy.objective.name} of policy {policy.name}"
        self.params = parse(self.Params, policy.objective.params, where)
        self.extraction: Extraction = extraction_of(policy, self.extractions, self.params)
        self.routes = {**self.routes, **self.extraction.routes}

    def losses(self, step: Step) -> Losses:
        """The terms of `routes`, whose sum is minimised, and metrics; all 0-dim."""
        raise NotImplementedError

    def backed_up(self, step: Step, following: Tensor) -> Losses:
        """The critic's loss with `following` (B,), the value at t+n, backed up, and the extraction's terms."""
        critic, metrics = step.td(following)
        policy, of_policy = self.extraction.terms(step)
        return policy | {"critic": critic}, of_policy | metrics

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """UsageError where a policy's parts do not fit this objective; agent/compatibility.py has the common checks."""

    def imitated(self, returns: np.ndarray) -> np.ndarray:
        """The episodes whose frames are drawn, (E,) bool, given the discounted return of each (E,): by default all."""
        return np.ones(len(returns), bool)

    # --------------------------------------------------------------------------------------------- what it is built of

    def valued_actions(self, policy: PolicyConfig) -> int:
        """c, the actions that Q values: those that an n-step backup covers."""
        return min(policy.n, policy.action_head.chunk)

    def valued_numbers(self, parts: Parts) -> int:
        """Numbers in Q's second argument."""
        return parts.valued_actions * parts.action_dim

    def modules(self, parts: Parts) -> Modules:
        """Networks of its own, trained beside action head and critic.

        Names that begin with "critic" learn at critic_lr and count as critic, others belong to the policy.
        """
        return self.extraction.modules(parts)

    # --------------------------------------------------------------------------------------------------------- acting

    def candidates(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """Candidates for the critic's ranking at tokens (B, S, D): (B, N, h, A) chunks."""
        return self.extraction.candidates(policy, tokens, num_samples, draws)

    def realise(self, policy: ActingPolicy, tokens: Tensor, best: Tensor, draws: Draws) -> Tensor:
        """The chosen candidate as a chunk (B, h, A)."""
        return best

    # --------------------------------------------------------------------------------------------------------- routing

    def reaches(self, term: str, topology: Topology | None) -> set[str]:
        """The parameter groups that a term's gradient reaches, all of them and no other."""
        route = self.routes[term]
        names = (route,) if isinstance(route, str) else route
        return set().union(*(self._groups(name, topology) for name in names))

    def _groups(self, name: str, topology: Topology | None) -> set[str]:
        trained = set() if topology == "frozen" else {"backbone"}
        own = {"critic_backbone"}
        of_critic = {"shared": {"backbone"}, "separate": own, "separate_small": own}.get(topology, set())
        routes = {
            "policy": {"action_head"} | trained,
            "backbone": trained,
            "critic": {"critic"} | of_critic,
            "critic_backbone": of_critic,
        }
        return routes.get(name, {name})


def require_head(policy: PolicyConfig, kinds: tuple[str, ...], why: str) -> None:
    """UsageError unless the action head is one of `kinds`."""
    if policy.action_head.kind not in kinds:
        raise UsageError(
            f"Objective '{policy.objective.name}' {why}, which the action head '{policy.action_head.kind}' is not made "
            f"for: set action_head.kind to {' or '.join(kinds)}."
        )


def check_frozen_base(policy: PolicyConfig) -> None:
    """UsageError where the critic reads a backbone that its loss would train, and the objective keeps it as it is."""
    if policy.critic is not None and policy.critic.topology in ("shared", "shared_detached"):
        raise UsageError(
            f"Objective '{policy.objective.name}' keeps the policy that it begins with: set critic.topology to frozen, "
            "separate_small or separate."
        )


def extraction_of(policy: PolicyConfig, allowed: tuple[str, ...], params: Strict) -> Extraction:
    """The extraction of a policy file, by default the first of `allowed`.

    params: the objective's own. Where they hold the extraction's parameters (IQL's beta), these are taken. UsageError
    where the objective does not take the extraction, or a parameter belongs to another one.
    """
    config, name = policy.objective.extraction, policy.objective.name
    if not allowed:
        if config is not None:
            raise UsageError(f"Objective '{name}' has a policy term of its own: remove objective.extraction.")
        return Extraction(params)
    kind = config.kind if config else allowed[0]
    if kind not in allowed:
        raise UsageError(f"Objective '{name}' takes objective.extraction {' or '.join(allowed)}, not {kind}.")
    schema, given = EXTRACTIONS[kind].Params, config.params if config else {}
    for key in policy.objective.params:
        others = [k for k, e in EXTRACTIONS.items() if key in e.Params.model_fields]
        if others and key not in schema.model_fields:
            raise UsageError(f"objective.params.{key} belongs to extraction {others[0]}, not to {kind}: remove it.")
    own = {key: getattr(params, key) for key in schema.model_fields if hasattr(params, key)}
    if own and given:
        raise UsageError(f"Objective '{name}' holds the parameters of {kind}: set objective.params instead.")
    return EXTRACTIONS[kind](parse(schema, own | given, f"extraction {kind} of policy {policy.name}"))
