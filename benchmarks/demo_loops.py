"""How much faster the native loop makes `make demo`: its simulation with robosuite's own stepping and with `exact`.

    python benchmarks/demo_loops.py [--episodes 12] [--rounds 2] [--costs]

For each task of the suite `quick`, episodes of its data are recorded in one process, and episodes of a small policy
evaluated by the demo's own pool, with each loop in turn. Seconds per episode, times the demo's numbers of episodes,
tell how long the demo simulates with either loop; recording is divided by the number of cores. The rest of the demo
(installing, training, measuring cost) does not depend on the loop; what its measurements of cost take is told in
seconds of a processor. Rows already in the result are kept.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from ledger import Ledger, machine, parser, shown
from small_policy import small_policy

from robo_orl.config import TaskConfig
from robo_orl.config.presets import load_task
from robo_orl.engine.checkpoint import load_agent
from robo_orl.envs.demonstrators.regimes import plan, record
from robo_orl.envs.task_env import TaskEnv
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.evaluate.success import SLOTS
from robo_orl.rollout.env_spec import TaskEnvSpec
from robo_orl.rollout.episodes import Rollouts
from robo_orl.sweep.cells import Cell, expand, load_suite
from robo_orl.sweep.cost_cells import cost_cells
from robo_orl.sweep.job import write_inputs
from robo_orl.sweep.jobs import cost_job

LOOPS = ("stock", "exact")


def main() -> None:
    """Measure, print a line per task and one for the demo, write the JSON."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--episodes", type=int, default=12, help="recorded, and evaluated per round")
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--costs", action="store_true", help="the measurements of cost alone")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    cells = [] if options.costs else expand(load_suite("quick"))
    tasks = sorted({cell.task.name for cell in cells})
    ledger = Ledger(options, {"episodes": options.episodes, "rounds": options.rounds})
    for name in ledger.missing(tasks):
        task = load_task(name)
        run = small_policy(task)
        seconds = {"recorded": recording_s(task, options.episodes)}
        seconds["evaluated"] = evaluating_s(task, run, options.episodes, options.rounds)
        ledger.keep(name, {f"s_per_episode_{what}": values for what, values in seconds.items()})
    for _ in ledger.missing(["costs"]):
        ledger.keep("costs", {"processor_s": costing_s()})
    for _ in [] if options.costs else ledger.missing(["demo"]):
        ledger.keep("demo", demo(cells, ledger.rows))


def recording_s(task: TaskConfig, episodes: int) -> dict[str, float]:
    """Loop -> median seconds that one process needs to record an episode of the demo's regime."""
    envs = {loop: TaskEnv(task, loop) for loop in LOOPS}
    seconds: dict[str, list[float]] = {loop: [] for loop in LOOPS}
    for item in shown(plan(task, "mg", episodes, seed=0), f"{task.name}: recording", episodes):
        start = envs["exact"].draw_start(item.start_seed)
        for loop, env in envs.items():
            began = time.perf_counter()
            record(env, start, item)
            seconds[loop].append(time.perf_counter() - began)
    for env in envs.values():
        env.close()
    return {loop: round(statistics.median(values), 3) for loop, values in seconds.items()}


def costing_s() -> dict[str, float]:
    """Cost cell of the demo -> seconds of a processor that its measurement takes."""
    suite, found = load_suite("quick"), {}
    with TemporaryDirectory() as folder:
        for cell in shown(cost_cells(suite), "costs", 2):
            job = cost_job(cell, Path(folder))
            write_inputs([job])
            before = getrusage(RUSAGE_CHILDREN)
            subprocess.run(job.command, check=True, stdout=subprocess.DEVNULL)
            after = getrusage(RUSAGE_CHILDREN)
            found[cell.key] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)
    return found


def evaluating_s(task: TaskConfig, run: Path, episodes: int, rounds: int) -> dict[str, float]:
    """Loop -> median seconds per episode of a pool on all cores."""
    agent, config = load_agent(run)
    actor = AgentPolicy(agent, config.policy.action_head.execute, 0)
    workers = machine()["cores"]
    seconds: dict[str, list[float]] = {loop: [] for loop in LOOPS}
    with ExitStack() as stack:
        pools = {
            loop: stack.enter_context(Rollouts(TaskEnvSpec(task, loop), actor, workers, SLOTS, recycle_after=10**9))
            for loop in LOOPS
        }
        for pool in pools.values():
            list(pool.run(range(workers * SLOTS)))  # every slot builds its environment
        for turn in shown(range(2 * rounds), f"{task.name}: evaluating", 2 * rounds):
            loop, first = LOOPS[turn % 2], turn // 2 * episodes
            began = time.perf_counter()
            list(pools[loop].run(range(first, first + episodes)))
            seconds[loop].append((time.perf_counter() - began) / episodes)
    return {loop: round(statistics.median(values), 3) for loop, values in seconds.items()}


def demo(cells: list[Cell], rows: dict[str, Any]) -> dict[str, Any]:
    """Minutes that the demo simulates with each loop."""
    files = {cell.data_key: cell for cell in cells}.values()
    minutes = {}
    for loop in LOOPS:
        recorded = sum(c.data.episodes * rows[c.task.name]["s_per_episode_recorded"][loop] for c in files)
        evaluated = sum(c.evaluation.episodes * rows[c.task.name]["s_per_episode_evaluated"][loop] for c in cells)
        minutes[loop] = round((recorded / machine()["cores"] + evaluated) / 60, 2)
    return {"episodes_recorded": sum(c.data.episodes for c in files),
            "episodes_evaluated": sum(c.evaluation.episodes for c in cells),
            "minutes_simulated": minutes, "ratio": round(minutes["stock"] / minutes["exact"], 2)}  # fmt: skip


if __name__ == "__main__":
    main()
