"""Whole agents on a one-decision problem: half of the data does the right thing, and a critic has to find out which."""

import pytest
import torch
import toy_agents as toy

from robo_orl.objectives import OBJECTIVES
from robo_orl.rng import Draws
from robo_orl.types import Observation, PairedWindow

STEPS, PAIRS, LR = 300, 32, 1e-3
IMITATION = {"bc": 0.5}  # what a sampler of the data does
EXTRACTIONS = {"iql": ("best_of_n", "advantage_condition", "distil"), "sarsa_bon": ("distil",)}
CASES = {name: {} for name in OBJECTIVES if name != "filtered_bc"} | {
    f"{name}_{kind}": {"objective": {"name": name, "extraction": kind}}
    for name, kinds in EXTRACTIONS.items()
    for kind in kinds
}


def window(step: int) -> PairedWindow:
    """Chunks around +0.5 earn 1, chunks around -0.5 earn 0; the next observation tells which it was."""
    g = torch.Generator().manual_seed(step)
    good = torch.rand(PAIRS, generator=g) < 0.5
    sign = torch.where(good, 1.0, -1.0)[:, None, None]
    base = toy.window(PAIRS, seed=step)
    noise = 0.1 * torch.randn(PAIRS, toy.CHUNK, toy.ACTION_DIM, generator=g)
    after = toy.observation(PAIRS, seed=10_000 + step).low_dim | {"object": sign[:, 0].expand(-1, 9).clone()}
    whole = torch.ones(PAIRS, toy.CHUNK, dtype=torch.bool)
    changed = {
        "next_obs": Observation(after, {}),
        "actions": 0.5 * sign + noise,
        "next_actions": 0.5 * sign + noise.flip(0),
        "action_mask": whole,
        "next_action_mask": whole,
        "reward": good.float(),
        "discount": torch.full((PAIRS,), 0.1),
        "td_valid": torch.ones(PAIRS, dtype=torch.bool),
        "return_to_go": good.float(),
        "next_return_to_go": good.float(),
        "success": good,
    }
    return PairedWindow(**{**vars(base), **changed})


def share_of_good_chunks(config) -> float:
    learner = toy.agent(config)
    optimiser = torch.optim.AdamW([{"params": p, "lr": LR} for p in learner.parameter_groups().values()])
    for step in range(STEPS):
        loss, _ = learner(window(step), Draws(0, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        learner.update_targets()
    return (learner.act(toy.observation(128, seed=99), Draws(1, 0)).mean((1, 2)) > 0).float().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "over"), CASES.items(), ids=CASES)
def test_a_critic_finds_the_better_half_of_the_data(name, over):
    head = {} if name in ("td3_bc", "cql", "cal_ql") else {"action_head": {"kind": "flow"}}
    file = over["objective"]["name"] if over else name
    share = share_of_good_chunks(toy.shipped(file, **head, **over))
    if name in IMITATION:
        assert share == pytest.approx(IMITATION[name], abs=0.15)
    else:
        assert share > 0.7
