"""Episodes per second: our whole evaluation beside robomimic's serial rollout loop, the same episodes with both.

    python benchmarks/rollout_loop.py [--tasks lift stack can square chain2] [--rounds 3] [--block 50] [--run RUN]

robomimic's side is its own `run_rollout` and `RolloutPolicy`, in one process, on our scenes with robosuite's own
stepping. Ours is the pool of `robo-orl eval` with as many simulators as there are cores, and the `exact` loop. Both
roll out the same policy from the same stored start states and must agree on every single episode, its success and its
length: that is equal success, and equal work.

They take turns, a block of start states each, another one first in every round; the ratio is the median over rounds of
the ratio within a round. Left out on both sides: starting processes and building environments. Generous to robomimic:
its resets cost what ours cost, its sensors that the policy does not see are switched off, and its policy acts once per
chunk. The policy is small_policy.py's unless --run gives one, for its own task.

Tasks already in the result are kept; a killed call is started again with the same command.
"""

from __future__ import annotations

import copy
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads are slower for batches of this size, on both sides

import torch
from ledger import Ledger, parser, shown
from robomimic.algo import RolloutPolicy
from robomimic.utils.train_utils import run_rollout
from small_policy import small_policy

from robo_orl.config import TaskConfig
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate.acting import Actor
from robo_orl.evaluate.evaluate import SLOTS
from robo_orl.evaluate.pool import cores
from robo_orl.evaluate.rollouts import Rollouts
from robo_orl.evaluate.simulator import TaskScene
from robo_orl.presets import load_task
from robo_orl.references.environment import RobomimicEnv
from robo_orl.references.rollout import ChunkPolicy

REQUIRED = 6.0
TASKS = ("lift", "stack", "can", "square", "chain2")
Episodes = dict[int, tuple[bool, int]]  # episode -> success, length


class Serial:
    """robomimic's side."""

    def __init__(self, task: TaskConfig, actor: Actor):
        self.task, self.policy, self.policy_s = task, ChunkPolicy(self._timed(actor)), 0.0
        self.env = RobomimicEnv(task)

    def _timed(self, actor: Actor) -> Callable[..., Any]:
        def call(asks: list) -> Any:
            began = time.perf_counter()
            actions = actor(asks)
            self.policy_s += time.perf_counter() - began
            return actions

        call.device = actor.device
        return call

    def __call__(self, episodes: range) -> Episodes:
        """Roll the episodes out, one after the other."""
        self.env.episode, self.policy.episode = episodes.start, episodes.start - 1
        rollout = RolloutPolicy(self.policy)
        found = {}
        for episode in episodes:
            result = run_rollout(rollout, self.env, horizon=self.task.horizon, terminate_on_success=True)
            found[episode] = bool(result["Success_Rate"]), result["Horizon"]
        return found


class Pooled:
    """Our side."""

    def __init__(self, pool: Rollouts):
        self.pool = pool

    def __call__(self, episodes: range) -> Episodes:
        """Roll the episodes out, several at once."""
        return {f.episode: (f.outcome.success_once, f.outcome.length) for f in self.pool.run(episodes)}


def compare(task: TaskConfig, run: Path, rounds: int, block: int) -> dict[str, Any]:
    """The row of one task."""
    agent, config = load_agent(run)
    execute = config.policy.action_head.execute
    serial = Serial(task, Actor(copy.deepcopy(agent), execute, 0))
    workers = cores()
    with Rollouts(TaskScene(task), Actor(agent, execute, 0), workers, SLOTS, recycle_after=10**9) as pool:
        ours = Pooled(pool)
        ours(range(workers * SLOTS))  # every slot builds its environment
        serial(range(1))
        serial.policy_s = pool.policy_s = pool.simulation_s = 0.0
        seconds: dict[str, list[float]] = {"robomimic": [], "ours": []}
        successes = decisions = 0
        for number in shown(range(rounds), f"{task.name}: blocks of {block} episodes", rounds):
            found = _round(serial, ours, number, range(number * block, (number + 1) * block), seconds)
            successes += sum(success for success, _ in found.values())
            decisions += sum(length for _, length in found.values())
        loop = pool.hello().loop
    ratios = [a / b for a, b in zip(seconds["robomimic"], seconds["ours"], strict=True)]
    return {
        "policy": config.policy.name,
        "loop": loop,
        "workers": workers,
        "ratio_median": round(statistics.median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "rounds": rounds,
        "n": rounds * block,
        "successes_of_both": successes,
        "decisions": decisions,
        "robomimic_episodes_per_s": round(statistics.median(block / s for s in seconds["robomimic"]), 3),
        "ours_episodes_per_s": round(statistics.median(block / s for s in seconds["ours"]), 3),
        "robomimic_policy_share": round(serial.policy_s / sum(seconds["robomimic"]), 3),
        "our_policy_share": round(pool.policy_s / (pool.policy_s + pool.simulation_s), 3),
        "our_simulators_busy": round(pool.simulation_s / (workers * sum(seconds["ours"])), 3),
    }


def _round(serial: Serial, ours: Pooled, number: int, episodes: range, seconds: dict[str, list[float]]) -> Episodes:
    """Both sides on the same episodes, which must be equal one by one."""
    turns: list[tuple[str, Callable[[range], Episodes]]] = [("robomimic", serial), ("ours", ours)]
    found = {}
    for name, turn in turns if number % 2 == 0 else turns[::-1]:
        began = time.perf_counter()
        found[name] = turn(episodes)
        seconds[name].append(time.perf_counter() - began)
    differing = [e for e in episodes if found["ours"][e] != found["robomimic"][e]]
    if differing:
        raise SystemExit(f"Episodes {differing} differ between the two sides; nothing to compare.")
    return found["ours"]


def main() -> int:
    """Compare, print a line per task, write the JSON; 1 where a ratio is below what is required."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--tasks", nargs="+", default=list(TASKS))
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--block", type=int, default=50, help="episodes per turn; rounds x block is 200 at most")
    arguments.add_argument("--run", type=Path, help="a trained run; its task is the one compared")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    runs = {}
    if options.run:
        runs = {load_agent(options.run)[1].task.name: options.run}
        options.tasks = list(runs)
    settings = {"rounds": options.rounds, "block": options.block, "run": str(options.run or "small")}
    ledger = Ledger(options, settings | {"required": REQUIRED})
    for name in ledger.missing(options.tasks):
        task = load_task(name)
        ledger.keep(name, compare(task, runs.get(name) or small_policy(task), options.rounds, options.block))
    slow = [name for name, row in ledger.rows.items() if row["ratio_median"] < REQUIRED]
    if slow:
        print(f"Below {REQUIRED} x: {', '.join(slow)}.", file=sys.stderr)
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
