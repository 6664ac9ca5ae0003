"""Does a stage get worse as the chain around it grows? Conditional success of stages, from episodes that exist.

Independent stages give p^k for k of them: that alone is no error of bootstrapping. Such an error is built up backwards
from the end, and predicts that stage 1 itself gets worse in a longer chain. The fit separates the two,

    logit P(stage i | stage i - 1) = a + b (i - 1) + c log2 k,

and the first stages alone give logit P(stage 1) = a + c log2 k. A policy without a critic has no bootstrapping: only
what a critic loses beyond it, the difference of the c, can be the critic's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from einops import einsum, reduce

from robo_orl.base.errors import UsageError
from robo_orl.results.fits import FEWEST_SIZES, Interval
from robo_orl.results.record import Count, EpisodeRow, Record
from robo_orl.results.regression import logistic

RESAMPLES = 2_000
Reached = np.ndarray  # (trainings, starts, stages) bool: the stages that an episode reached
Chains = Mapping[int, Reached]  # chain length -> the episodes of one policy
Cell = tuple[Record, Sequence[EpisodeRow]]


@dataclass(frozen=True)
class StageFit:
    """One policy over chain lengths; effects are log odds.

    per_stage: b, of a stage that comes one later. per_doubling: c, of a chain twice as long, at equal stage index.
    first_stage: the same from the first stages alone. beyond_control, first_beyond_control: c less that of the control
    on the same start states; None for the control itself. trainings: fewest of a length; with one the intervals cover
    start states and no other training.
    """

    policy: str
    per_stage: Interval
    per_doubling: Interval
    first_stage: Interval
    beyond_control: Interval | None
    first_beyond_control: Interval | None
    trainings: int
    counts: dict[int, list[Count]]

    def says(self) -> str:
        """What the first stages say of this policy, in words of one sentence's part."""
        if self.first_beyond_control is None:
            return _change(self.first_stage, "worsens", "improves", "does not change measurably") + " with the chain"
        words = "worsens more than the control's", "worsens less than the control's", "is not told from the control's"
        return _change(self.first_beyond_control, *words)


def stage_fits(policies: Mapping[str, Chains], control: str, seed: int = 0) -> list[StageFit]:
    """Fit every policy, the control first. Intervals: start states are drawn, for all policies and stages of a length
    together, and trainings.

    Raises UsageError for fewer than four lengths, another control than one of the policies, and start states that
    differ in number.
    """
    if control not in policies:
        raise UsageError(f"The control '{control}' is none of {', '.join(policies)}.")
    lengths = _lengths(policies)
    weights = {k: _weights(policies[control][k].shape[1], seed + k) for k in lengths}
    fitted = {name: _fitted(chains, lengths, weights, seed) for name, chains in policies.items()}
    order = [control, *(name for name in policies if name != control)]
    return [_stage_fit(name, policies[name], fitted, control) for name in order]


def chains_of(cells: Sequence[Cell], policy: str, regime: str, control_hz: int = 20) -> Chains:
    """The episodes of a policy by chain length, on tasks of one control rate without dead time.

    Raises UsageError where cells of one length were evaluated from different start states.
    """
    found: dict[int, dict[int, Reached]] = {}
    banks: dict[int, str] = {}
    for record, rows in cells:
        task = record.task
        if (record.regime, task.control_hz, task.padding) != (regime, control_hz, 0.0):
            continue
        k, bank = len(task.stages), record.evaluation.starts_sha256
        if banks.setdefault(k, bank) != bank:
            raise UsageError(f"{task.name} was evaluated from two banks of start states: compare them apart.")
        if record.policy.name == policy:
            ordered = sorted(rows, key=lambda row: row.start)
            found.setdefault(k, {})[record.seed] = np.array([row.stages for row in ordered])
    return {k: np.stack([by_seed[s] for s in sorted(by_seed)]) for k, by_seed in sorted(found.items())}


def stage_counts(reached: Reached) -> list[Count]:
    """k of n per stage; n: the episodes that reached the stage before."""
    at_risk = _at_risk(reached)
    return [Count(k=int(reached[..., i].sum()), n=int(at_risk[..., i].sum())) for i in range(reached.shape[-1])]


# ---------------------------------------------------------------------------------------------------------------- parts


@dataclass(frozen=True)
class _Draws:
    """Coefficients of a policy: of the data (columns,), and of resamples (resamples, columns)."""

    stages: np.ndarray
    drawn_stages: np.ndarray
    first: np.ndarray
    drawn_first: np.ndarray


def _lengths(policies: Mapping[str, Chains]) -> list[int]:
    lengths = sorted(set.intersection(*(set(chains) for chains in policies.values())))
    if len(lengths) < FEWEST_SIZES:
        raise UsageError(
            f"Stages are compared over {FEWEST_SIZES} chain lengths or more, here {len(lengths)}: run a suite with"
            " chain1, chain2, chain4 and chain8."
        )
    for k in lengths:
        if len({chains[k].shape[1] for chains in policies.values()}) > 1:
            raise UsageError(f"At {k} stages the policies were not evaluated from the same start states.")
    return lengths


def _weights(starts: int, seed: int) -> np.ndarray:
    """(resamples, starts): the weight of each start state, exponential. D. Rubin, The Bayesian bootstrap, Annals of
    Statistics 9 (1981): smoother than counts where a stage was seldom reached."""
    return np.random.default_rng(seed).exponential(size=(RESAMPLES, starts))


def _fitted(chains: Chains, lengths: Sequence[int], weights: Mapping[int, np.ndarray], seed: int) -> _Draws:
    rng = np.random.default_rng(seed)
    rows, counts, drawn = [], [], []
    for k in lengths:
        reached, at_risk = chains[k], _at_risk(chains[k])
        rows += [(1.0, float(i), np.log2(k)) for i in range(k)]
        counts.append(np.stack([reduce(a, "t s i -> i", "sum") for a in (reached * 1.0, at_risk * 1.0)]))
        drawn.append(_drawn(reached, at_risk, weights[k], rng))
    design, (k_of, n_of) = np.array(rows), np.concatenate(counts, -1)
    k_drawn, n_drawn = np.concatenate(drawn, -1)
    first = design[:, 1] == 0
    both = [design, design[first][:, [0, 2]]]
    return _Draws(
        logistic(both[0], k_of, n_of),
        logistic(both[0], k_drawn, n_drawn, 1e-6),
        logistic(both[1], k_of[first], n_of[first]),
        logistic(both[1], k_drawn[:, first], n_drawn[:, first], 1e-6),
    )


def _drawn(reached: Reached, at_risk: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(2, resamples, stages): weighted k and n; trainings are drawn with replacement.

    Where all episodes of a stage end alike, the other outcome has a weight of Gamma(1/2), as under Jeffreys' prior: the
    stage would otherwise not vary at all.
    """
    trainings = len(reached)
    times = rng.multinomial(trainings, np.full(trainings, 1 / trainings), size=len(weights)) * 1.0  # (r, t)
    k, n = (einsum(times, weights, a * 1.0, "r t, r s, t s i -> r i") for a in (reached, at_risk))
    total, successes = reduce(at_risk * 1, "t s i -> i", "sum"), reduce(reached * 1, "t s i -> i", "sum")
    other = rng.gamma(0.5, size=k.shape)
    none, all_ = (total > 0) & (successes == 0), (total > 0) & (successes == total)
    k = k + other * none
    return np.stack((k, n + other * (none | all_)))


def _stage_fit(name: str, chains: Chains, fitted: Mapping[str, _Draws], control: str) -> StageFit:
    own, base = fitted[name], fitted[control]
    compared = name != control
    return StageFit(
        policy=name,
        per_stage=_interval(own.stages[1], own.drawn_stages[:, 1]),
        per_doubling=_interval(own.stages[2], own.drawn_stages[:, 2]),
        first_stage=_interval(own.first[1], own.drawn_first[:, 1]),
        beyond_control=_difference(own.stages, own.drawn_stages, base.stages, base.drawn_stages, 2)
        if compared
        else None,
        first_beyond_control=_difference(own.first, own.drawn_first, base.first, base.drawn_first, 1)
        if compared
        else None,
        trainings=min(len(reached) for reached in chains.values()),
        counts={k: stage_counts(reached) for k, reached in chains.items()},
    )


def _difference(a: np.ndarray, drawn_a: np.ndarray, b: np.ndarray, drawn_b: np.ndarray, column: int) -> Interval:
    return _interval(a[column] - b[column], drawn_a[:, column] - drawn_b[:, column])


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def _at_risk(reached: Reached) -> np.ndarray:
    """(trainings, starts, stages): the episodes that reached the stage before; for the first one, all."""
    before = np.ones_like(reached)
    before[..., 1:] = reached[..., :-1]
    return before


def _change(effect: Interval, worse: str, better: str, neither: str) -> str:
    return worse if effect.high < 0 else better if effect.low > 0 else neither
