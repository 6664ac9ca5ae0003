"""Every critic-based objective, on tables, converges to the fixed point that its theory has on the recorded data.

Oracles and how they are reached are in oracles.py; here are all of them, and what sets some of them apart.
"""

import numpy as np
import pytest
import table_agents as tables
import tabular_mdps as mdps
import torch
from oracles import GAMMA, MDPS, ORACLES, S, data, episodes, of_subgoals, params, q_of, solved, v_of
from policy_files import FROM_DATA

from robo_orl.objectives import OBJECTIVES

WITH_CRITIC = [name for name in FROM_DATA if OBJECTIVES[name].heads]


@pytest.mark.parametrize("mdp", ["chain", "lock", "lock_deterministic"])
@pytest.mark.parametrize("name", WITH_CRITIC)
def test_every_objective_finds_the_fixed_point_of_its_theory(name, mdp):
    assert name in ORACLES, f"oracles.py has no fixed point of {name}"
    ORACLES[name].check(name, mdp)


# --------------------------------------------------------------------------------- values of the behaviour, and returns


@pytest.mark.parametrize(("n", "chunk"), [(3, 1), (2, 2)], ids=["three_steps", "chunk_of_two"])
@pytest.mark.parametrize("mdp", MDPS)
def test_sarsa_finds_the_behaviours_q_over_several_steps(mdp, n, chunk):
    learned = q_of(solved("sarsa_bon", mdp, chunk, n))
    np.testing.assert_allclose(learned, mdps.sarsa(data(mdp, n, chunk), (S, 2**chunk)), atol=1e-4)


def test_sharsa_of_single_steps_finds_the_behaviours_value_through_its_subgoals():
    learner, expected = solved("sharsa"), of_subgoals("chain", n=1)
    np.testing.assert_allclose(q_of(learner), expected["q"], atol=1e-4)
    np.testing.assert_allclose(v_of(learner), expected["v"], atol=1e-4)


# ------------------------------------------------------------------------------------------------- values of a maximum


@pytest.mark.parametrize("expectile", [0.5, 0.7])
def test_iql_finds_the_fixed_point_of_other_expectiles(expectile):
    v_rate = 1 / max(expectile, 1 - expectile)  # an exact regression where all the data lie on one side
    learner = solved("iql", "lock", objective=params(expectile=expectile), sweeps=100, v_rate=lambda k: v_rate)
    q, v = mdps.implicit(data("lock"), (S, 2), lambda x: mdps.expectile(x, expectile))
    np.testing.assert_allclose(q_of(learner), q, atol=1e-4)
    np.testing.assert_allclose(v_of(learner), v, atol=1e-4)


def test_the_mean_is_the_expectile_one_half():
    rows = data()
    q, _ = mdps.implicit(rows, (S, 2), lambda x: mdps.expectile(x, 0.5))
    share = mdps.mean_by((rows.s[rows.valid],), (rows.k[rows.valid] == 1).astype(float), (S,))
    expected = mdps.of_choice(rows, (S, 2), lambda q: q[:, 0] * (1 - share) + q[:, 1] * share)
    np.testing.assert_allclose(q, expected, atol=1e-9)


@pytest.mark.parametrize(("n", "chunk"), [(3, 1), (2, 2)], ids=["uncorrected", "chunked"])
def test_longer_backups_have_their_own_fixed_points(n, chunk):
    learner = solved("iql", chunk=chunk, n=n)
    q, v = mdps.implicit(data(n=n, c=chunk), (S, 2**chunk), lambda x: mdps.expectile(x, 0.9))
    np.testing.assert_allclose(q_of(learner), q, atol=1e-4)
    np.testing.assert_allclose(v_of(learner), v, atol=1e-4)
    one_step = mdps.implicit(data(), (S, 2), lambda x: mdps.expectile(x, 0.9))[1]
    assert np.abs(v - one_step)[:-1].max() > 0.02  # the bias is there to be seen


@pytest.mark.parametrize("mdp", ["chain_deterministic", "lock_deterministic"])
def test_in_a_deterministic_world_that_is_q_star_and_its_greedy_policy_is_optimal(mdp):
    learner = solved("qc", mdp, right=0.5, objective=params(num_samples=2))
    optimal = MDPS[mdp].optimal(GAMMA)
    np.testing.assert_allclose(q_of(learner), optimal, atol=1e-4)
    acted = tables.greedy(learner, S)
    assert (acted[:-1] == optimal.argmax(1)[:-1]).all()


def test_a_chunk_is_valued_open_loop():
    learner = solved("qc", chunk=2, n=2, right=0.5, objective=params(num_samples=4))
    expected = mdps.of_choice(data(n=2, c=2), (S, 4), lambda q: q.max(1))
    np.testing.assert_allclose(q_of(learner), expected, atol=1e-4)


# -------------------------------------------------------------------------------------------------- values of a policy


@pytest.mark.parametrize("objective", ["crr", "mpo", "td3_bc"])
def test_what_is_backed_up_is_the_slow_policy_and_not_the_learned_one(objective):
    over = {"objective": params(policy_noise=0)} if objective == "td3_bc" else {}
    learner = tables.table_agent(objective, S, gamma=GAMMA, right=1.0, **over)
    learner.slow_head = tables.TablePolicy(np.zeros(S), 1)  # it takes action 0, everywhere
    tables.relax(learner, tables.window_of(episodes("lock"), S, 1, 1, GAMMA), 55)
    expected = mdps.of_choice(data("lock"), (S, 2), lambda q: q[:, 0])
    np.testing.assert_allclose(q_of(learner), expected, atol=1e-4)


def test_qc_fql_finds_the_value_of_its_chunks():
    expected = mdps.of_choice(data(n=2, c=2), (S, 4), lambda q: q[:, 3])
    np.testing.assert_allclose(q_of(solved("qc_fql", chunk=2, n=2, right=1.0)), expected, atol=1e-4)


# ------------------------------------------------------------------------------------------------------- what they need


def test_a_timeout_is_no_terminal():
    rows = data()
    as_terminals = mdps.rows(
        [mdps.Episode(e.states, e.actions, e.rewards, True) for e in episodes("chain")], 1, 1, GAMMA
    )
    difference = mdps.sarsa(as_terminals, (S, 2)) - mdps.sarsa(rows, (S, 2))
    assert np.abs(difference).max() > 0.01  # far above the tolerances here: mistaking one for the other is seen


def test_what_was_never_recorded_keeps_its_first_value():
    only_right = [mdps.Episode(e.states, np.ones_like(e.actions), e.rewards, e.terminal) for e in episodes("chain")]
    learner = tables.table_agent("sarsa_bon", S, gamma=GAMMA)
    tables.relax(learner, tables.window_of(only_right, S, 1, 1, GAMMA), 5)
    assert (q_of(learner)[:, 0] == 0).all() and (q_of(learner)[:-1, 1] > 0).all()


def test_the_ensembles_minimum_is_taken_over_members_and_not_over_actions():
    learner = tables.table_agent("sarsa_bon", S, gamma=GAMMA, critic={"aggregate": "min", "ensemble": 3})
    values = torch.tensor([[1.0, 5.0], [2.0, 3.0], [4.0, 0.0]])
    assert learner.aggregate(values).tolist() == [1.0, 0.0]
