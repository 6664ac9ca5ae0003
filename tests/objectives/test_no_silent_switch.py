"""No setting does nothing in silence: it changes what is learned or how the policy acts, or is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import toy_agents as toy
from policy_files import FROM_DATA

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig, deep_merge
from robo_orl.data.cache import EpisodeArrays
from robo_orl.data.windows import PairedWindows
from robo_orl.objectives import OBJECTIVES
from robo_orl.sweep.search import nested

WITH_CRITIC = [name for name in FROM_DATA if toy.shipped(name).critic]
SWITCHES = {
    "critic.topology": ("shared_detached", "separate_small", "separate"),
    "critic.target": ("full_ema", "none"),
    "critic.loss": ("mse", "bce", "hl_gauss"),
    "critic.ensemble": (3, 1),
    "critic.aggregate": ("mean", "min"),
    "critic.tau": (0.4,),
    "critic.bins": (31,),
    "critic.value_range": ([-1.0, 2.0],),
    "critic.small_size": ("xs",),
    "critic.trunk_gradient": (0.5,),
    "critic.target_flow_steps": (2,),
    "action_head.flow_steps": (2,),
    "action_head.chunk": (5,),
    "n_step": (2, 7),
    "gamma": ({"fixed": 0.5, "matched": None},),
    "selection.num_samples": (1, 3),
    "objective.extraction": ("awr", "ddpg_bc", "best_of_n", "advantage_condition", "distil"),
}
MONTE_CARLO = {"mc_awr", "recap"}  # they regress to returns: no Q and no slow copy of it
SUBSET = {"sac", "residual", "edit", "dsrl"}  # a target is the lowest of two critics
BEST_OF = {"bcq", "dqc", "edit", "idql", "qc", "sarsa_bon", "sharsa"}  # the best of one candidate would be cloning
# How a policy may be extracted with the action head of the policy file; objectives not here have a way of their own.
EXTRACTIONS = {
    "mc_awr": {"awr", "advantage_condition"},
    "recap": {"advantage_condition"},
    "iql": {"awr", "advantage_condition", "distil"},
    "dqc": {"awr", "advantage_condition", "best_of_n", "distil"},
    "qc": {"best_of_n", "distil"},
    "sarsa_bon": {"best_of_n", "distil"},
    "idql": {"best_of_n"},
    "bcq": {"best_of_n"},
    "fql": {"distil"},
    "qc_fql": {"distil"},
}
Refused = Callable[[str, PolicyConfig, Any], bool]
REFUSED: dict[str, Refused] = {  # (objective, its policy file, new value) -> whether it would do nothing, or cannot be
    "critic.topology": lambda name, file, value: (
        file.critic.trunk_gradient != 1 or (value == "shared_detached" and not OBJECTIVES[name].trains_base)
    ),
    "critic.target": lambda name, file, value: (
        (value == "none") != (name in MONTE_CARLO) or (value == "full_ema" and file.critic.topology == "frozen")
    ),
    "critic.loss": lambda name, file, value: value != "hl_gauss" and file.critic.bins != 101,
    "critic.ensemble": lambda name, file, value: (
        name in MONTE_CARLO or (value == 1 and (file.critic.aggregate == "min" or name in SUBSET))
    ),
    "critic.aggregate": lambda name, file, value: name in MONTE_CARLO or file.critic.ensemble == 1,
    "critic.tau": lambda name, file, value: name in MONTE_CARLO,
    "critic.bins": lambda name, file, value: file.critic.loss != "hl_gauss",
    "critic.value_range": lambda name, file, value: file.critic.loss == "mse",
    "critic.small_size": lambda name, file, value: True,  # no file has a small critic of its own
    "critic.trunk_gradient": lambda name, file, value: file.critic.topology != "shared",
    "critic.target_flow_steps": lambda name, file, value: (
        file.action_head.kind != "flow" or not OBJECTIVES[name].samples or "flow_steps" in file.objective.params
    ),
    "action_head.flow_steps": lambda name, file, value: file.action_head.kind != "flow",
    "n_step": lambda name, file, value: name in {"dqc", "qc_fql"} or (value < 4 and name in {"sac", "cql", "cal_ql"}),
    "selection.num_samples": lambda name, file, value: (
        name in BEST_OF if value == 1 else name in MONTE_CARLO or file.action_head.kind == "l1"
    ),
    "objective.extraction": lambda name, file, value: value not in EXTRACTIONS.get(name, set()),
    "objective.params.weight": lambda name, file, value: name == "crr",  # whose file says how exp weighs
}
REMEDY = r"\b(set|remove|removes|choose|must be|takes)\b"
# No weight reaches this cut in three steps.
SAME = {(name, "max_weight") for name in ("iql", "mc_awr", "awac", "crr")}
OTHER = {("cql", "bc_steps"): 0, ("top_bc", "share"): 0.5}  # one step more would be seen after 500


@cache
def data() -> EpisodeArrays:
    """Six short episodes, three of which a timeout ends."""
    draw, lengths = np.random.default_rng(0), [18, 12, 18, 9, 18, 14]
    success, ends = [False, True, False, True, False, True], np.cumsum(lengths)
    rewards = np.zeros(ends[-1])
    rewards[ends[success] - 1] = 1.0
    observations = draw.standard_normal((ends[-1], sum(toy.SPEC.values())))
    actions = draw.uniform(-1, 1, (ends[-1], toy.ACTION_DIM))
    return toy.arrays(dict(toy.SPEC), lengths, success, observations, actions, rewards)


def traced(config: PolicyConfig) -> list[float]:
    """Everything that three steps and one decision show: losses, how the weights add up, what is done."""
    gamma = config.gamma.value(40)
    learner = build_agent(config, toy.SPEC, toy.ACTION_DIM, gamma=gamma, statistics=None, seed=0)
    own = {"cut_short": learner.objective.cut_short, "chosen_by": learner.objective.imitated}
    windows = PairedWindows(data(), config.action_head.chunk, config.n, gamma, **own)
    losses = toy.train(learner, 3, windows=lambda step: windows.batch(0, step, 0, 1, 24))
    weights = [p.double().square().sum().item() for p in learner.parameters()]
    return losses + weights + learner.act(toy.observation(8, 5), Draws(3, 0)).flatten().tolist()


def says_already(name: str, key: str, value: Any) -> bool:
    """True where the policy file has this value, or leaves it to a default that is this value."""
    own = toy.shipped(name).model_dump(mode="json")
    for part in key.split("."):
        own = (own or {}).get(part)
    if key == "n_step" and own == "execute":
        own = toy.shipped(name).n
    return own == value or (own is None and key.endswith("extraction") and value in OBJECTIVES[name].extractions[:1])


def parameters(name: str) -> dict[str, Any]:
    """Another value of every parameter of the objective."""
    others, own = {}, OBJECTIVES[name](toy.shipped(name)).params
    for key, field in type(own).model_fields.items():
        value, kinds = getattr(own, key), field.annotation
        if (name, key) in OTHER:
            others[key] = OTHER[name, key]
        elif get_origin(kinds) is Literal:
            others[key] = next(word for word in get_args(kinds) if word != value)
        elif isinstance(value, bool):
            others[key] = not value
        elif isinstance(value, int) or (value is None and get_origin(kinds) is UnionType and int in get_args(kinds)):
            others[key] = (value or 2) + 1
        else:
            others[key] = 0.6 * (value or 1.0) if value != 0 else 0.5
    return {key: value for key, value in others.items() if (name, key) not in SAME}


def cases() -> list:
    rows = []
    for name in WITH_CRITIC:
        for key, values in SWITCHES.items():
            for value in (v for v in values if not says_already(name, key, v)):
                label = value if isinstance(value, str | int | float) else "other"
                marks = (
                    pytest.mark.slow if name in SUBSET and key != "critic.topology" else ()
                )  # they have it from others
                rows.append(pytest.param(name, key, value, id=f"{name}-{key}-{label}", marks=marks))
        for key, value in parameters(name).items():
            full = f"objective.params.{key}"
            rows.append(pytest.param(name, full, value, id=f"{name}-{full}"))
    return rows


@cache
def as_it_is(name: str) -> list[float]:
    return traced(toy.shipped(name))


@pytest.mark.parametrize(("name", "key", "value"), cases())
def test_a_setting_changes_something_or_is_refused_by_name_and_with_a_remedy(name, key, value):
    file = toy.shipped(name)
    is_refused = key in REFUSED and REFUSED[key](name, file, value)
    try:
        changed = traced(PolicyConfig.model_validate(deep_merge(file.model_dump(mode="json"), nested({key: value}))))
    except UsageError as refusal:
        sentence = str(refusal)
        assert is_refused, sentence
        assert "\n" not in sentence
        assert re.search(rf"\b{key.rpartition('.')[2]}\b", sentence), f"{key} is not named: {sentence}"
        assert re.search(REMEDY, sentence), f"no remedy: {sentence}"
        return
    assert not is_refused, f"{key} is taken"
    assert changed != as_it_is(name)
