"""Which parts of a policy go together: every refusal is one sentence with its remedy."""

from __future__ import annotations

from robo_orl.config import PolicyConfig, SelectionConfig
from robo_orl.errors import UsageError
from robo_orl.objectives import Objective


def check_policy(policy: PolicyConfig, objective: Objective, stochastic: bool) -> None:
    """UsageError where objective, critic and action head cannot work together, or an option would do nothing."""
    name, critic = policy.objective.name, policy.critic
    if objective.samples and not stochastic:
        raise UsageError(
            f"Objective '{name}' samples actions, and the action head '{policy.action_head.kind}' is deterministic: "
            "set action_head.kind to flow."
        )
    if objective.heads and critic is None:
        raise UsageError(f"Objective '{name}' trains a critic: give the policy '{policy.name}' a 'critic' section.")
    if not objective.heads and critic is not None and not policy.selection.untrained_critic:
        raise UsageError(
            f"Objective '{name}' trains no critic: remove the 'critic' section of the policy '{policy.name}'."
        )
    if not objective.heads:
        return
    if objective.bootstraps and critic.target == "none":
        raise UsageError(f"Objective '{name}' bootstraps: critic.target must be head_ema or full_ema, not none.")
    if not objective.bootstraps and critic.target != "none":
        raise UsageError(f"Objective '{name}' regresses to Monte-Carlo returns: critic.target must be none.")
    if critic.target == "full_ema" and critic.topology == "frozen":
        raise UsageError("A frozen backbone is its own slow copy: set critic.target to head_ema.")


def check_selection(selection: SelectionConfig, stochastic: bool, has_q: bool) -> None:
    """UsageError where best-of-N has nothing to choose from or nothing to choose by."""
    if selection.untrained_critic and selection.num_samples == 1:
        raise UsageError("selection.untrained_critic ranks samples: set selection.num_samples above 1.")
    if selection.num_samples == 1:
        return
    if not stochastic:
        raise UsageError("selection.num_samples above 1 needs an action head that samples: action_head.kind flow.")
    if not has_q and not selection.untrained_critic:
        raise UsageError(
            "selection.num_samples above 1 needs a trained Q: choose an objective that has one, or set "
            "selection.untrained_critic for the control."
        )
