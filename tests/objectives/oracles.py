"""For every objective with a critic: how its tables are solved on recorded data, and what its theory has there.

The fixed points are computed from the episodes by numpy (tabular_mdps.py); windows, losses, targets and the agent are
the package's own. The data end in terminals and in timeouts, and the two must be kept apart for any of this to hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import table_agents as tables
import tabular_mdps as mdps

GAMMA, S = 0.8, 5
MDPS = {
    "chain": mdps.chain(S, slip=0.25),
    "chain_deterministic": mdps.chain(S, slip=0.0),
    "lock": mdps.lock(S, slip=0.1),
    "lock_deterministic": mdps.lock(S),
}
SWEEPS = 55  # 0.8 ** 55 is 5e-6
Tables = dict[str, np.ndarray]  # q (S, K), v (S,), and chunks (S, K) of a critic of whole chunks


@cache
def episodes(name: str) -> list[mdps.Episode]:
    episodes = MDPS[name].record(0.5, 25, limit=14)
    assert any(e.terminal for e in episodes) and not all(e.terminal for e in episodes)
    return episodes


def data(mdp: str = "chain", n: int = 1, c: int = 1, cut_short: bool = False) -> mdps.Rows:
    return mdps.rows(episodes(mdp), n, c, GAMMA, cut_short)


def solved(name: str, mdp: str = "chain", chunk: int = 1, n: int = 1, **over) -> tables.Agent:
    how = {key: over.pop(key) for key in ("sweeps", "rate", "v_rate", "draws") if key in over}
    learner = tables.table_agent(name, S, chunk=chunk, n=n, gamma=GAMMA, **over)
    window = tables.window_of(episodes(mdp), S, chunk, n, GAMMA, learner.objective.cut_short)
    tables.relax(learner, window, **({"sweeps": SWEEPS} | how))
    return learner


def q_of(learner: tables.Agent) -> np.ndarray:
    """(S, K), the same for every member of the ensemble."""
    return _one_of_all(learner.critic.q_table)


def v_of(learner: tables.Agent) -> np.ndarray:
    """(S,)."""
    return learner.critic.v_table.detach()[0, :, 0].numpy()


def chunks_of(learner: tables.Agent) -> np.ndarray:
    """(S, K): DQC's critic of whole chunks."""
    return _one_of_all(learner.extra["critic_chunk"].q_table)


def _one_of_all(table: tables.Tensor) -> np.ndarray:
    table = table.detach().squeeze(-1).numpy()
    np.testing.assert_allclose(table, np.broadcast_to(table[:1], table.shape))
    return table[0]


FOUND = {"q": q_of, "v": v_of, "chunks": chunks_of}


def params(**values) -> dict:
    return {"params": values}


# ------------------------------------------------------------------------------------------------------------- oracles


@dataclass(frozen=True)
class Oracle:
    """theory: name of an MDP -> its tables. how: the arguments of `solved`. atol: of the comparison."""

    theory: Callable[[str], Tables]
    how: dict
    atol: float = 1e-4

    def check(self, name: str, mdp: str) -> None:
        learner, expected = solved(name, mdp, **self.how), self.theory(mdp)
        for table, values in expected.items():
            learned = FOUND[table](learner)[tuple(slice(size) for size in values.shape)]
            np.testing.assert_allclose(learned, values, atol=self.atol, err_msg=table)


def of_behaviour(mdp: str) -> Tables:
    return {"q": mdps.sarsa(data(mdp), (S, 2))}


def of_subgoals(mdp: str, n: int = 3) -> Tables:
    return dict(zip("qv", mdps.two_levels(data(mdp, n, n, cut_short=True), S), strict=True))


def of_returns(mdp: str) -> Tables:
    rows = data(mdp)
    q, v = (mdps.mean_by(keys, rows.returns, (S, 2)[: len(keys)]) for keys in ((rows.s, rows.k), (rows.s,)))
    return {"q": q, "v": v}


def mean_return(mdp: str) -> Tables:
    return {"v": of_returns(mdp)["v"]}


def of_expectile(mdp: str) -> Tables:
    return dict(zip("qv", mdps.implicit(data(mdp), (S, 2), lambda x: mdps.expectile(x, 0.9)), strict=True))


def of_quantile(mdp: str) -> Tables:
    short = np.array([mdps.chunk_of(e, t, 1) for e in episodes(mdp) for t in range(len(e.states))])
    fixed_points = mdps.decoupled(data(mdp, 2, 2), short, (S, 2), kappa_d=0.5, kappa_b=0.9)
    return dict(zip(("chunks", "q", "v"), fixed_points, strict=True))


def of_best(mdp: str) -> Tables:
    return {"q": mdps.of_choice(data(mdp), (S, 2), lambda q: q.max(1))}


def of_policy(*share: float) -> Callable[[str], Tables]:
    """Of the policy that takes each action with this probability."""
    return lambda mdp: {"q": mdps.of_choice(data(mdp), (S, 2), lambda q: q @ np.array(share))}


KAPPA = 0.1


def soft(mdp: str) -> Tables:
    """Of action 1 with the entropy that the policy is said to have, ln 2, at every step."""
    return {"q": mdps.of_choice(data(mdp), (S, 2), lambda q: q[:, 1] + KAPPA * np.log(2))}


WEIGHT = 0.5  # of the penalty


@cache
def conservative(mdp: str) -> Tables:
    return {"q": mdps.conservative(data(mdp), S, WEIGHT, lambda q: q[:, 1])}


@cache
def calibrated(mdp: str) -> Tables:
    return {"q": mdps.conservative(data(mdp), S, WEIGHT, lambda q: q.max(1), floor=data(mdp).returns)}


EXPECTILE = {"objective": params(expectile=0.9), "v_rate": lambda k: 1 / 0.9, "sweeps": 100}
# A quantile's gradient does not shrink on the way: it takes long steps first.
QUANTILE = {"chunk": 2, "n": 2, "sweeps": 180, "v_rate": lambda k: 8 * 0.94**k}
BOTH = {"right": 0.5, "objective": params(num_samples=2)}
MIXED = {"right": 0.75, "objective": params(num_samples=4)}  # three samples of four are action 1
PENALTY = {"right": 0.5, "draws": tables.Corners, "objective": params(num_actions=2, min_q_weight=WEIGHT)}
# Cal-QL's has a kink, at the floor: its last steps have to be short.
KINK = PENALTY | {"sweeps": 150, "rate": lambda k: 0.5 * 0.98**k}

ORACLES = {
    "sarsa_bon": Oracle(of_behaviour, {}),
    "sharsa": Oracle(of_subgoals, {"chunk": 3, "n": 3}),
    "mc_awr": Oracle(of_returns, {"sweeps": 2, "objective": params(advantage="q")}, 1e-5),
    "recap": Oracle(mean_return, {"sweeps": 2}, 1e-5),
    "iql": Oracle(of_expectile, EXPECTILE),
    "idql": Oracle(of_expectile, EXPECTILE),
    "dqc": Oracle(of_quantile, QUANTILE),
    "qc": Oracle(of_best, BOTH),
    "bcq": Oracle(of_best, BOTH),
    "awac": Oracle(of_policy(0.25, 0.75), MIXED),
    "mpo": Oracle(of_policy(0.25, 0.75), MIXED),
    "crr": Oracle(of_policy(0, 1), {"right": 1.0}),
    "td3_bc": Oracle(of_policy(0, 1), {"right": 1.0, "objective": params(policy_noise=0)}),
    "fql": Oracle(of_policy(1, 0), {"right": 0.0}),
    "qc_fql": Oracle(of_policy(0, 1), {"right": 1.0}),
    "sac": Oracle(soft, {"right": 1.0, "objective": params(first_kappa=KAPPA)}),
    "cql": Oracle(conservative, PENALTY | {"sweeps": 100, "rate": lambda k: 0.5}, 1e-3),
    "cal_ql": Oracle(calibrated, KINK, 2e-3),
    "residual": Oracle(of_policy(0, 1), {"right": 1.0, "objective": params(policy_noise=0)}),
    "edit": Oracle(of_best, {"right": 0.5, "objective": params(num_samples=2, beta=1e-7)}),
    "dsrl": Oracle(of_policy(0, 1), {"right": 1.0, "objective": params(backup_entropy=False)}),
}
