"""Objectives: the losses of each algorithm, as equations over a training step. One file each, one line here.

Ways of extracting a policy from values, an axis of its own, are in extraction.py, conditioned.py and distil.py.
"""

from pydantic import ValidationError

from robo_orl.base.plugins import with_plugins
from robo_orl.config import PolicyConfig
from robo_orl.objectives.awac import AWAC
from robo_orl.objectives.bc import BC
from robo_orl.objectives.bcq import BCQ
from robo_orl.objectives.cal_ql import CalQL
from robo_orl.objectives.cql import CQL
from robo_orl.objectives.crr import CRR
from robo_orl.objectives.dqc import DQC
from robo_orl.objectives.dsrl import DSRL
from robo_orl.objectives.edit import Edit
from robo_orl.objectives.filtered_bc import FilteredBC
from robo_orl.objectives.fpo import FPO
from robo_orl.objectives.fql import FQL
from robo_orl.objectives.grpo import GRPO
from robo_orl.objectives.idql import IDQL
from robo_orl.objectives.iql import IQL
from robo_orl.objectives.mc_awr import MonteCarloAWR
from robo_orl.objectives.mpo import MPO
from robo_orl.objectives.objective import EXTRACTIONS, Objective
from robo_orl.objectives.oracle_competent import OracleCompetent
from robo_orl.objectives.parts import Parts
from robo_orl.objectives.ppo import PPO
from robo_orl.objectives.qc import QChunking
from robo_orl.objectives.qc_fql import QChunkingFQL
from robo_orl.objectives.recap import Recap
from robo_orl.objectives.reinflow import ReinFlow
from robo_orl.objectives.reinforce import Reinforce
from robo_orl.objectives.residual import Residual
from robo_orl.objectives.return_conditioned import ReturnConditioned
from robo_orl.objectives.sac import SAC
from robo_orl.objectives.sarsa_bon import SarsaBestOfN
from robo_orl.objectives.sharsa import SHARSA
from robo_orl.objectives.td3_bc import TD3BC
from robo_orl.objectives.top_bc import TopBC

OURS: dict[str, type[Objective]] = {
    "bc": BC,
    "filtered_bc": FilteredBC,
    "top_bc": TopBC,
    "oracle_competent": OracleCompetent,
    "return_conditioned": ReturnConditioned,
    "mc_awr": MonteCarloAWR,
    "recap": Recap,
    "sarsa_bon": SarsaBestOfN,
    "sharsa": SHARSA,
    "iql": IQL,
    "idql": IDQL,
    "dqc": DQC,
    "qc": QChunking,
    "bcq": BCQ,
    "fql": FQL,
    "qc_fql": QChunkingFQL,
    "td3_bc": TD3BC,
    "awac": AWAC,
    "crr": CRR,
    "mpo": MPO,
    "sac": SAC,
    "cql": CQL,
    "cal_ql": CalQL,
    "residual": Residual,
    "edit": Edit,
    "dsrl": DSRL,
    "ppo": PPO,
    "fpo": FPO,
    "reinflow": ReinFlow,
    "reinforce": Reinforce,
    "grpo": GRPO,
}
OBJECTIVES = with_plugins(OURS, "objectives", Objective)


def normalised(policy: PolicyConfig) -> PolicyConfig:
    """The policy with the parameters of its objective in one spelling: equal policies have equal digests.

    A parameter at its default is left out, as the schemas leave out their defaults, but for those of
    `Objective.spelled_out`, which are always there, and of `Objective.as_given`; an integer for a float is made one.
    Parameters that the objective does not take stay, for the sentence that refuses them.
    """
    config = policy.objective
    if config.name not in OBJECTIVES or config.name in OBJECTIVES.broken:
        return policy
    objective, extraction = OBJECTIVES[config.name], config.extraction
    try:
        typed = objective.Params.model_validate(config.params)
        if extraction is not None:
            own = EXTRACTIONS[extraction.kind].Params.model_validate(extraction.params)
            extraction = extraction.model_copy(update={"params": own.identity()})
    except ValidationError:
        return policy
    kept = objective.spelled_out | (objective.as_given & config.params.keys())
    params = typed.identity() | typed.model_dump(mode="json", include=set(kept))
    return policy.model_copy(
        update={"objective": config.model_copy(update={"params": params, "extraction": extraction})}
    )


__all__ = ["OBJECTIVES", "Objective", "Parts", "normalised"]
