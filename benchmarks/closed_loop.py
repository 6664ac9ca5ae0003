"""A trained policy in closed loop: the same episodes with two substep loops, compared one by one.

    python benchmarks/closed_loop.py [--tasks lift ...] [--episodes 60] [--run RUN] [--loops exact stock]

Every task of tasks/ that is named (default: all) gets a small policy (behaviour cloning, 600 steps on 60
demonstrations; kept in runs/small_policies), or --run gives a trained one, for its own task. It acts from the task's
stored evaluation start states, one environment at a time, in float64 and without batching, so that it answers equal
observations with equal actions: any difference between the loops would act on itself. Compared per episode: a hash of
every observation and action, success, length, and the simulator's last state. `exact` against `stock` must give the
same episodes to the last bit, and the command exits with 1 where it does not.

Tasks already in the result are kept; a killed call is started again with the same command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ledger import Ledger, parser, shown
from scipy.stats import binomtest
from small_policy import small_policy

from robo_orl.base.errors import RunError
from robo_orl.config.presets import available, load_task
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.rollout.env_spec import TaskEnvSpec
from robo_orl.rollout.episodes import PolicyQuery
from robo_orl.rollout.pool import work_through
from robo_orl.rollout.simulator import Act, Begin, EpisodeServer

Played = tuple[bool, int, str, np.ndarray]  # success, length, hash of all observations and actions, last state


def play(simulations: EpisodeServer, actor: AgentPolicy, episode: int) -> Played:
    """One episode from start state `episode`."""
    reply, decision = simulations(Begin(0, episode, 1.0)), 0
    while reply.outcome is None:
        actions = actor([PolicyQuery(episode, decision, reply.obs)])[0]
        reply, decision = simulations(Act(0, actions)), decision + 1
    outcome = reply.outcome
    return outcome.success_once, outcome.length, outcome.fingerprint, simulations.environments[0].state()


def player(run: Path, loops: list[str]) -> Callable[[int], list[Played]]:
    """The work of one process: the same episode once with each loop."""
    torch.set_num_threads(1)
    agent, config = load_agent(run)
    actor = AgentPolicy(agent, config.policy.action_head.execute, 0)
    worlds = [EpisodeServer(TaskEnvSpec(config.task, loop)) for loop in loops]
    for world, loop in zip(worlds, loops, strict=True):
        if world.info().loop != loop:
            raise RunError(f"This machine cannot run the {loop} loop; the log says why.")
    return lambda episode: [play(world, actor, episode) for world in worlds]


def compare(task: str, run: Path, loops: list[str], episodes: int, workers: int | None) -> dict[str, Any]:
    """The row of one task."""
    from closed_loop import player  # simulator processes import it by name; __main__ has none

    began = perf_counter()
    results = work_through(list(range(episodes)), partial(player, run, loops), workers)
    pairs = [played.result for played in shown(results, f"{task}: {' and '.join(loops)}", episodes)]
    return summary(loops, pairs) | {"policy": run.name, "seconds": round(perf_counter() - began)}


def summary(loops: list[str], pairs: list[list[Played]]) -> dict[str, Any]:
    """Counts over pairs of episodes; McNemar's exact test, two-sided, on those that only one loop solves."""
    only = [sum(a[0] > b[0] for a, b in pairs), sum(b[0] > a[0] for a, b in pairs)]
    gaps = [float(np.abs(a[3] - b[3]).max()) for a, b in pairs if a[1] == b[1]]
    return {
        "loops": loops,
        "n": len(pairs),
        "successes": [sum(pair[i][0] for pair in pairs) for i in range(2)],
        "only_one_succeeds": only,
        "mcnemar_p": binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0,
        "equal_lengths": sum(a[1] == b[1] for a, b in pairs),
        "identical_episodes": sum(a[1:3] == b[1:3] and np.array_equal(a[3], b[3]) for a, b in pairs),
        "largest_final_state_difference": max(gaps, default=None),
        "decisions": sum(pair[0][1] for pair in pairs),
    }


def main() -> int:
    """Compare, print a line per task, write the JSON; 1 where loops that must agree do not."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--tasks", nargs="+", default=sorted([*available("tasks"), "chain2_10hz", "chain2_40hz"]))
    arguments.add_argument("--episodes", type=int, default=60, help="start states per task, 200 at most")
    arguments.add_argument("--run", type=Path, help="a trained run; its task is the one compared")
    arguments.add_argument("--loops", nargs=2, default=["exact", "stock"], choices=("exact", "fast", "stock"))
    arguments.add_argument("--workers", type=int, help="processes [default: one a core]")
    options = arguments.parse_args()
    runs = {}
    if options.run:
        runs = {load_agent(options.run)[1].task.name: options.run}
        options.tasks = list(runs)
    ledger = Ledger(options, {"episodes": options.episodes, "loops": options.loops, "run": str(options.run or "small")})
    for name in ledger.missing(options.tasks):
        run = runs.get(name) or small_policy(load_task(name))
        ledger.keep(name, compare(name, run, options.loops, options.episodes, options.workers))
    differing = [name for name, row in ledger.rows.items() if row["identical_episodes"] < row["n"]]
    if "fast" not in options.loops and differing:
        print(f"The loops differ on {', '.join(differing)}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
