"""Every loss term alone reaches exactly the parameter groups that its objective declares, under every topology."""

import pytest
import torch
import toy_agents as toy
from policy_files import FROM_DATA

from robo_orl.base.rng import Draws
from robo_orl.objectives import OBJECTIVES
from robo_orl.objectives.step import Step

OTHERS = ("shared_detached", "frozen", "separate_small", "separate")
EXTRACTIONS = {  # objective -> its extractions beside the default, with the action head that each takes
    "iql": {"ddpg_bc": "gaussian", "best_of_n": "flow", "advantage_condition": "l1", "distil": "flow"},
    "dqc": {"awr": "flow", "ddpg_bc": "l1", "advantage_condition": "flow", "distil": "flow"},
    "qc": {"ddpg_bc": "gaussian", "distil": "flow"},
    "sarsa_bon": {"ddpg_bc": "l1", "distil": "flow"},
    "mc_awr": {"advantage_condition": "flow"},
}


def cases() -> list:
    """The policy file of every objective on a shared backbone and, the full product marked slow, on every other."""
    cases = []

    def add(fast: bool, name: str, topology: str, tag: str = "", **over) -> None:
        config = toy.shipped(name, **({"critic": {"topology": topology}} if topology else {}) | over)
        marks = () if fast else pytest.mark.slow
        cases.append(pytest.param(config, id="_".join(filter(None, (name, topology, tag))), marks=marks))

    for i, (name, objective) in enumerate((name, OBJECTIVES[name]) for name in FROM_DATA):
        if not toy.shipped(name).critic:
            add(True, name, "")
            continue
        others = OTHERS if objective.trains_base else OTHERS[1:]
        other = others[i % len(others)]
        for topology in ("shared", *others) if objective.trains_base else others:
            add(topology in ("shared", other), name, topology)
        for loss in ("bce", "hl_gauss", "mse"):
            changed = {"topology": other, "loss": loss, "bins": 101}
            add(loss == "bce" and i % 4 == 0, name, "", loss, critic=changed)
        if objective.bootstraps:
            full = {"topology": "shared_detached" if objective.trains_base else "separate", "target": "full_ema"}
            add(i % 4 == 1, name, "", "full_ema", critic=full)
    for name, kinds in EXTRACTIONS.items():
        for i, (kind, head) in enumerate(kinds.items()):
            over = {"objective": {"extraction": kind}, "action_head": {"kind": head}}
            over["selection"] = {"num_samples": 4 if kind == "best_of_n" else 1}
            add(name == "iql", name, ("shared", *OTHERS)[i], kind, **over)
    add(True, "dsrl", "frozen", "actions", objective={"params": {"climbs": "actions"}})
    add(True, "mc_awr", "shared", "q", objective={"params": {"advantage": "q"}})
    add(True, "recap", "shared", "n_step", objective={"params": {"advantage": "n_step"}})
    return cases


@pytest.mark.parametrize("config", cases())
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


def test_a_shared_critic_sends_a_share_of_its_gradient_into_the_backbone():
    def gradients(share):
        learner = toy.agent(toy.shipped("iql", critic={"trunk_gradient": share}))
        terms, _ = learner.objective.losses(Step(learner, toy.window(), Draws(0, 0)))
        groups = learner.parameter_groups()
        gradients = {}
        for term in ("critic", "actor"):
            for group in ("backbone", "critic", "action_head"):
                got = torch.autograd.grad(terms[term], groups[group], retain_graph=True, allow_unused=True)
                gradients[term, group] = torch.cat([g.flatten() for g in got if g is not None] or [torch.zeros(1)])
        return gradients

    whole, tenth = gradients(1.0), gradients(0.1)
    for where, gradient in whole.items():
        share = 0.1 if where == ("critic", "backbone") else 1.0
        torch.testing.assert_close(tenth[where], share * gradient, rtol=1e-4, atol=1e-7)
    assert whole["critic", "backbone"].abs().max() > 1e-6
