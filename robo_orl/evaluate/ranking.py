"""A critic's order of samples against the simulator's: what best-of-N asks of a critic, measured where it is asked.

The policy plays episodes as it is, by the critic's choice. At every so many chunks all N samples are tried as well:
each is carried out in a branch, in which the policy goes on as it is to the end of the look-ahead.
Kendall's tau-b of the critic's values and of the discounted rewards of the branches is 1 where the critic finds the
order, 0 where it guesses. Where all samples gain the same there is none to find: such states are counted, and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from robo_orl.agent.agent import Agent
from robo_orl.base.errors import UsageError
from robo_orl.base.machine import cores
from robo_orl.config import Loop, PolicyConfig, StartBankName
from robo_orl.evaluate.policy import SearchedPolicy
from robo_orl.evaluate.success import SLOTS, one_thread, prepare
from robo_orl.results.intervals import two_level_bootstrap
from robo_orl.results.record import CriticRanking, RankCorrelation, StageRanking
from robo_orl.rollout.look_ahead import RankedSamples, RankingRollouts

EVERY = 8  # chunks
RESAMPLES = 2_000
Found = dict[tuple[int, int], RankedSamples]


def ranking(
    run_dir: Path,
    episodes: int,
    every: int = EVERY,
    look_ahead: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    loop: Loop = "exact",
    overrides: Sequence[str] = (),
    task: str | None = None,
    starts: StartBankName = "test",
) -> CriticRanking:
    """The rank correlation of a run's critic at states of its own policy's first `episodes` episodes.

    every: chunks from one measured state to the next. look_ahead: decisions of a branch, default to the end of the
    episode. The others are those of `evaluate`.

    Raises:
        UsageError: no critic ranks the policy's samples.
        RunError: as `evaluate` does.
    """
    ready = prepare(Path(run_dir), seed, loop, overrides, task, False, starts)
    plan, selection, alone = ready.plan, ready.plan.policy.selection, ready.policy
    _check_ranks(plan.policy, alone.agent)
    policy = SearchedPolicy(alone.agent, selection, alone.execute, seed, alone.dtype, alone.instructions)
    look_ahead = look_ahead or plan.task.horizon
    size = min(workers or cores(), episodes)
    common = (ready.env_spec, policy, size, SLOTS, plan.gamma)
    with one_thread(), RankingRollouts(*common, look_ahead=look_ahead, every=every) as rollouts:
        for _ in rollouts.run(range(episodes)):
            pass
    overall, stages = correlations(rollouts.ranked, plan.task.stages)
    return CriticRanking(
        episodes=episodes,
        starts=starts,
        seed=seed,
        every=every,
        samples=selection.num_samples,
        look_ahead=look_ahead,
        gamma=plan.gamma,
        overall=overall,
        stages=stages,
        simulated=sum(found.simulated for found in rollouts.ranked.values()),
    )


def _check_ranks(policy: PolicyConfig, agent: Agent) -> None:
    """UsageError where no critic chooses among samples."""
    selection = policy.selection
    if selection.look_ahead:
        raise UsageError(
            "The simulator ranks the samples of this policy, and no critic: set selection.look_ahead to 0."
        )
    if selection.num_samples < 2 or ("q" not in agent.objective.heads and not selection.untrained_critic):
        raise UsageError(
            f"No critic ranks samples of the policy '{policy.name}': choose one that acts by the best of several, or "
            "set selection.num_samples above 1 where it has a trained Q."
        )


def correlations(found: Found, stages: Sequence[str]) -> tuple[RankCorrelation, list[StageRanking]]:
    """The correlation over all states, and over those of each stage."""
    parts = [
        StageRanking(name=name, **_correlation({k: s for k, s in found.items() if s.stage == i}).model_dump())
        for i, name in enumerate(stages)
    ]
    return _correlation(found), parts


def _correlation(found: Found) -> RankCorrelation:
    untied = {key: state for key, state in found.items() if np.ptp(state.gained) > 0}
    counts = {"states": len(found), "tied": len(found) - len(untied)}
    if not untied:
        return RankCorrelation(**counts)
    kendall, low, high = two_level_bootstrap(_by_episode(untied, stats.kendalltau), RESAMPLES)
    spearman, _, _ = two_level_bootstrap(_by_episode(untied, stats.spearmanr), 1)
    interval = {"low": low, "high": high} if len({episode for episode, _ in untied}) > 1 else {}
    return RankCorrelation(kendall=kendall, spearman=spearman, **interval, **counts)


def _by_episode(untied: Found, statistic: Callable) -> list[list[float]]:
    """Per episode the correlation at each of its states."""
    episodes = sorted({episode for episode, _ in untied})
    return [[_of(state, statistic) for key, state in sorted(untied.items()) if key[0] == e] for e in episodes]


def _of(state: RankedSamples, statistic: Callable) -> float:
    """0 where the critic values all samples alike: it does not tell them apart."""
    if np.ptp(state.values) == 0:
        return 0.0
    return float(np.clip(statistic(state.values, state.gained).statistic, -1.0, 1.0))


def in_words(found: CriticRanking) -> dict[str, str]:
    """The result as the few lines that a terminal shows."""
    lines = {
        "samples": f"{found.samples}, tried for up to {found.look_ahead} decisions",
        "all states": _words(found.overall),
    }
    lines |= {f"  until {part.name}": _words(part) for part in found.stages}
    return lines | {"simulated": f"{found.simulated:,} decisions"}


def _words(part: RankCorrelation) -> str:
    counts = f"{part.states} states, {part.tied} of them tied"
    if part.kendall is None:
        return f"no order to find ({counts})"
    interval = f", 95 % interval {part.low:.2f} to {part.high:.2f}" if part.low is not None else ""
    return f"Kendall {part.kendall:.2f}{interval}; Spearman {part.spearman:.2f} ({counts})"
