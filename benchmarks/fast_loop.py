"""Does the fast substep loop change outcomes? The same operators from the same starts with both loops, in pairs.

    python benchmarks/fast_loop.py [--tasks lift stack] [--episodes 500]

The fast loop differs from the exact one by rounding, which contacts amplify; what matters is whether success differs.
The operators are those of the mixed-competence data: they read the simulation at every step, so that a difference acts
on itself, and they fail often enough for outcomes to be able to differ. The test is McNemar's, exact and two-sided.
For trained policies: python benchmarks/closed_loop.py --loops exact fast.

Tasks already in the result are kept; a killed call is started again with the same command.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ledger import Ledger, parser, shown
from scipy.stats import binomtest

from robo_orl.config import TaskConfig
from robo_orl.config.presets import load_task
from robo_orl.envs.demonstrators.regimes import plan, record
from robo_orl.envs.task_env import TaskEnv
from robo_orl.rollout.pool import work_through

LOOPS = ("exact", "fast")
Pair = list[tuple[bool, int, np.ndarray]]  # per loop: success, length, last state


def main() -> None:
    """Compare, print a line per task, write the JSON."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--tasks", nargs="+", default=["lift", "stack"])
    arguments.add_argument("--episodes", type=int, default=500)
    arguments.add_argument("--workers", type=int, help="processes [default: one a core]")
    options = arguments.parse_args()
    ledger = Ledger(options, {"episodes": options.episodes, "regime": "mg"})
    for name in ledger.missing(options.tasks):
        ledger.keep(name, compare(load_task(name), options.episodes, options.workers))


def pairs_of(task: TaskConfig, episodes: int) -> Callable[[int], Pair]:
    """The work of one process: one planned episode with each loop."""
    envs, items = [TaskEnv(task, loop) for loop in LOOPS], plan(task, "mg", episodes, seed=0)

    def work(index: int) -> Pair:
        start = envs[0].draw_start(items[index].start_seed)
        both = [record(env, start, items[index]) for env in envs]
        return [(bool(episode.success), len(episode), episode.states[-1]) for episode in both]

    return work


def compare(task: TaskConfig, episodes: int, workers: int | None) -> dict[str, Any]:
    """Outcomes of the same episodes with both loops."""
    from fast_loop import pairs_of  # simulator processes import it by name; __main__ has none

    began = perf_counter()
    results = work_through(list(range(episodes)), partial(pairs_of, task, episodes), workers)
    pairs = [recorded.result for recorded in shown(results, f"{task.name}: {' and '.join(LOOPS)}", episodes)]
    only_exact, only_fast = sum(a[0] > b[0] for a, b in pairs), sum(b[0] > a[0] for a, b in pairs)
    drifts = [float(np.abs(a[2] - b[2]).max()) for a, b in pairs if a[1] == b[1]]
    return {
        "n": len(pairs),
        "exact_successes": sum(a[0] for a, _ in pairs),
        "fast_successes": sum(b[0] for _, b in pairs),
        "only_exact_succeeds": only_exact,
        "only_fast_succeeds": only_fast,
        "mcnemar_p": binomtest(only_exact, only_exact + only_fast).pvalue if only_exact + only_fast else 1.0,
        "equal_lengths": len(drifts),
        "final_state_difference_median": float(np.median(drifts)),
        "final_state_difference_largest": max(drifts),
        "seconds": round(perf_counter() - began),
    }


if __name__ == "__main__":
    main()
