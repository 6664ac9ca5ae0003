"""The rewards by imitation by name. A new one is one file and one line."""

from __future__ import annotations

from robo_orl.base.errors import UsageError, unknown
from robo_orl.config import ImitationConfig, PolicyConfig
from robo_orl.objectives import OBJECTIVES
from robo_orl.online.imitation.dac import DiscriminatorActorCritic
from robo_orl.online.imitation.dril import Dril
from robo_orl.online.imitation.gail import Gail
from robo_orl.online.imitation.points import PointScale
from robo_orl.online.imitation.reward import ImitationReward

SOURCES: dict[str, type[ImitationReward]] = {"gail": Gail, "dac": DiscriminatorActorCritic, "dril": Dril}
READ_RETURNS = ("cal_ql",)  # objectives that bootstrap and read the returns of episodes besides


def make_reward(config: ImitationConfig, scale: PointScale, seed: int) -> ImitationReward:
    """The reward of a configuration; UsageError for an unknown one, and for parameters that it does not take."""
    if config.source not in SOURCES:
        raise unknown("source of online.imitation", config.source, SOURCES)
    return SOURCES[config.source](config, scale, seed)


def check_imitation(policy: PolicyConfig) -> None:
    """UsageError where a policy cannot learn from rewards by imitation, which change as they are learned."""
    config = policy.online.imitation
    if config is None:
        return
    if config.source not in SOURCES:
        raise unknown("source of online.imitation", config.source, SOURCES)
    if policy.observation.cameras:
        raise UsageError(
            "online.imitation compares the vectors of an observation, and this policy sees pictures, which say where "
            "things are: choose a method that learns from the task's rewards, such as qc."
        )
    name, objective = policy.objective.name, OBJECTIVES[policy.objective.name]
    if not objective.bootstraps or objective.cut_short or name in READ_RETURNS:
        raise UsageError(
            f"Rewards by imitation change while they are learned, and so they have no returns: the objective '{name}' "
            "needs these. Choose one that backs up rewards alone, such as qc, fql, iql or cql."
        )
    if policy.online.replay.outcomes == "success":
        raise UsageError(
            "online.replay.outcomes 'success' reads the success that rewards by imitation go without: set it to all."
        )
    if policy.critic.loss != "mse":
        raise UsageError(
            f"Returns of rewards by imitation reach from -1 to 1, which critic.loss '{policy.critic.loss}' does not "
            "hold: set critic.loss to mse."
        )
