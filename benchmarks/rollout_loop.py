"""Episodes per second: our whole evaluation beside robomimic's serial rollout loop, the same episodes with both.

    python benchmarks/rollout_loop.py [--tasks lift stack can square chain2] [--rounds 3] [--block 50] [--run RUN]

robomimic's side is its own `run_rollout` and `RolloutPolicy`, in one process, on our scenes with robosuite's own
stepping. Ours is the pool of `robo-orl eval` with as many simulators as there are cores, and the `exact` loop. All
roll out the same policy from the same stored start states and must agree on every single episode, its success and its
length: that is equal success, and equal work.

robomimic's side comes twice. `robomimic` has robosuite's environment as robosuite ships it: its own reset, which builds
the scene anew, before the stored start state is put in, and all its sensors. `lent` has lent it our resets and switches
off the sensors that the policy does not see, which leaves the stepping, the policy's calls and the pool. In both its
policy acts once per chunk.

They take turns, a block of start states each, another one first in every round; a ratio is the median over rounds of
the ratio within a round. Left out on all sides: starting processes and building environments. The policy is
small_policy.py's unless --run gives one, for its own task.

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

import numpy as np
import torch
from ledger import Ledger, parser, shown
from robomimic.algo import RolloutPolicy
from robomimic.utils.train_utils import run_rollout
from small_policy import small_policy

from robo_orl.base.machine import cores
from robo_orl.config import TaskConfig
from robo_orl.config.presets import load_task
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.evaluate.success import SLOTS
from robo_orl.robomimic.rollout import ChunkPolicy, RobomimicEnv
from robo_orl.rollout.env_spec import TaskEnvSpec
from robo_orl.rollout.episodes import Rollouts

REQUIRED = 6.0
TASKS = ("lift", "stack", "can", "square", "chain2")
Episodes = dict[int, tuple[bool, int]]  # episode -> success, length
Side = Callable[[range], Episodes]


class Shipped(RobomimicEnv):
    """A task with robosuite's own reset before each start state, and with all of robosuite's sensors."""

    def __init__(self, task: TaskConfig):
        super().__init__(task)
        robosuite = self._env._env
        robosuite.hard_reset = True  # robosuite's default
        for name in (name for name in robosuite.observation_names if name.startswith("robot0_")):
            robosuite.modify_observable(name, "enabled", True)
            robosuite.modify_observable(name, "active", True)

    def reset(self) -> dict[str, np.ndarray]:
        """robosuite's reset, then the next start state."""
        self._env._env.reset()
        self._env._bind()
        return super().reset()


class Serial:
    """robomimic's side."""

    def __init__(self, env: RobomimicEnv, task: TaskConfig, actor: AgentPolicy):
        self.task, self.policy, self.policy_s = task, ChunkPolicy(self._timed(actor)), 0.0
        self.env = env

    def _timed(self, actor: AgentPolicy) -> Callable[..., Any]:
        def call(queries: list) -> Any:
            began = time.perf_counter()
            actions = actor(queries)
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
    serial = {
        name: Serial(kind(task), task, AgentPolicy(copy.deepcopy(agent), execute, 0))
        for name, kind in (("robomimic", Shipped), ("lent", RobomimicEnv))
    }
    workers = cores()
    with Rollouts(TaskEnvSpec(task), AgentPolicy(agent, execute, 0), workers, SLOTS, recycle_after=10**9) as pool:
        sides = serial | {"ours": Pooled(pool)}
        sides["ours"](range(workers * SLOTS))  # every slot builds its environment
        for side in serial.values():
            side(range(1))
            side.policy_s = 0.0
        pool.policy_s = pool.simulation_s = 0.0
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        successes = decisions = 0
        for number in shown(range(rounds), f"{task.name}: blocks of {block} episodes", rounds):
            found = _round(sides, number, range(number * block, (number + 1) * block), seconds)
            successes += sum(success for success, _ in found.values())
            decisions += sum(length for _, length in found.values())
        loop = pool.info().loop
    return {
        "policy": config.policy.name,
        "loop": loop,
        "workers": workers,
        **_ratios("ratio", seconds["robomimic"], seconds["ours"]),
        **_ratios("lent_ratio", seconds["lent"], seconds["ours"]),
        "rounds": rounds,
        "n": rounds * block,
        "successes_of_all": successes,
        "decisions": decisions,
        **{f"{name}_episodes_per_s": round(statistics.median(block / s for s in t), 3) for name, t in seconds.items()},
        "robomimic_policy_share": round(serial["robomimic"].policy_s / sum(seconds["robomimic"]), 3),
        "our_policy_share": round(pool.policy_s / (pool.policy_s + pool.simulation_s), 3),
        "our_simulators_busy": round(pool.simulation_s / (workers * sum(seconds["ours"])), 3),
    }


def _ratios(name: str, theirs: list[float], ours: list[float]) -> dict[str, float]:
    found = [a / b for a, b in zip(theirs, ours, strict=True)]
    of = {"median": statistics.median, "min": min, "max": max}
    return {f"{name}_{which}": round(pick(found), 2) for which, pick in of.items()}


def _round(sides: dict[str, Side], number: int, episodes: range, seconds: dict[str, list[float]]) -> Episodes:
    """All sides on the same episodes, which must be equal one by one."""
    order = list(sides)
    first = number % len(order)
    found = {}
    for name in order[first:] + order[:first]:
        began = time.perf_counter()
        found[name] = sides[name](episodes)
        seconds[name].append(time.perf_counter() - began)
    differing = [e for e in episodes if len({found[name][e] for name in order}) > 1]
    if differing:
        raise SystemExit(f"Episodes {differing} differ between the sides; nothing to compare.")
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
