"""How the evaluation scales over simulator processes, what a process holds in memory, and where the time goes.

    python benchmarks/scaling.py [--task chain2] [--processes 1 2] [--rounds 3] [--episodes 12] [--run RUN]

Pools of several sizes roll out the same policy, taking turns; a pool of n processes rolls out n times as many episodes
a turn. Numbers of processes beyond the machine's cores are left out (default: those of 1, 2, 4, 8, 16 that it has).
Memory is what would be freed if the process ended (USS) and what it has resident (RSS, shared libraries included), with
three environments in each process, as in `robo-orl eval`.

`profile` is one run of one environment in one process, every part with a clock of its own (processor time): physics is
MuJoCo alone, fed with the controls that were recorded, controller the rest of the compiled loop.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
import torch
from ledger import Ledger, machine, parser, shown
from small_policy import small_policy
from stepper import physics_s, recorded_controls

from robo_orl.config import TaskConfig
from robo_orl.config.presets import load_task
from robo_orl.engine.checkpoint import load_agent
from robo_orl.envs.start_states import StartState
from robo_orl.envs.task_env import TaskEnv
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.evaluate.success import SLOTS
from robo_orl.rollout.env_spec import TaskEnvSpec
from robo_orl.rollout.episodes import PolicyQuery, Rollouts
from robo_orl.rollout.simulator import Act, Begin, EpisodeServer, Rollout

COUNTS = (1, 2, 4, 8, 16)
MIB = 2**20


def main() -> None:
    """Measure, print two tables' rows, write the JSON."""
    cores = machine()["cores"]
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--task", default="chain2")
    arguments.add_argument("--run", type=Path, help="a trained run [default: small_policy.py's]")
    arguments.add_argument("--processes", type=int, nargs="+", default=[n for n in COUNTS if n <= cores])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--episodes", type=int, default=12, help="per process and round")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    counts = [n for n in options.processes if n <= cores]
    for n in sorted({*options.processes} - {*counts}):
        print(f"{n} processes are left out: this machine has {cores} cores.", file=sys.stderr)
    settings = {"task": options.task, "run": str(options.run or "small"), "rounds": options.rounds}
    ledger = Ledger(options, settings | {"episodes": options.episodes, "processes": counts})
    for name in ledger.missing(["scaling", "profile"]):
        run = options.run or small_policy(load_task(options.task))
        if name == "scaling":
            ledger.keep(name, scaling(run, counts, options.rounds, options.episodes))
        else:
            ledger.keep(name, profile(run, options.episodes))


# ------------------------------------------------------------------------------------------------------------- scaling


def scaling(run: Path, counts: list[int], rounds: int, episodes: int) -> dict[str, Any]:
    """Per number of processes: decisions and episodes per second, relative to one process, and memory."""
    agent, config = load_agent(run)
    actor = AgentPolicy(agent, config.policy.action_head.execute, 0)
    rates: dict[int, list[tuple[float, float]]] = {n: [] for n in counts}
    with ExitStack() as stack:
        pools = {
            n: stack.enter_context(Rollouts(TaskEnvSpec(config.task), actor, n, SLOTS, recycle_after=10**9))
            for n in counts
        }
        for n, pool in pools.items():
            list(pool.run(range(n * SLOTS)))  # every slot builds its environment
            pool.policy_s = pool.simulation_s = 0.0
        for number in shown(range(rounds * len(counts)), "pools in turn", rounds * len(counts)):
            n = counts[number % len(counts)]
            rates[n].append(_turn(pools[n], n * episodes))
        memory = {n: _memory(pool) for n, pool in pools.items()}
    base = statistics.median(decisions for decisions, _ in rates[counts[0]])
    return {
        str(n): {
            "decisions_per_s": round(statistics.median(d for d, _ in rates[n]), 1),
            "episodes_per_s": round(statistics.median(e for _, e in rates[n]), 3),
            f"times_{counts[0]}_process": round(statistics.median(d for d, _ in rates[n]) / base, 2),
        }
        | memory[n]
        for n in counts
    }


def _turn(pool: Rollouts, episodes: int) -> tuple[float, float]:
    """(decisions, episodes) per second of wall time."""
    held = pool.info().starts
    began, decisions = time.perf_counter(), 0
    for first in range(0, episodes, held):
        decisions += sum(f.outcome.length for f in pool.run(range(min(held, episodes - first))))
    seconds = time.perf_counter() - began
    return decisions / seconds, episodes / seconds


def _memory(pool: Rollouts) -> dict[str, Any]:
    """Mebibytes of a simulator process (the median) and of the policy's."""
    held = [psutil.Process(simulator.process.pid).memory_full_info() for simulator in pool.pool.processes]
    ours = psutil.Process().memory_info()
    return {
        "worker_uss_mib": round(statistics.median(m.uss for m in held) / MIB),
        "worker_rss_mib": round(statistics.median(m.rss for m in held) / MIB),
        "policy_process_rss_mib": round(ours.rss / MIB),
    }


# ------------------------------------------------------------------------------------------------------------- profile


class Clocks:
    """Processor seconds by part, of calls that do not overlap unless they are subtracted from each other below."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def on(self, part: str, function: Callable) -> Callable:
        """The same function with a clock."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += time.process_time() - began

        return timed

    def on_method(self, part: str, thing: Any, name: str) -> None:
        """Put a clock on a method of one object."""
        setattr(thing, name, self.on(part, getattr(thing, name)))


def profile(run: Path, episodes: int) -> dict[str, Any]:
    """Microseconds per decision and share of every part, over whole episodes of one environment."""
    agent, config = load_agent(run)
    simulations = EpisodeServer(TaskEnvSpec(config.task))
    env = simulations.environments[0]
    actor, clocks = AgentPolicy(agent, config.policy.action_head.execute, 0), Clocks()
    _play(simulations, actor, 0)  # loads and compiles outside the clocks
    acted = _with_clocks(clocks, env, actor)
    taken: list[tuple[int, np.ndarray]] = []
    began = time.process_time()
    for episode in range(episodes):
        taken.append((episode, _play(simulations, acted, episode)))
    total = time.process_time() - began
    physics = _physics_alone(config.task, [(simulations.bank[episode], actions) for episode, actions in taken])
    decisions = sum(len(actions) for _, actions in taken)
    parts = _parts(clocks.seconds, physics, total)
    table = {n: {"us": round(1e6 * s / decisions, 1), "share": round(s / total, 3)} for n, s in parts.items()}
    return {"decisions": decisions, "us_per_decision": round(1e6 * total / decisions, 1), "parts": table}


def _physics_alone(task: TaskConfig, episodes: list[tuple[StartState, np.ndarray]]) -> float:
    """Processor seconds of MuJoCo on the controls of the episodes."""
    env = TaskEnv(task)
    try:
        return sum(physics_s(env, start, recorded_controls(env, start, actions)) for start, actions in episodes)
    finally:
        env.close()


def _with_clocks(clocks: Clocks, env: Any, actor: AgentPolicy) -> Callable:
    """Clocks on every part of a step; returns the policy with one, too."""
    stepper, simulator = env._stepper, env._env
    native = stepper._native
    stepper._native = SimpleNamespace(
        begin=clocks.on("native", native.begin), advance=clocks.on("native", native.advance)
    )
    clocks.on_method("goals", stepper, "_set_goals")
    clocks.on_method("sensors", simulator, "_update_observables")
    clocks.on_method("sensors", env, "_observe")
    clocks.on_method("stages", env, "_advance")
    clocks.on_method("step", env, "step")
    clocks.on_method("reset", env, "reset")
    return clocks.on("policy", actor)


def _parts(seconds: dict[str, float], physics: float, total: float) -> dict[str, float]:
    """Seconds by part, adding up to the total."""
    inner = sum(seconds[part] for part in ("native", "goals", "sensors", "stages"))
    return {
        "MuJoCo's physics": physics,
        "controller, compiled": seconds["native"] - physics,
        "robosuite's sensors": seconds["sensors"],
        "goals and gripper": seconds["goals"],
        "stages and success": seconds["stages"],
        "rest of the step, in Python": seconds["step"] - inner,
        "resets": seconds["reset"],
        "policy, batches of one": seconds["policy"],
        "hash of the episode, bookkeeping": total - seconds["step"] - seconds["reset"] - seconds["policy"],
    }


def _play(simulations: EpisodeServer, actor: Callable, episode: int) -> np.ndarray:
    """One episode; the actions that were taken (T, A)."""
    reply, decision, taken = simulations(Begin(0, episode, 1.0)), 0, []
    rollout: Rollout = simulations.rollouts[0]
    while reply.outcome is None:
        before = rollout.length
        actions = actor([PolicyQuery(episode, decision, reply.obs)])[0]
        reply, decision = simulations(Act(0, actions)), decision + 1
        taken.append(actions[: rollout.length - before])
    return np.concatenate(taken)


if __name__ == "__main__":
    main()
