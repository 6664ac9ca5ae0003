"""Decisions of a round for a toy agent: made by its own weights, with credit at random."""

from __future__ import annotations

from dataclasses import fields

import torch
import toy_agents as toy

from robo_orl.agent.agent import Agent
from robo_orl.base.rng import Draws
from robo_orl.base.types import DecisionWindow, PairedWindow
from robo_orl.config import PolicyConfig
from robo_orl.objectives.step import Step

SAMPLE = {"selection": {"acting": "sample"}}
HEADS = {"ppo": "gaussian", "fpo": "flow", "reinflow": "flow", "reinforce": "gmm", "grpo": "bins"}
WITH_CRITIC = ("ppo", "fpo", "reinflow")


def policy(name: str, head: str | None = None, topology: str = "shared", **params: object) -> PolicyConfig:
    """A method at debug size, on the head that HEADS has for it."""
    head = head or HEADS[name]
    over = {"n_step": "execute", "objective": {"params": params}}
    over["online"] = {"collection": {"episodes": 4, "group": 2}, "replay": {"mix": "online"}}
    if head != "flow":
        over["online"]["collection"] |= SAMPLE
    if name in WITH_CRITIC:
        over["critic"] = {"topology": topology, "target": "none"}
    return toy.policy(name, head, **over)


def window(learner: Agent, pairs: int = 6, seed: int = 0) -> DecisionWindow:
    """2 x `pairs` decisions: their chunks from the policy, the rest of it made up."""
    made = toy.window(pairs, seed)
    with torch.no_grad():
        halves = []
        for half, obs in enumerate((made.obs, made.next_obs)):
            tokens = learner.backbone(learner.normaliser.observation(obs))
            chunk = learner.objective.likelihood.explore(learner, tokens, 1, Draws(seed, half))[:, 0]
            halves.append(learner.normaliser.raw_actions(chunk))
        made = replaced(made, actions=halves[0], next_actions=halves[1])
        kept = []
        for half in range(2):
            one = made if half == 0 else swapped(made)
            kept.append(learner.objective.keep(Step(learner, one, Draws(seed, half))))
    g = torch.Generator().manual_seed(seed)
    of_both = {name: torch.cat([part[name] for part in kept]) for name in kept[0]}
    of_both |= {name: torch.randn(2 * pairs, generator=g) for name in ("advantage", "target")}
    return DecisionWindow(**{f.name: getattr(made, f.name) for f in fields(PairedWindow)}, kept=of_both)


def replaced(window: PairedWindow, **changes: object) -> PairedWindow:
    """The window with other fields."""
    return type(window)(**{f.name: changes.get(f.name, getattr(window, f.name)) for f in fields(window)})


def swapped(window: PairedWindow) -> PairedWindow:
    """The other half first."""
    w = window
    return replaced(
        w, obs=w.next_obs, next_obs=w.obs, actions=w.next_actions, next_actions=w.actions,
        action_mask=w.next_action_mask, next_action_mask=w.action_mask,
    )  # fmt: skip
