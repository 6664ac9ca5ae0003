"""The share of an oracle's gain that a critic realises: is it the critic that is missing, or are it the samples?

(critic - base) / (oracle - base), by the first endpoint of a suite, on the start states that all three share: the base
takes one sample of a cloned flow, the oracle the sample of N that gains most in the simulator (`+oracle_best_of_n`).
Where the oracle gains nothing for certain there is no share: a quotient of noise is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robo_orl.report.contents import Cells, has_critic
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.record import Record

RESAMPLES = 4_000


@dataclass(frozen=True)
class SampleOrder:
    """A critic's order of samples against the simulator's, at all measured states (see record.RankCorrelation)."""

    states: int
    tied: int
    kendall: float | None
    low: float | None
    high: float | None
    spearman: float | None


@dataclass(frozen=True)
class GainShare:
    """The share of one training over n start states, with its 95 % bootstrap interval over them.

    base, oracle: the rows that it is measured between. gain: of the oracle over the base, with its interval. share:
    None where that interval is not above zero; low, high: None where they have no bound.
    """

    base: str
    oracle: str
    n: int
    gain: float
    gain_low: float
    gain_high: float
    share: float | None
    low: float | None
    high: float | None


def gain_share(base: np.ndarray, critic: np.ndarray, oracle: np.ndarray, seed: int = 0) -> tuple[float | None, ...]:
    """(gain, its low, its high, share, low, high) of the values (n,) per start state, which are resampled together.

    A resample in which the oracle gains nothing counts as a share without bound, on the side of the critic's gain.
    """
    own, most = critic - base, oracle - base
    draws = np.random.default_rng(seed).integers(len(base), size=(RESAMPLES, len(base)))
    owns, mosts = own[draws].mean(1), most[draws].mean(1)
    gain_low, gain_high = (float(end) for end in np.percentile(mosts, [2.5, 97.5]))
    gain = (float(most.mean()), gain_low, gain_high)
    if gain_low <= 0:
        return (*gain, None, None, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(mosts > 0, owns / mosts, np.where(owns < 0, -np.inf, np.inf))
    low, high = np.percentile(shares, [2.5, 97.5], method="nearest")
    return (*gain, float(own.mean() / most.mean()), *(float(end) if np.isfinite(end) else None for end in (low, high)))


def gain_shares(cells: Cells) -> dict[str, GainShare]:
    """Key of a cell -> its share, for every critic that chooses among samples on a board with such an oracle."""
    shares = {}
    for record in cells.records:
        rivals = [r for r in cells.records if _place(r) == _place(record)]
        pair = _pair(record, rivals) if _chooses(record) else None
        if pair is not None and (made := _share(cells, record, *pair)) is not None:
            shares[record.cell] = made
    return shares


def _place(record: Record) -> tuple:
    return record.task.digest, record.regime, record.size, record.seed, record.evaluation.starts_sha256


def _selection(record: Record) -> Mapping:
    return record.policy.config.get("selection") or {}


def _chooses(record: Record) -> bool:
    return has_critic(record.policy.config) and _selection(record).get("num_samples", 1) > 1


def _pair(record: Record, rivals: Sequence[Record]) -> tuple[Record, Record] | None:
    """The base and the oracle: of the critic's own training where they are there, else of cloning."""
    pairs = []
    for oracle in (r for r in rivals if _selection(r).get("look_ahead", 0)):
        bases = [r for r in rivals if r.train.run == oracle.train.run and _is_one_sample(r)]
        pairs += [(base, oracle) for base in bases[:1]]
    own = [pair for pair in pairs if pair[1].train.run == record.train.run]
    return next(iter([*own, *pairs]), None)


def _is_one_sample(record: Record) -> bool:
    """True for the row that takes one sample as its action head gives it."""
    others = {name: value for name, value in _selection(record).items() if name != "num_samples"}
    plain = {"untrained_critic": False, "look_ahead": 0, "noise_scale": 1.0, "acting": None}
    return _selection(record).get("num_samples", 1) == 1 and all(plain.get(n) == value for n, value in others.items())


def _share(cells: Cells, critic: Record, base: Record, oracle: Record) -> GainShare | None:
    """The share on the start states that all three were run from; None with fewer than two."""
    endpoint = cells.endpoints[0]
    values = [_by_start(cells, record, endpoint) for record in (base, critic, oracle)]
    common = sorted(set.intersection(*(set(own) for own in values)))
    if len(common) < 2:
        return None
    columns = [np.array([own[start] for start in common]) for own in values]
    return GainShare(base.policy.name, oracle.policy.name, len(common), *gain_share(*columns))


def _by_start(cells: Cells, record: Record, endpoint: Endpoint) -> dict[tuple[int, int], float]:
    rows = cells.rows[record.cell]
    values = endpoint.values(rows, record.task.horizon)
    return {(row.start, row.seed): float(value) for row, value in zip(rows, values, strict=True)}
