"""Values learned by classification (bce, hl_gauss) have the fixed points of the squared error, on tables.

Both cross-entropies are least where the mean of the prediction is the mean of its targets, weighted or not: with
hl_gauss as far as a histogram has the mean of what it was made of, which is all but exact.
"""

from __future__ import annotations

import numpy as np
import pytest
import table_agents as tables
import tabular_mdps as mdps
from oracles import GAMMA, ORACLES, S, data, episodes
from scipy import special

from robo_orl.objectives.step import Step

BINS, RANGES = 25, {"chain": (0.0, 1.0), "lock_deterministic": (-5.0, 0.0)}


def value(raw: np.ndarray, loss: str, bounds: tuple[float, float]) -> np.ndarray:
    """(..., K) -> (...): three bins lie beyond each of the bounds."""
    low, high = bounds
    if loss == "bce":
        return low + (high - low) * special.expit(raw[..., 0])
    return special.softmax(raw, axis=-1) @ (low + (np.arange(BINS) - 3) * (high - low) / (BINS - 7))


@pytest.mark.parametrize(("loss", "atol"), [("bce", 2e-3), ("hl_gauss", 1e-2)])
@pytest.mark.parametrize(("name", "mdp"), [("sarsa_bon", "chain"), ("iql", "chain"), ("qc", "lock_deterministic")])
def test_a_bootstrapped_value_learned_by_classification_has_its_fixed_point(name, mdp, loss, atol):
    oracle, bounds = ORACLES[name], RANGES[mdp]
    how = {key: oracle.how[key] for key in ("right", "objective") if key in oracle.how}
    critic = {"loss": loss, "value_range": list(bounds)} | ({"bins": BINS} if loss == "hl_gauss" else {})
    learner = tables.table_agent(name, S, gamma=GAMMA, critic=critic, **how)
    tables.descend(learner, tables.window_of(episodes(mdp), S, 1, 1, GAMMA), steps=220)
    for table, expected in oracle.theory(mdp).items():
        raw = getattr(learner.critic, f"{table}_table").detach().double().numpy()
        for estimate in value(raw, loss, bounds):
            wide = atol * (bounds[1] - bounds[0])
            np.testing.assert_allclose(estimate[:-1], expected[:-1], atol=wide)  # nothing is recorded in the last state


@pytest.mark.parametrize(("loss", "objective"), [("hl_gauss", "recap"), ("bce", "mc_awr"), ("bce", "recap")])
def test_a_value_learned_by_classification_is_the_mean_return_too(loss, objective):
    learner = tables.table_agent(objective, S, gamma=GAMMA, critic={"loss": loss})
    window, rows = tables.window_of(episodes("chain"), S, 1, 1, GAMMA), data()
    tables.descend(learner, window, steps=120)
    step = Step(learner, window, tables.Draws(0, 0))
    estimate = step.v("now").value.detach()[0].numpy()
    np.testing.assert_allclose(estimate, mdps.mean_by((rows.s,), rows.returns, (S,))[rows.s], atol=2e-3)
