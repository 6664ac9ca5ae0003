"""Whole agents in float64: every term of every objective is its equation, and its gradient that of finite differences.

The equations are numpy's (equations.py), of what the agent's networks say. What a paper holds fixed is held fixed in
the differences, so that a target with a gradient and a term without one are both seen. Every loss of the critic.
"""

from copy import deepcopy
from functools import cache
from types import SimpleNamespace

import equations
import pytest
import torch
import toy_agents as toy
from agent_numbers import BINS, HIGH, LOW, PAIRS, Double, Numbers
from policy_files import FROM_DATA

from robo_orl.objectives import OBJECTIVES
from robo_orl.objectives.step import Step

OWN = {  # parameters of objectives
    "return_conditioned": {"outcome": "success"},
    "mc_awr": {"advantage": "q", "beta": 2.0, "max_weight": 1.1},
    "recap": {"advantage": "return", "positive_fraction": 0.3, "dropout": 0.3},
    "iql": {"expectile": 0.8, "beta": 2.0, "max_weight": 1.1},
    "idql": {"expectile": 0.7},
    "dqc": {"kappa_b": 0.9, "kappa_d": 0.7},
    "qc": {"num_samples": 3, "flow_steps": 2},
    "bcq": {"num_samples": 3, "flow_steps": 2, "min_weight": 0.6},
    "fql": {"alpha": 3.0},
    "qc_fql": {"alpha": 0.5},
    "td3_bc": {"alpha": 0.7, "policy_noise": 0.3, "noise_clip": 0.2},
    "awac": {"temperature": 0.05, "max_weight": 1.1, "num_samples": 2},
    "crr": {"weight": "exp", "beta": 0.05, "max_weight": 1.1, "num_samples": 3},
    "mpo": {"alpha": 0.3, "eta": 0.2, "num_samples": 3, "critic_weight": 2.0},
    "sac": {"subset": 2, "first_kappa": 0.3, "target_entropy": -0.5, "backup_entropy": True},
    "residual": {"alpha": 2.0, "policy_noise": 0.3, "noise_clip": 0.2, "subset": 2},
    "edit": {"beta": 2.0, "num_samples": 2, "subset": 2, "first_kappa": 0.3, "target_entropy": -0.5},
    "dsrl": {"box": 1.5, "climbs": "noise", "num_noises": 2, "subset": 2, "first_kappa": 0.3, "target_entropy": -0.5,
             "backup_entropy": True},
    "cql": {"min_q_weight": 0.7, "cql_temperature": 0.5, "first_kappa": 0.3, "num_actions": 2, "bc_steps": 0,
            "max_backup": False, "importance_sample": True},
}  # fmt: skip
OWN["cal_ql"] = OWN["cql"] | {"max_backup": True}
ASKED = {  # parameters of extractions
    "awr": {"beta": 2.0, "max_weight": 1.1},
    "ddpg_bc": {"alpha": 0.3},
    "advantage_condition": {"positive_fraction": 0.4, "dropout": 0.3},
    "distil": {"alpha": 3.0},
    "best_of_n": {},
}
HEADS = {"ddpg_bc": "gaussian", "distil": "flow"}
FOLDS = {"mse": "min", "bce": "mean", "hl_gauss": "min"}


def cases() -> list:
    """Every objective under every loss of the critic, and every extraction of those that have several."""
    cases = []

    def add(name: str, loss: str = "", extraction: str = "", fold: str = "", tag: str = "", **changed) -> None:
        label = "-".join(filter(None, (name, extraction, loss, fold, tag)))
        marks = pytest.mark.slow if "subset" in OWN.get(name, {}) and loss != "mse" else ()
        cases.append(pytest.param(name, loss, extraction, fold or FOLDS.get(loss, ""), changed, id=label, marks=marks))

    for name in FROM_DATA:
        objective = OBJECTIVES[name]
        for loss in FOLDS if objective.heads else ("",):
            add(name, loss)
        for k, kind in enumerate(objective.extractions[1:]):
            add(name, ("mse", "bce", "hl_gauss")[k % 3] if name != "dqc" else "bce", kind)
    add("dqc", "mse", "awr", fold="mean")
    add("mc_awr", "mse", fold="mean")
    add("mc_awr", "mse", tag="of_returns", advantage="return")
    add("recap", "hl_gauss", tag="n_step", advantage="n_step")
    add("return_conditioned", tag="return", outcome="return", target=0.5)
    add("crr", "mse", tag="binary", weight="binary", beta=None, max_weight=None)
    add("sac", "mse", tag="plain", backup_entropy=False)
    add("dsrl", "mse", tag="actions", climbs="actions", num_noises=...)
    add("cql", "mse", tag="unweighted", importance_sample=False, max_backup=True)
    add("cql", "mse", tag="cloning", bc_steps=5)
    return cases


def built(name: str, loss: str, extraction: str, fold: str, changed: dict) -> tuple[toy.Agent, SimpleNamespace]:
    """The agent, and the parameters of its equation."""
    kind = extraction or next(iter(OBJECTIVES[name].extractions), "")
    own = {key: value for key, value in (OWN.get(name, {}) | changed).items() if value is not ...}
    given = {} if name in ("mc_awr", "iql", "recap", "fql", "qc_fql") and not extraction else ASKED.get(kind, {})
    if extraction:
        theirs = ("beta", "max_weight") + (("flow_steps",) if extraction == "ddpg_bc" else ())
        own = {key: value for key, value in own.items() if key not in theirs}
    over: dict = {"objective": {"params": own}, "selection": {"num_samples": 1}}
    if extraction:
        over["objective"]["extraction"] = {"kind": extraction, "params": given}
        over["action_head"] = {"kind": HEADS.get(extraction, "flow")}
    if OBJECTIVES[name].chooses or kind == "best_of_n":
        over["selection"] = {"num_samples": 2}
    if loss:
        bounds = {} if loss == "mse" else {"value_range": [LOW, HIGH]}
        bins = {"bins": BINS} if loss == "hl_gauss" else {"bins": 101}
        over["critic"] = {"loss": loss, "trunk_gradient": 1.0} | bounds | bins
        if "q" in OBJECTIVES[name].heads or own.get("advantage") == "q":
            over["critic"] |= {"ensemble": 3 if "subset" in own else 2, "aggregate": fold}
    if name == "edit":
        over["critic"]["topology"] = "shared"  # whose backbone both sides of a difference move
    if name == "fql":
        over["n_step"] = 2
    return moved(toy.agent(toy.shipped(name, **over))).double(), SimpleNamespace(**own, **given, extraction=kind)


def moved(learner: toy.Agent) -> toy.Agent:
    """Away from the start, where the slow copies stay: values differ by 1 or so, and no term is at its optimum."""
    generator = torch.Generator().manual_seed(9)  # of which both sides of every expectile see values
    with torch.no_grad():
        for parameter in learner.parameters():
            scale = 0.5 * parameter.std() if parameter.numel() > 1 else torch.tensor(0.0)
            parameter += (scale + 0.02) * torch.randn(parameter.shape, generator=generator)
    return learner


@cache
def window():
    return toy.window(PAIRS).map(lambda t: t.double() if t.is_floating_point() else t)


@pytest.mark.parametrize(("name", "loss", "extraction", "fold", "changed"), cases())
def test_every_term_is_its_equation_and_has_its_gradient(name, loss, extraction, fold, changed):
    learner, params = built(name, loss, extraction, fold, changed)
    terms, _ = learner.objective.losses(Step(learner, window(), Double(0, 0)))
    fixed = deepcopy(learner)

    def equation() -> dict[str, float]:
        return equations.OF[name](Numbers(learner, window()), Numbers(fixed, window()), params)

    assert {key: term.item() for key, term in terms.items()} == pytest.approx(equation(), rel=1e-9)

    parameters = [p for p in learner.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(2)
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    slopes = {}
    for key, term in terms.items():
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        parts = [(g * d).sum() for g, d in zip(gradients, direction, strict=True) if g is not None]
        slopes[key] = sum(parts).item()

    def shifted(by: float) -> dict[str, float]:
        torch._foreach_add_([p.data for p in parameters], direction, alpha=by)
        terms = equation()
        torch._foreach_add_([p.data for p in parameters], direction, alpha=-by)
        return terms

    up, down = shifted(1e-6), shifted(-1e-6)
    expected = {key: (up[key] - down[key]) / 2e-6 for key in up}
    assert slopes == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert all(slopes.values())
