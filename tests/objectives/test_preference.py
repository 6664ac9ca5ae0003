"""Whole agents on a one-decision problem: half of the data does the right thing, and a critic has to find out which."""

import pytest
import torch
import toy_agents as toy
from policy_files import FROM_DATA

from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation, PairedWindow
from robo_orl.config import PolicyConfig

STEPS, PAIRS, LR = 200, 32, 1e-3
NEAR = {"objective": {"params": {"alpha": 0.03}}}  # the halves lie far apart for a policy near a flow
OWN = {"fql": NEAR, "qc_fql": NEAR, "mpo": {"objective": {"params": {"alpha": 0.1}}}}  # mpo clones half of its time
NO_PREFERENCE = ("bc", "filtered_bc", "top_bc", "oracle_competent")
CASES = {name: (name, OWN.get(name, {})) for name in FROM_DATA if name not in NO_PREFERENCE} | {
    "iql_advantage_condition": ("iql", {"objective": {"extraction": "advantage_condition"}}),
    "iql_distil": ("iql", {"objective": {"extraction": {"kind": "distil", "params": {"alpha": 0.03}}}}),
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


def share_of_good_chunks(config: PolicyConfig) -> float:
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
@pytest.mark.parametrize(("name", "over"), CASES.values(), ids=CASES)
def test_the_better_half_of_the_data_is_found(name, over):
    assert share_of_good_chunks(with_flow(name, over)) > 0.75


@pytest.mark.slow
def test_cloning_does_both_halves():
    assert 0.2 < share_of_good_chunks(toy.shipped("bc_flow")) < 0.8


def with_flow(name: str, over: dict) -> PolicyConfig:
    """The objective's policy file; where it clones a median (L1), with a head that tells the halves apart."""
    head = {"action_head": {"kind": "flow"}} if name in ("mc_awr", "return_conditioned") else {}
    return toy.shipped(name, **head, **over)
