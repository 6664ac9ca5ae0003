"""Small processes on which a critic must pay: cloning, whatever it filters, stays behind, and values find the best way.

The data are those of the regimes half_fast and never_whole in the small. Objectives, agents and windows are the
package's own on tables; the best value comes from trying all policies, one linear solve each, in numpy.
"""

from functools import cache
from itertools import product

import numpy as np
import pytest
import table_agents as tables
import tabular_mdps as mdps
import torch
import torch.nn.functional as F
from oracles import params

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig
from robo_orl.objectives.step import Step
from robo_orl.objectives.top_bc import TopBC

GAMMA = 0.8
MAZE, DOORS, ROOM = mdps.maze(), (0, 3, 6), 3
LOCK = mdps.lock(7)
CODE = LOCK.moves[np.arange(6), 1, np.arange(1, 7)].astype(int)  # (6,) the action that moves on from each state
PROCESSES = {"maze": MAZE, "lock": LOCK}


def walked(mdp: mdps.MDP, start: int, actions: list[int]) -> mdps.Episode:
    """The episode of these actions; it ends in a terminal where it reaches one, else it is cut."""
    states, rewards, s = [], [], start
    for a in actions:
        after = int(mdp.moves[s, a].argmax())
        states.append(s)
        rewards.append(mdp.pay[s, a, after])
        s = after
    return mdps.Episode(np.array(states), np.array(actions), np.array(rewards), bool(mdp.ends[s]))


def straight_in(room: int) -> mdps.Episode:
    """Straight through one room, round the others."""
    return walked(MAZE, 0, [a for i in range(len(DOORS)) for a in ([1] if i == room else [0, 1, 1])])


@cache
def data(name: str) -> list[mdps.Episode]:
    """maze: every episode leaves, straight through one room of three; all returns are equal. lock: pieces of
    two steps that begin everywhere, in which two actions of three are wrong. None opens the lock from its start."""
    if name == "maze":
        return [straight_in(room) for room in range(len(DOORS))]
    pieces = []
    for start, choices in product(range(6), product("wwr", repeat=2)):
        s, actions = start, []
        while len(actions) < 2 and s < 6:
            actions.append(int(CODE[s] if choices[len(actions)] == "r" else 1 - CODE[s]))
            s = int(LOCK.moves[s, actions[-1]].argmax())
        pieces.append(walked(LOCK, start, actions))
    return pieces


class Learned(tables.TablePolicy):
    """A policy of one logit per state and action; its loss is the cross-entropy of the action taken."""

    def __init__(self, states: int):
        super().__init__(np.zeros(states), 1)
        self.logits = torch.nn.Parameter(torch.zeros(states, 2))

    def loss(self, tokens, actions, mask, draws, streams):
        logits = tokens[:, 0, : len(self.logits)] @ self.logits
        return F.cross_entropy(logits, (actions[:, 0, 0] > 0).long(), reduction="none")


def cloned(objective: str, name: str) -> np.ndarray:
    """(S,): the probability of action 1 that the objective's own loss makes of the data."""
    mdp = PROCESSES[name]
    config = {"name": objective, "objective": {"name": objective}, "action_head": {"chunk": 1, "execute": 1}}
    learner = build_agent(PolicyConfig.model_validate(config), {"state": mdp.states}, 1, GAMMA, None, seed=0)
    learner.backbone, learner.action_head = tables.OneHot(), Learned(mdp.states)
    window = tables.window_of(data(name), mdp.states, 1, 1, GAMMA)
    optimiser = torch.optim.Adam(learner.action_head.parameters(), lr=0.1)
    for k in range(150):
        terms, _ = learner.objective.losses(Step(learner, window, Draws(0, k)))
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
    return learner.action_head.logits.detach().softmax(-1)[:, 1].double().numpy()


CRITICS = {  # objective -> its parameters, the share of action 1 among its policy's proposals, the rate of V
    "qc": (params(num_samples=2), 0.5, None),
    "iql": (params(expectile=0.9), 1.0, lambda sweep: 1 / 0.9),
    "sarsa_bon": ({}, 1.0, None),
}


def chosen(name: str, process: str) -> np.ndarray:
    """(S,): the action of the highest value in each state, by the objective's critic on the data."""
    mdp, (own, right, rate) = PROCESSES[process], CRITICS[name]
    learner = tables.table_agent(name, mdp.states, gamma=GAMMA, right=right, objective=own)
    sweeps = 300 if process == "lock" else 100  # of a piece's two frames only the first backs up
    tables.relax(learner, tables.window_of(data(process), mdp.states, 1, 1, GAMMA), sweeps, v_rate=rate)
    return tables.greedy(learner, mdp.states).astype(float)


@pytest.mark.parametrize("name", PROCESSES)
def test_trying_all_policies_finds_what_value_iteration_finds(name):
    mdp = PROCESSES[name]
    np.testing.assert_allclose(mdps.best_by_trying(mdp, GAMMA), mdp.optimal(GAMMA).max(1), atol=1e-9)


def test_the_best_values_are_those_that_a_hand_can_count():
    assert mdps.best_by_trying(MAZE, GAMMA)[0] == pytest.approx(GAMMA**2)  # three steps, paid in the third
    assert mdps.best_by_trying(LOCK, GAMMA)[0] == pytest.approx(-(1 + 0.8 + 0.64 + 0.512 + 0.4096))  # five that cost 1


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("objective", ["bc", "filtered_bc"])
def test_cloning_cannot_win_by_its_samples_nor_by_its_mode(objective, name):
    mdp, right = PROCESSES[name], cloned(objective, name)
    best, worst = (
        mdps.best_by_trying(mdp, GAMMA)[0],
        -mdps.best_by_trying(mdps.MDP(mdp.moves, -mdp.pay, mdp.ends), GAMMA)[0],
    )
    for policy in (right, np.round(right)):
        reached = mdps.value_of(mdp, np.where(mdp.ends, 0.0, policy), GAMMA)[0]
        assert (reached - worst) / (best - worst) < 0.5


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_reaches_the_best_value_from_every_state(name, process):
    mdp = PROCESSES[process]
    reached = mdps.value_of(mdp, np.where(mdp.ends, 0.0, chosen(name, process)), GAMMA)
    np.testing.assert_allclose(reached, mdps.best_by_trying(mdp, GAMMA), atol=1e-9)


def test_all_returns_of_the_maze_are_equal_so_that_no_ranking_of_episodes_says_anything():
    returns = np.array([(e.rewards * GAMMA ** np.arange(len(e.rewards))).sum() for e in data("maze")])
    np.testing.assert_allclose(returns, returns[0])
    config = PolicyConfig.model_validate({"name": "top", "objective": {"name": "top_bc"}})
    with pytest.raises(UsageError, match="have the same return"):
        TopBC(config).imitated(returns)


def test_returns_alone_cannot_tell_the_ways_at_the_first_door_and_backups_can():
    rows = mdps.rows(data("maze"), 1, 1, GAMMA)
    mean = mdps.mean_by((rows.s, rows.k), rows.returns, (MAZE.states, 2))
    assert mean[0, 0] == pytest.approx(mean[0, 1])
    backed_up = mdps.sarsa(rows, (MAZE.states, 2))
    assert backed_up[0, 1] > 1.2 * backed_up[0, 0]


def test_no_piece_opens_the_lock_from_its_start_and_each_step_is_in_one():
    assert not any(e.terminal for e in data("lock") if e.states[0] == 0)
    taken = {(s, a) for e in data("lock") for s, a in zip(e.states.tolist(), e.actions.tolist(), strict=True)}
    assert {(s, int(a)) for s, a in enumerate(CODE)} <= taken
