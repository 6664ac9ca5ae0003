"""Small decision processes, data recorded in them, and what offline methods must make of these data: numpy alone.

Nothing here uses the package. Backups are plain sums over the recorded frames; fixed points are found by repeating
them. Letters: S states, A = 2 actions, T frames of an episode, n frames of a backup, c actions that a value covers. A
chunk of c actions is numbered by its bits, the first action the highest one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import optimize

SWEEPS = 1000
Summary = Callable[[np.ndarray], np.ndarray | float]


@dataclass(frozen=True)
class MDP:
    """moves: (S, 2, S) probabilities; pay: (S, 2, S) rewards; ends: (S,) bool. Episodes start in state 0."""

    moves: np.ndarray
    pay: np.ndarray
    ends: np.ndarray

    @property
    def states(self) -> int:
        return len(self.ends)

    def optimal(self, gamma: float) -> np.ndarray:
        """Q* (S, 2), zero in states that end."""
        q = np.zeros((self.states, 2))
        for _ in range(SWEEPS):
            q = self._backup(q.max(1), gamma)
        return q

    def of_policy(self, right: np.ndarray, gamma: float) -> np.ndarray:
        """Q (S, 2) of the policy that takes action 1 with probability right (S,): a linear solve."""
        chosen = np.stack((1 - right, right), 1)
        alive = ~self.ends
        step = np.einsum("sa,sat->st", chosen, self.moves) * alive[:, None] * alive[None]
        reward = np.einsum("sa,sat,sat->s", chosen, self.moves, self.pay) * alive
        return self._backup(np.linalg.solve(np.eye(self.states) - gamma * step, reward), gamma)

    def _backup(self, v: np.ndarray, gamma: float) -> np.ndarray:
        q = np.einsum("sat,sat->sa", self.moves, self.pay + gamma * (v * ~self.ends))
        return q * ~self.ends[:, None]

    def record(self, right: float | np.ndarray, episodes: int, limit: int, seed: int = 0) -> list[Episode]:
        """Episodes of a behaviour that takes action 1 with probability right; a timeout after `limit` frames."""
        draw, right = np.random.default_rng(seed), np.broadcast_to(right, self.states)
        return [self._episode(draw, right, limit) for _ in range(episodes)]

    def _episode(self, draw: np.random.Generator, right: np.ndarray, limit: int) -> Episode:
        s, rows = 0, []
        while len(rows) < limit and not self.ends[s]:
            a = int(draw.random() < right[s])
            after = int(np.searchsorted(self.moves[s, a].cumsum(), draw.random(), side="right"))
            rows.append((s, a, self.pay[s, a, after]))
            s = after
        states, actions, rewards = (np.array(column) for column in zip(*rows, strict=True))
        return Episode(states, actions, rewards.astype(float), bool(self.ends[s]))


@dataclass(frozen=True)
class Episode:
    """states, actions, rewards: (T,). terminal: it ended in a state that ends, not in a timeout."""

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminal: bool


def chain(states: int = 5, slip: float = 0.25) -> MDP:
    """Action 1 moves right, with probability slip it stays; action 0 stays. Reaching the last state pays 1 and ends."""
    moves, pay = np.zeros((states, 2, states)), np.zeros((states, 2, states))
    for s in range(states - 1):
        moves[s, 0, s] = 1.0
        moves[s, 1, s], moves[s, 1, s + 1] = slip, 1 - slip
    moves[-1, :, -1] = 1.0
    pay[states - 2, 1, states - 1] = 1.0
    return MDP(moves, pay, np.arange(states) == states - 1)


def lock(states: int = 5, slip: float = 0.0, seed: int = 3) -> MDP:
    """A combination lock: in each state one action, drawn beforehand, moves on, and the other goes back to the start.

    With probability slip the right action does too. Every step costs 1, the one that opens costs nothing.
    """
    code = np.random.default_rng(seed).integers(0, 2, states)
    moves, pay = np.zeros((states, 2, states)), np.full((states, 2, states), -1.0)
    for s in range(states - 1):
        moves[s, 1 - code[s], 0] = 1.0
        moves[s, code[s], s + 1] = 1 - slip
        moves[s, code[s], 0] += slip
    moves[-1, :, -1] = 1.0
    pay[states - 2, code[states - 2], states - 1] = 0.0
    return MDP(moves, pay, np.arange(states) == states - 1)


def maze(rooms: int = 3, way_round: int = 2) -> MDP:
    """Rooms in a row: at the door of each, action 1 leads straight to the next one, action 0 on a way round of so many
    cells, in which both actions go on. Leaving the last room pays 1 and ends. Room i begins at state i (1 + way_round).
    """
    size = 1 + way_round
    states = rooms * size + 1
    moves = np.zeros((states, 2, states))
    for s in range(states - 1):
        door = s - s % size + size
        moves[s, 0, s + 1] = 1.0  # the last cell of a way round lies before the next door
        moves[s, 1, door if s % size == 0 else s + 1] = 1.0
    moves[-1, :, -1] = 1.0
    pay = np.zeros((states, 2, states))
    pay[:-1, :, -1] = 1.0
    return MDP(moves, pay, np.arange(states) == states - 1)


def best_by_trying(mdp: MDP, gamma: float) -> np.ndarray:
    """V* (S,): the best value of each state over all 2^S deterministic policies, each solved on its own."""
    plans = product((0.0, 1.0), repeat=int((~mdp.ends).sum()))
    values = [value_of(mdp, np.append(plan, np.zeros(int(mdp.ends.sum()))), gamma) for plan in plans]
    return np.max(values, axis=0)


def value_of(mdp: MDP, right: np.ndarray, gamma: float) -> np.ndarray:
    """V (S,) of the policy that takes action 1 with probability right (S,); the states that end are the last ones."""
    return (mdp.of_policy(right, gamma) * np.stack((1 - right, right), 1)).sum(1)


# ----------------------------------------------------------------------------------------------------- what is recorded


@dataclass(frozen=True)
class Rows:
    """One row per recorded frame: (s, k) with k the chunk of c actions, the n-step backup from it, and its return.

    reward: discounted sum over the frames until s2 or the end; discount: gamma^n, 0 where the episode ended before;
    valid: no timeout cuts the backup. s2, k2: state and chunk n frames on. known2: k2 ends in the episode or its
    terminal. end: the backup reaches a terminal.
    """

    s: np.ndarray
    k: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    valid: np.ndarray
    s2: np.ndarray
    k2: np.ndarray
    known2: np.ndarray
    returns: np.ndarray

    def only(self, chosen: np.ndarray) -> Rows:
        return Rows(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def rows(episodes: list[Episode], n: int, c: int, gamma: float, cut_short: bool = False) -> Rows:
    """The backups of every frame, in the order of the data. cut_short: to the frame that a timeout makes last."""
    rows = [row for e in episodes for row in _rows(e, n, c, gamma, cut_short)]
    return Rows(*(np.array(column) for column in zip(*rows, strict=True)))


def _rows(e: Episode, most: int, c: int, gamma: float, cut_short: bool) -> list[tuple]:
    length, returns, rows = len(e.states), np.append(e.rewards, 0.0), []
    for t in reversed(range(length)):
        returns[t] += gamma * returns[t + 1]
    for t in range(length):
        left = length - 1 - t
        n = left if cut_short and not e.terminal and 0 < left < most else most
        inside, after = t + n < length, (t + n) % length
        reward = sum(gamma**i * e.rewards[t + i] for i in range(min(n, length - t)))
        rows.append((
            e.states[t], chunk_of(e, t, c), reward, gamma**n if inside else 0.0, inside or e.terminal,
            e.states[after], chunk_of(e, after, c), e.terminal or after + c <= length, returns[t],
        ))  # fmt: skip
    return rows


def chunk_of(e: Episode, t: int, c: int) -> int:
    """The number of the chunk from frame t; the last action is repeated past the end."""
    actions = [int(e.actions[min(t + i, len(e.actions) - 1)]) for i in range(c)]
    return sum(a << (c - 1 - i) for i, a in enumerate(actions))


# --------------------------------------------------------------------------------------------------------- fixed points


def repeated(backup: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """The fixed point of a contraction."""
    for _ in range(SWEEPS):
        old, x = x, backup(x)
        if np.abs(x - old).max() < 1e-10:
            return x
    raise AssertionError("no fixed point found")


def mean_by(keys: tuple[np.ndarray, ...], values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mean of the values of each cell; 0 where there is none."""
    cell = np.ravel_multi_index(keys, shape)
    total, count = (np.bincount(cell, w, np.prod(shape)).reshape(shape) for w in (values, None))
    return np.divide(total, count, out=np.zeros(shape), where=count > 0)


def sarsa(data: Rows, shape: tuple[int, int]) -> np.ndarray:
    """Q(s, k) = mean of R + discount Q(s2, k2) over the rows whose next chunk is known."""
    data, start = data.only(data.valid & (data.known2 | (data.discount == 0))), np.zeros(shape)
    backup = lambda q: mean_by((data.s, data.k), data.reward + data.discount * q[data.s2, data.k2], shape)  # noqa: E731
    return repeated(backup, start)


def of_choice(data: Rows, shape: tuple[int, int], value: Summary) -> np.ndarray:
    """Q(s, k) = mean of R + discount value(Q)(s2); value: (S, K) -> (S,)."""
    data, start = data.only(data.valid), np.zeros(shape)
    backup = lambda q: mean_by((data.s, data.k), data.reward + data.discount * value(q)[data.s2], shape)  # noqa: E731
    return repeated(backup, start)


def implicit(data: Rows, shape: tuple[int, int], summary: Summary) -> tuple[np.ndarray, np.ndarray]:
    """Q(s, k) = mean of R + discount V(s2), V(s) = summary of Q(s, k) over the rows at s; Q (S, K) and V (S,)."""
    data, start = data.only(data.valid), np.zeros(shape[0])

    def q_of(v: np.ndarray) -> np.ndarray:
        return mean_by((data.s, data.k), data.reward + data.discount * v[data.s2], shape)

    v = repeated(lambda v: by_state(data.s, q_of(v)[data.s, data.k], shape[0], summary), start)
    return q_of(v), v


def decoupled(long: Rows, short: np.ndarray, shape: tuple[int, int], kappa_d: float, kappa_b: float) -> tuple:
    """DQC: Q_h of whole chunks backs up V; Q(s, k) is the kappa_d-expectile of Q_h over the rows with k = short (F,);
    V(s) is the kappa_b-quantile of Q over the rows at s. Returns Q_h, Q and V."""
    short, data, v = short[long.valid], long.only(long.valid), np.zeros(shape[0])
    for _ in range(100):
        q_h = mean_by((data.s, data.k), data.reward + data.discount * v[data.s2], (shape[0], 1 + data.k.max()))
        seen, cell = q_h[data.s, data.k], data.s * shape[1] + short
        q = by_state(cell, seen, shape[0] * shape[1], lambda x: expectile(x, kappa_d)).reshape(shape)
        v = by_state(data.s, q[data.s, short], shape[0], lambda x: np.quantile(x, kappa_b, method="inverted_cdf"))
    return q_h, q, v


def two_levels(data: Rows, states: int) -> tuple[np.ndarray, np.ndarray]:
    """SHARSA: Q(s, w) = mean of R + discount V(s2) with w = s2, or the end; V(s) = mean of Q(s, w)."""
    data = data.only(data.valid)
    w = np.where(data.discount == 0, states, data.s2)

    def q_of(v: np.ndarray) -> np.ndarray:
        return mean_by((data.s, w), data.reward + data.discount * v[data.s2], (states, states + 1))

    v = repeated(lambda v: mean_by((data.s,), q_of(v)[data.s, w], (states,)), np.zeros(states))
    return q_of(v), v


def by_state(state: np.ndarray, values: np.ndarray, states: int, summary: Summary) -> np.ndarray:
    """summary of the values at each state (S,); 0 where there is none."""
    return np.array([summary(values[state == s]) if (state == s).any() else 0.0 for s in range(states)])


def expectile(values: np.ndarray, tau: float) -> float:
    """The root of E[ |tau - 1(x < m)| (x - m) ], by bisection."""
    if np.ptp(values) < 1e-12:
        return float(values[0])
    return optimize.brentq(
        lambda m: np.sum(np.where(values < m, 1 - tau, tau) * (values - m)), values.min(), values.max()
    )


def conservative(data: Rows, states: int, weight: float, value: Summary, floor: np.ndarray | None = None) -> np.ndarray:
    """CQL on two actions: Q minimises the mean over rows of (Q(s,a) - y)^2 + weight (log sum_a exp Q(s,a) - Q(s,a)),
    y = R + discount value(Q)(s2). The soft maximum counts every action three times: uniform, and the policy's twice.

    floor: (F,), Cal-QL: the policy's count as max(Q, floor of the row). Solved state by state with scipy.
    """
    floor = None if floor is None else floor[data.valid]
    # A floor makes kinks.
    exact = {"method": "Nelder-Mead", "options": {"xatol": 1e-7, "fatol": 1e-12}}
    how = {"method": "BFGS", "options": {"gtol": 1e-7}} if floor is None else exact
    data, q = data.only(data.valid), np.zeros((states, 2))
    for _ in range(60):
        y, old = data.reward + data.discount * value(q)[data.s2], q
        q = np.zeros_like(q)
        for s in np.unique(data.s):
            here = data.s == s
            low = None if floor is None else floor[here]
            q[s] = optimize.minimize(_penalised, old[s], (data.k[here], y[here], weight, low), **how).x
        if np.abs(q - old).max() < 1e-6:
            break
    return q


def _penalised(q: np.ndarray, a: np.ndarray, y: np.ndarray, weight: float, floor: np.ndarray | None) -> float:
    own = q[None] if floor is None else np.maximum(q[None], floor[:, None])
    soft = np.log(np.exp(q).sum() + 2 * np.exp(own).sum(1))
    return float(np.mean((q[a] - y) ** 2 + weight * (soft - q[a])))
