"""Objectives by the name that `objective.name` gives: one file, one line here."""

from robo_orl.objectives.bc import BC
from robo_orl.objectives.filtered_bc import FilteredBC
from robo_orl.objectives.iql import IQL
from robo_orl.objectives.mc_awr import MonteCarloAWR
from robo_orl.objectives.objective import Objective, Parts
from robo_orl.objectives.qc import QChunking

OBJECTIVES: dict[str, type[Objective]] = {
    "bc": BC,
    "filtered_bc": FilteredBC,
    "mc_awr": MonteCarloAWR,
    "iql": IQL,
    "qc": QChunking,
}

__all__ = ["OBJECTIVES", "Objective", "Parts"]
