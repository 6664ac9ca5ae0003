"""The oracles themselves, in numpy alone: what is computed from recorded data tends to what the known process has."""

from functools import cache

import numpy as np
import oracles
import pytest
import tabular_mdps as mdps

GAMMA, S = 0.9, 5
CHAIN, LOCK = mdps.chain(S, slip=0.25), mdps.lock(S, slip=0.1)
MDPS = {"chain": CHAIN, "lock": LOCK, "chain_deterministic": mdps.chain(S, 0.0), "lock_slipping": mdps.lock(S, 0.3)}


@cache
def recorded(name: str, n: int = 1, c: int = 1) -> mdps.Rows:
    return mdps.rows(MDPS[name].record(0.5, 400, limit=60), n, c, GAMMA)


@pytest.mark.parametrize("mdp", [CHAIN, LOCK], ids=["chain", "lock"])
def test_of_policy_and_optimal_satisfy_bellmans_equations(mdp):
    optimal, half = mdp.optimal(GAMMA), np.full(S, 0.5)
    best = (optimal.argmax(1) == 1).astype(float)
    np.testing.assert_allclose(mdp.of_policy(best, GAMMA), optimal, atol=1e-9)
    q = mdp.of_policy(half, GAMMA)
    v = q.mean(1) * ~mdp.ends
    np.testing.assert_allclose(q[0, 1], mdp.moves[0, 1] @ (mdp.pay[0, 1] + GAMMA * v))


def test_the_lock_costs_the_steps_that_are_left():
    q = mdps.lock(S).optimal(1.0)
    np.testing.assert_allclose(q.max(1)[:-1], -(S - 2.0 - np.arange(S - 1)))
    np.testing.assert_allclose(q.min(1)[:-1], -(S - 1.0))


@pytest.mark.parametrize("n", [1, 4], ids=["one_step", "four_steps"])
@pytest.mark.parametrize(("name", "tolerance"), [("chain", 0.03), ("lock", 0.2)])
def test_sarsa_tends_to_the_behaviours_q_whatever_n(name, tolerance, n):
    q = mdps.sarsa(recorded(name, n), (S, 2))
    np.testing.assert_allclose(q, MDPS[name].of_policy(np.full(S, 0.5), GAMMA), atol=tolerance)


def test_monte_carlo_returns_agree_with_sarsa_where_nothing_is_cut():
    rows = recorded("chain")
    returns = mdps.mean_by((rows.s, rows.k), rows.returns, (S, 2))
    np.testing.assert_allclose(returns, mdps.sarsa(rows, (S, 2)), atol=0.03)


def test_the_best_of_all_actions_tends_to_q_star():
    q = mdps.of_choice(recorded("chain"), (S, 2), lambda q: q.max(1))
    np.testing.assert_allclose(q, CHAIN.optimal(GAMMA), atol=0.03)


def test_expectiles_lead_from_the_behaviour_to_the_maximum():
    rows, v = recorded("chain"), {}
    for tau in (0.5, 0.7, 0.9, 0.999):
        v[tau] = mdps.implicit(rows, (S, 2), lambda x, tau=tau: mdps.expectile(x, tau))[1][:-1]
    assert (v[0.5] < v[0.7]).all() and (v[0.7] < v[0.9]).all()
    np.testing.assert_allclose(v[0.5], CHAIN.of_policy(np.full(S, 0.5), GAMMA).mean(1)[:-1], atol=0.03)
    np.testing.assert_allclose(v[0.999], CHAIN.optimal(GAMMA).max(1)[:-1], atol=0.03)


def test_uncorrected_steps_bias_a_maximum_towards_the_behaviour():
    """n steps of the behaviour, then the best: between the behaviour's Q and Q*, and lower the larger n."""
    values = [mdps.of_choice(recorded("chain", n), (S, 2), lambda q: q.max(1))[0, 1] for n in (1, 3, 8)]
    assert values[0] > values[1] + 0.02 and values[1] > values[2] + 0.02
    assert values[2] > CHAIN.of_policy(np.full(S, 0.5), GAMMA)[0, 1]


def test_a_chunk_in_a_deterministic_world_has_no_bias():
    q = mdps.of_choice(recorded("chain_deterministic", 2, 2), (S, 4), lambda q: q.max(1))
    np.testing.assert_allclose(q.max(1), MDPS["chain_deterministic"].optimal(GAMMA).max(1), atol=1e-9)


def test_in_a_random_world_a_chunk_cannot_react_and_is_worth_less():
    q = mdps.of_choice(recorded("lock_slipping", 2, 2), (S, 4), lambda q: q.max(1))
    optimal = MDPS["lock_slipping"].optimal(GAMMA)
    assert q.max(1)[0] < optimal.max(1)[0] - 0.05


def test_conservatism_without_weight_is_the_plain_backup_and_lowers_values_with_it():
    rows = recorded("chain")
    plain = mdps.of_choice(rows, (S, 2), lambda q: q[:, 1])
    np.testing.assert_allclose(mdps.conservative(rows, S, 0.0, lambda q: q[:, 1]), plain, atol=1e-4)
    # Where the behaviour is even, the push is down on the better action and up on the worse one, and down on balance.
    low = mdps.conservative(rows, S, 0.5, lambda q: q[:, 1])[:-1]
    assert (low[:, 1] < plain[:-1, 1]).all()


def test_two_levels_tend_to_the_behaviours_value():
    v = mdps.two_levels(recorded("chain", n=3, c=3), S)[1]
    np.testing.assert_allclose(v[:-1], CHAIN.of_policy(np.full(S, 0.5), GAMMA).mean(1)[:-1], atol=0.03)


@pytest.mark.parametrize("mdp", ["chain", "lock_deterministic"])
def test_conservative_values_lie_below_the_backup_by_the_amount_of_the_theorem(mdp):
    """Kumar et al. 2020, theorem 3.2, with w/2 for a squared error without 1/2."""
    rows, q = oracles.data(mdp).only(oracles.data(mdp).valid), oracles.conservative(mdp)["q"]
    y = mdps.mean_by((rows.s, rows.k), rows.reward + rows.discount * q[rows.s2, 1], (S, 2))[:-1]
    share = mdps.mean_by((rows.s,), (rows.k == 1).astype(float), (S,))[:-1]
    soft, shares = np.exp(q[:-1]), np.stack((1 - share, share), 1)
    soft /= soft.sum(1, keepdims=True)
    gap = 0.5 * oracles.WEIGHT * (soft / shares - 1)
    np.testing.assert_allclose(y - q[:-1], gap, atol=1e-4)
    assert ((soft * gap).sum(1) > 0).all()


def test_a_floor_of_returns_lifts_conservative_values():
    plain = mdps.conservative(oracles.data(), S, oracles.WEIGHT, lambda q: q.max(1))
    assert (oracles.calibrated("chain")["q"] - plain)[:-1].max() > 0.02
