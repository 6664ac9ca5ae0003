"""Ways of extracting a policy from values: the axis `objective.extraction`, one class each.

    awr                  advantage-weighted cloning
    ddpg_bc              climb Q, and clone
    best_of_n            clone; the critic chooses among samples in acting (and where the objective backs up samples)
    advantage_condition  clone, given whether the action was better than usual (conditioned.py)
    distil               clone with a flow; a one-step policy follows it and climbs Q (distil.py)

Every one clones at least; the values come from the objective.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.parts import ActingPolicy, Losses, Modules, Parts
from robo_orl.objectives.step import Step


class Extraction:
    """Policy terms from advantages, from Q or from neither. This base is for objectives with a policy term of their
    own: it adds none, and acts by the action head's samples."""

    class Params(Strict):
        """The extraction's own parameters."""

    reads: ClassVar[Literal["advantage", "q", "nothing"]] = "nothing"
    samples: ClassVar[bool] = False  # whether it needs an action head that samples
    whole_batch: ClassVar[bool] = False  # as an objective's, and so the next
    chooses: ClassVar[bool] = False
    idle_beside: ClassVar[dict[str, tuple[str, Any]]] = {}
    routes: ClassVar[dict[str, str | tuple[str, ...]]] = {}

    def __init__(self, params: Strict):
        self.params = params

    def terms(self, step: Step, advantage: Tensor | None = None, known: Tensor | None = None) -> Losses:
        """Policy terms over both frames of a pair.

        advantage: (2B,) of the data's chunks, without gradient. known: (2B,) float, 0 where the advantage is not known.
        """
        raise NotImplementedError

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """UsageError where the action head does not fit."""

    def modules(self, parts: Parts) -> Modules:
        """As Objective.modules."""
        return {}

    def candidates(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """As Objective.candidates."""
        return policy.action_head.act(tokens, num_samples, draws, "act")


class AWR(Extraction):
    """Advantage-weighted regression (Peng et al. 2019, arXiv:1910.00177, equation 10).

    L_pi = E[ -exp( beta A(s, a) ) log pi(a|s) ], weights cut; frames of unknown advantage are not imitated.
    """

    reads = "advantage"
    idle_beside = {"max_weight": ("beta", 0.0)}
    routes = {"actor": "policy"}

    class Params(Strict):
        """The values of IQL for sparse rewards."""

        beta: float = Field(10.0, ge=0, description="inverse temperature of the advantage weights")
        max_weight: float = Field(100.0, gt=0, description="weights are cut here")

    def terms(self, step: Step, advantage: Tensor | None = None, known: Tensor | None = None) -> Losses:
        """L_pi, equation 10."""
        weight = (self.params.beta * advantage).exp().clamp(max=self.params.max_weight) * known
        actor = (weight * step.policy_loss()).mean()
        return {"actor": actor}, {"actor/advantage": advantage.mean(), "actor/weight": weight.mean()}


class DDPGBC(Extraction):
    """DDPG+BC (Fujimoto and Gu 2021, arXiv:2106.06860, equations 3 and 5; Park et al. 2024, arXiv:2406.09329).

    L_pi = E[ -Q(s, pi(s)) ] / mean|Q(s, pi(s))| + alpha E[ -log pi(a|s) ], pi(s) the mode. Q is not trained by it.
    """

    reads = "q"
    whole_batch = True
    routes = {"actor": "policy"}

    class Params(Strict):
        """alpha weighs a mean over the chunk's numbers; OGBench's 0.03 to 1 weigh a sum over those of one action."""

        alpha: float = Field(1.0, ge=0, description="weight of the cloning term, per number")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a head whose chunk is no differentiable function of the tokens."""
        if policy.action_head.kind not in ("l1", "gaussian"):
            raise UsageError(
                f"extraction 'ddpg_bc' differentiates the policy's chunk, which the action head "
                f"'{policy.action_head.kind}' has none of: set action_head.kind to l1 or gaussian, or "
                "objective.extraction to distil."
            )

    def terms(self, step: Step, advantage: Tensor | None = None, known: Tensor | None = None) -> Losses:
        """L_pi, equations 3 and 5."""
        q = step.climb("both", step.valued(step.policy_chunk("both")).clamp(-1, 1))  # (2B,)
        scale = step.batch_mean(q.detach().abs()).clamp(min=1e-6)
        actor = -q.mean() / scale + self.params.alpha * step.policy_loss().mean()
        return {"actor": actor}, {"actor/q": q.mean()}


class BestOfN(Extraction):
    """Behaviour cloning, and in acting the best of `selection.num_samples` samples by Q (Fujimoto et al. 2019,
    arXiv:1812.02900, section 5.1; Hansen-Estruch et al. 2023, arXiv:2304.10573, algorithm 2)."""

    reads = "q"
    samples = chooses = True
    routes = {"actor": "policy"}

    def terms(self, step: Step, advantage: Tensor | None = None, known: Tensor | None = None) -> Losses:
        """L_pi = E[ -log pi(a|s) ]."""
        return {"actor": step.policy_loss().mean()}, {}
