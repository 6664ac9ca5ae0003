"""What every objective is: named loss terms over one paired window, each with a declared gradient route."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from robo_orl.config import PolicyConfig, Strict, Topology, parse

if TYPE_CHECKING:
    from robo_orl.models.step import Step

Terms = dict[str, Tensor]
Metrics = dict[str, Tensor]


class Objective:
    """Loss terms as equations over a `Step`. Subclasses say what they need; the agent builds exactly that."""

    class Params(Strict):
        """The objective's own parameters."""

    heads: ClassVar[tuple[str, ...]] = ()  # value functions that it trains: "q", "v"
    bootstraps: ClassVar[bool] = False  # whether its targets use a slow copy of the critic
    critic_frames: ClassVar[Literal["now", "both"]] = "now"  # frames of the pair whose values it trains
    samples: ClassVar[bool] = False  # whether it draws actions from the policy: needs a stochastic action head
    routes: ClassVar[dict[str, Literal["policy", "critic"]]] = {}  # loss term -> the network it trains

    def __init__(self, policy: PolicyConfig):
        where = f"objective {policy.objective.name} of policy {policy.name}"
        self.params = parse(self.Params, policy.objective.params, where)

    def losses(self, step: Step) -> tuple[Terms, Metrics]:
        """The terms of `routes`, whose sum is minimised, and metrics; all 0-dim."""
        raise NotImplementedError

    def reaches(self, term: str, topology: Topology | None) -> set[str]:
        """The parameter groups that a term's gradient reaches, all of them and no other."""
        if self.routes[term] == "policy":
            return {"action_head"} if topology == "frozen" else {"action_head", "backbone"}
        backbone = {"shared": {"backbone"}, "separate": {"critic_backbone"}, "separate_small": {"critic_backbone"}}
        return {"critic"} | backbone.get(topology, set())
