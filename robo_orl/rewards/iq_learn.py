"""IQ-Learn on a table (Garg et al. 2021, arXiv:2106.12142, equation 9 with chi^2): Q of the demonstrations' own reward.

    max_Q  E_demos[ phi( Q(s, a) - gamma V(s') ) ] - E_demos[ V(s) - gamma V(s') ],    V(s) = log sum_a exp Q(s, a)

with phi(x) = x - x^2 / (4 alpha), and r(s, a) = Q(s, a) - gamma V(s'). Frames and actions are those of the nearest of
so many centres (k-means over the file): the problem is then concave over a table, and its optimum is found. A network
that is fitted offline needs tuning for it.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from scipy.cluster.vq import kmeans2

from robo_orl.base.rng import derive_seed
from robo_orl.rewards.demonstrations import FrameParams, points_of
from robo_orl.rewards.source import Judgement, Material, Source, episode_means

LARGEST = 20_000  # frames that centres are found on


class IQLearn(Source):
    """The reward that makes the demonstrations soft-optimal, on a table of states and actions."""

    needs = "demonstrations"
    generalises = True

    class Params(FrameParams):
        """The paper's alpha for continuous control."""

        states: int = Field(50, ge=2, description="centres of frames")
        choices: int = Field(8, ge=2, description="centres of actions")
        alpha: float = Field(0.5, gt=0, description="regularisation of the reward")

    def judge(self, material: Material) -> Judgement:
        """A reward of states and actions, which goes on at the end of an episode."""
        arrays, params = material.arrays, self.params
        points = points_of(material, params)
        state = self._cells(points.points, params.states, "states")
        choice = self._cells(np.asarray(arrays.actions, np.float64), params.choices, "choices")
        following = np.append(state[1:], 0)
        last = arrays.starts[1:] - 1
        following[last] = state[last]  # it goes on where it stops
        own = arrays.frames(material.labels.known & material.labels.success)
        shape = (int(state.max()) + 1, int(choice.max()) + 1)
        q = soft_q(state[own], choice[own], following[own], shape, material.gamma, params.alpha)
        reward = rewards_of(q, state, choice, following, material.gamma)
        return Judgement(reward, score=episode_means(arrays, reward), lasting=True)

    def _cells(self, values: np.ndarray, count: int, what: str) -> np.ndarray:
        """(F,) the number of the nearest centre; centres that nothing is near to are no cells."""
        seed = derive_seed("centres", what, self.config.seed) % 2**32
        sample = values[:: max(1, len(values) // LARGEST)]
        centres = kmeans2(sample, min(count, len(sample)), minit="++", seed=seed)[0]
        apart = (values**2).sum(1)[:, None] - 2 * values @ centres.T + (centres**2).sum(1)
        return np.unique(apart.argmin(1), return_inverse=True)[1]


def soft_q(
    state: np.ndarray, choice: np.ndarray, following: np.ndarray, shape: tuple[int, int], gamma: float, alpha: float
) -> np.ndarray:
    """Q (S, A) of the demonstrations' transitions (M,); it is the optimum, up to the tolerance of the solver.

    A little pull to 0 decides what the demonstrations say nothing about.
    """
    q = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    at, to = (torch.from_numpy(state), torch.from_numpy(choice)), torch.from_numpy(following)
    solver = torch.optim.LBFGS([q], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        v = q.logsumexp(1)
        reward = q[at] - gamma * v[to]
        value = -(reward - reward**2 / (4 * alpha)).mean() + (v[at[0]] - gamma * v[to]).mean() + 1e-6 * (q**2).sum()
        value.backward()
        return value

    solver.step(loss)
    return q.detach().numpy()


def rewards_of(q: np.ndarray, state: np.ndarray, choice: np.ndarray, following: np.ndarray, gamma: float) -> np.ndarray:
    """(M,) Q(s, a) - gamma V(s')."""
    top = q.max(1)
    v = top + np.log(np.exp(q - top[:, None]).sum(1))
    return q[state, choice] - gamma * v[following]
