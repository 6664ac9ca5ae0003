"""Credit: how much better than usual the decisions of a round were, with a critic and without one.

    generalised advantage estimation   from values (Schulman et al. 2016, arXiv:1506.02438, equation 16)
    leave-one-out                      against the other episodes of a group (Kool, van Hoof and Welling 2019)
    standardised in a group            the same in standard deviations (Shao et al. 2024, arXiv:2402.03300, GRPO)

M decisions of a round in order, E episodes, of which G in a row begin at one start state: a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALL = 1e-8


@dataclass(frozen=True)
class Outcomes:
    """What the decisions of a round led to.

    episode: (M,) int64 from 0, rising. reward, discount: (M,) up to the next decision, the discount 0 at a terminal.
    success: (E,) bool. group: G.
    """

    episode: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    success: np.ndarray
    group: int


def gae(outcomes: Outcomes, value: np.ndarray, next_value: np.ndarray, decay: float) -> np.ndarray:
    """(M,): sum_l (gamma lambda)^l delta_{t+l} within each episode, delta = r + gamma V(s') - V(s).

    value, next_value: (M,) at a decision and at the frame after it. decay: lambda, for a decision and not for a frame.
    """
    delta = outcomes.reward + outcomes.discount * next_value - value
    advantage, following = np.zeros(len(delta)), 0.0
    last = np.append(outcomes.episode[1:] != outcomes.episode[:-1], True)
    for t in range(len(delta) - 1, -1, -1):
        following = delta[t] + (0.0 if last[t] else outcomes.discount[t] * decay * following)
        advantage[t] = following
    return advantage


def leave_one_out(outcome: np.ndarray, group: int) -> np.ndarray:
    """(E,): each outcome (E,) minus the mean of the others of its group, which does not depend on it."""
    grouped = outcome.astype(np.float64).reshape(-1, group)
    others = (grouped.sum(1, keepdims=True) - grouped) / (group - 1)
    return (grouped - others).ravel()


def standardised(outcome: np.ndarray, group: int) -> np.ndarray:
    """(E,): each outcome (E,) minus the mean of its group, in standard deviations of the group; 0 where all agree."""
    grouped = outcome.astype(np.float64).reshape(-1, group)
    return ((grouped - grouped.mean(1, keepdims=True)) / (grouped.std(1, keepdims=True) + SMALL)).ravel()


def in_mixed_groups(success: np.ndarray, group: int) -> np.ndarray:
    """(E,) bool: the episodes of groups in which some succeed and some fail; the others carry no signal."""
    grouped = success.reshape(-1, group)
    return np.repeat(grouped.any(1) & ~grouped.all(1), group)
