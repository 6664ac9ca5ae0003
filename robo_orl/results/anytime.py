"""A test of two policies on shared start states that may be looked at after every pair, and stopped at any of them.

Each pair gives a sign d: 1 where the second policy has the higher value, -1 where the first has, 0 for a tie. Under the
null hypothesis E[d | the pairs before] = 0, the capital of a gambler who bets the share lambda of it on every sign,

    K_t(lambda) = prod_{i <= t} (1 + lambda d_i),      lambda in (-1, 1),

is a nonnegative martingale that starts at 1, and so is the mean of K_t over the fixed bets BETS: the evidence E_t. By
Ville's inequality (J. Ville, Etude critique de la notion de collectif, 1939) P(there is a t with E_t >= 1/alpha) <=
alpha: the test errs with probability alpha at most, however often it is looked at and whenever it is stopped.

The mixture over bets is that of H. Robbins, Statistical methods related to the law of the iterated logarithm, Annals of
Mathematical Statistics 41 (1970); betting on bounded means and its confidence sequences are I. Waudby-Smith and
A. Ramdas, Estimating means of bounded random variables by betting, JRSS B 86 (2024).
"""

from __future__ import annotations

from math import log

import numpy as np

BETS = np.concatenate((-np.arange(1, 10)[::-1], np.arange(1, 10))) / 10  # (18,) both sides alike: the test is two-sided
MEANS = np.linspace(-1, 1, 401)  # (401,) the candidates of the confidence sequence


class SequentialSignTest:
    """The evidence of the signs so far against equality, and a confidence sequence for their mean.

    Attributes:
        wins, losses, ties: pairs that the second policy won, lost, and neither.
    """

    def __init__(self, alpha: float = 0.05):
        if not 0 < alpha < 1:
            raise ValueError(f"alpha lies between 0 and 1, got {alpha}")
        self.alpha = alpha
        self.wins = self.losses = self.ties = 0
        self._log_capital = np.zeros(len(BETS))
        # For a mean m the bets are on d - m, which lies within 1 + |m| of 0: smaller ones, so that no capital is lost.
        self._scaled = BETS / (1 + np.abs(MEANS))[:, None]  # (mean, bet)
        self._log_capitals = np.zeros(self._scaled.shape)
        self._excluded = np.zeros(len(MEANS), bool)

    def add(self, sign: int) -> None:
        """Take the sign of one pair: 1, -1 or 0."""
        self.wins, self.losses, self.ties = (
            count + (sign == value) for count, value in ((self.wins, 1), (self.losses, -1), (self.ties, 0))
        )
        self._log_capital += np.log1p(BETS * sign)
        self._log_capitals += np.log1p(self._scaled * (sign - MEANS)[:, None])
        self._excluded |= _log_mean(self._log_capitals) >= log(1 / self.alpha)

    @property
    def pairs(self) -> int:
        """Pairs so far."""
        return self.wins + self.losses + self.ties

    @property
    def evidence(self) -> float:
        """E_t: 1 at the start, 1/alpha decides; its expectation is 1 where the policies are equal."""
        return float(np.exp(min(_log_mean(self._log_capital), 700.0)))

    @property
    def decided(self) -> bool:
        """True where the evidence is 1/alpha or more now."""
        return self.evidence >= 1 / self.alpha

    @property
    def difference(self) -> float:
        """(wins - losses) / pairs; 0 without pairs."""
        return (self.wins - self.losses) / self.pairs if self.pairs else 0.0

    def interval(self) -> tuple[float, float]:
        """The confidence sequence of the difference: at all times together it holds it with probability 1 - alpha."""
        kept = MEANS[~self._excluded]
        return (float(kept[0]), float(kept[-1])) if len(kept) else (self.difference, self.difference)


def _log_mean(values: np.ndarray) -> np.ndarray:
    """The logarithm of the mean of exp(values) over the last axis."""
    highest = values.max(axis=-1)
    return highest + np.log(np.exp(values - highest[..., None]).mean(axis=-1))
