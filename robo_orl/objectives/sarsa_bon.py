"""n-step SARSA with best-of-N: the behaviour's own value, one step of improvement (Brandfonbrener et al. 2021,
arXiv:2106.08909, section 4; the n-step form is in Park et al. 2025, arXiv:2506.04168, section 5).

    L_Q  = E[ ( sum_k<n gamma^k r_{t+k} + gamma^n Qbar(s_{t+n}, a_{t+n}) - Q(s_t, a_t) )^2 ],  a_{t+n} from the data
    L_pi = E[ -log pi(a|s) ],  act by the best of N samples

Nothing is maximised in the backup, so that nothing outside the data is ever valued in training.
"""

from __future__ import annotations

from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class SarsaBestOfN(Objective):
    """n-step SARSA: the behaviour's Q chooses among samples of a cloned policy."""

    heads = ("q",)
    bootstraps = True
    extractions = ("best_of_n", "ddpg_bc", "distil")
    routes = {"critic": "critic"}
    search = {"selection.num_samples": (4, 16, 32)}

    def losses(self, step: Step) -> Losses:
        """The critic learns from the transitions whose next chunk is known, the policy from both frames of a pair."""
        window = step.window
        target = window.reward + window.discount * step.aggregate(step.q_target("next").value)  # (B,)
        known = window.td_valid * (step.part(step.valid, "next").bool() | (window.discount == 0))
        q = step.q("now")  # (E, B)
        critic = (known * q.loss(target).mean(0)).mean()
        policy, of_policy = self.extraction.terms(step)
        return policy | {"critic": critic}, of_policy | {"critic/q": q.value.mean(), "critic/target": target.mean()}
