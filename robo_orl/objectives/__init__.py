"""Objectives: the losses of each algorithm, as equations over a training step. One file each, one line here.

Ways of extracting a policy from values, an axis of its own, are in extraction.py, conditioned.py and distil.py.
"""

from robo_orl.base.plugins import with_plugins
from robo_orl.objectives.awac import AWAC
from robo_orl.objectives.bc import BC
from robo_orl.objectives.bcq import BCQ
from robo_orl.objectives.cal_ql import CalQL
from robo_orl.objectives.cql import CQL
from robo_orl.objectives.crr import CRR
from robo_orl.objectives.dqc import DQC
from robo_orl.objectives.filtered_bc import FilteredBC
from robo_orl.objectives.fql import FQL
from robo_orl.objectives.idql import IDQL
from robo_orl.objectives.iql import IQL
from robo_orl.objectives.mc_awr import MonteCarloAWR
from robo_orl.objectives.mpo import MPO
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.oracle_competent import OracleCompetent
from robo_orl.objectives.parts import Parts
from robo_orl.objectives.qc import QChunking
from robo_orl.objectives.qc_fql import QChunkingFQL
from robo_orl.objectives.recap import Recap
from robo_orl.objectives.return_conditioned import ReturnConditioned
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
    "cql": CQL,
    "cal_ql": CalQL,
}
OBJECTIVES = with_plugins(OURS, "objectives", Objective)

__all__ = ["OBJECTIVES", "Objective", "Parts"]
