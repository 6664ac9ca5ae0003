"""Every loss term alone reaches exactly the parameter groups that its objective declares, under every topology."""

import pytest
import torch
import toy_agents as toy

from robo_orl.models.step import Step
from robo_orl.objectives import OBJECTIVES
from robo_orl.rng import Draws

CASES = {"bc": toy.policy("bc"), "filtered_bc": toy.policy("filtered_bc")}
for topology in toy.TOPOLOGIES:
    CASES[f"mc_awr_{topology}"] = toy.policy("mc_awr", topology=topology)
    CASES[f"mc_awr_q_{topology}"] = toy.policy("mc_awr", topology=topology, objective={"params": {"advantage": "q"}})
    for name in ("iql", "qc"):
        CASES[f"{name}_{topology}"] = toy.policy(name, topology=topology)
        CASES[f"{name}_{topology}_hl_gauss"] = toy.policy(name, topology=topology, critic={"loss": "hl_gauss"})
        if topology != "frozen":
            full = {"target": "full_ema"}
            CASES[f"{name}_{topology}_full_ema"] = toy.policy(name, topology=topology, critic=full)


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_every_term_reaches_what_it_declares(config):
    learner = toy.agent(config)
    groups = learner.parameter_groups()
    terms, _ = learner.objective.losses(Step(learner, toy.window(), Draws(0, 0)))
    assert terms.keys() == learner.objective.routes.keys()
    for name, term in terms.items():
        reached = set()
        for group, parameters in groups.items():
            gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
            if any(g is not None and g.abs().sum() > 0 for g in gradients):
                reached.add(group)
        assert reached == learner.objective.reaches(name, learner.topology), name


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_names_its_source(name):
    module = __import__(OBJECTIVES[name].__module__, fromlist=["x"])
    assert any(f"({year}" in module.__doc__ or f" {year}" in module.__doc__ for year in range(1980, 2027))
    assert OBJECTIVES[name].__doc__.strip().endswith(".")
