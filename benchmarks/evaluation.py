"""Episodes per second: the evaluation's pool beside a plain loop in one process, the very same episodes.

    python benchmarks/evaluation.py [--run RUN ...] [--out benchmarks/evaluation.json]

The plain loop is what robot-learning code does: one environment in the policy's process, the policy asked for one
episode at a time, here with the same fast physics loop. Both roll out the same start states with the same draws, and
their episodes are compared by a hash of every observation and action. Plain loop and pool take turns, a block of
episodes each; the ratio is the median over rounds of the ratio within a round. Starting processes and building the
first environments is left out on both sides. `plain_float32` is the plain loop with the policy in float32, which saves
it a little time and costs it the bit-equality with batched calls.

Without --run, policies of policies/ with fresh weights on chain2: their episodes last until the time-out.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the plain loop's numpy; the pool sets its own

import torch
from torch import nn

from robo_orl.agent.agent import build_agent
from robo_orl.base.files import atomic_file
from robo_orl.base.machine import cores, versions
from robo_orl.config import PolicyConfig, TaskConfig
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.synthetic_step import task_spec
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.evaluate.success import SLOTS
from robo_orl.rollout.env_spec import TaskEnvSpec
from robo_orl.rollout.episodes import PolicyQuery, Rollouts
from robo_orl.rollout.simulator import Act, Begin, EpisodeServer

POLICIES = ("bc", "bc_flow", "qc")
REQUIRED = 1.7


@dataclass
class Subject:
    """What is rolled out."""

    name: str
    agent: nn.Module
    policy: PolicyConfig
    task: TaskConfig


def fresh(name: str, task: TaskConfig) -> Subject:
    """A policy of policies/ as it is before training."""
    policy = load_policy(name)
    agent = build_agent(policy, task_spec(task), 7, policy.gamma.value(task.horizon), None, 0)
    return Subject(f"{name}, fresh weights", agent, policy, task)


def trained(run: Path) -> Subject:
    """The newest checkpoint of a run."""
    agent, config = load_agent(run)
    return Subject(f"{config.policy.name}, {config.policy.optim.steps} steps", agent, config.policy, config.task)


def plain(simulations: EpisodeServer, actor: AgentPolicy, episodes: range) -> dict[int, str]:
    """One episode after the other in this process; episode -> fingerprint."""
    fingerprints = {}
    for episode in episodes:
        reply = simulations(Begin(0, episode, 1.0))
        decision = 0
        while reply.outcome is None:
            actions = actor([PolicyQuery(episode, decision, reply.obs)])[0]
            reply = simulations(Act(0, actions))
            decision += 1
        fingerprints[episode] = reply.outcome.fingerprint
    return fingerprints


def pooled(rollouts: Rollouts, episodes: range) -> dict[int, str]:
    """All at once; episode -> fingerprint."""
    return {finished.episode: finished.outcome.fingerprint for finished in rollouts.run(episodes)}


def compare(subject: Subject, rounds: int, block: int, simulations: EpisodeServer, workers: int, slots: int) -> dict:
    """Interleaved rounds of one subject."""
    execute = subject.policy.action_head.execute
    exact = AgentPolicy(copy.deepcopy(subject.agent), execute, 0)
    single = AgentPolicy(copy.deepcopy(subject.agent), execute, 0, torch.float32)
    pool = Rollouts(TaskEnvSpec(subject.task), exact, workers, slots, recycle_after=10**9)
    seconds: dict[str, list[float]] = {"plain": [], "pool": [], "plain_float32": []}
    with pool:
        pooled(pool, range(workers * slots))  # every slot builds its environment
        plain(simulations, exact, range(1))
        for number in range(rounds):
            episodes = range(number * block, (number + 1) * block)
            turns = {
                "plain": lambda e=episodes: plain(simulations, exact, e),
                "pool": lambda e=episodes: pooled(pool, e),
                "plain_float32": lambda e=episodes: plain(simulations, single, e),
            }
            found = dict(_timed(turns, number, seconds))
            if found["plain"] != found["pool"]:
                raise SystemExit(f"{subject.name}: plain loop and pool disagree about episodes; nothing to compare.")
    return _row(subject, seconds, block, pool)


def _timed(turns: dict, number: int, seconds: dict[str, list[float]]) -> Iterator[tuple[str, dict[int, str]]]:
    """Run the turns of a round, another one first in every round."""
    names = list(turns)
    for name in names[number % len(names) :] + names[: number % len(names)]:
        began = time.perf_counter()
        yield name, turns[name]()
        seconds[name].append(time.perf_counter() - began)


def _row(subject: Subject, seconds: dict[str, list[float]], block: int, pool: Rollouts) -> dict:
    def ratios(name: str) -> list[float]:
        return [a / b for a, b in zip(seconds[name], seconds["pool"], strict=True)]

    exact, single = ratios("plain"), ratios("plain_float32")
    work_s = pool.policy_s + pool.simulation_s
    return {
        "policy": subject.name,
        "task": subject.task.name,
        "size": subject.policy.backbone.size,
        "ratio_median": round(statistics.median(exact), 2),
        "ratio_min": round(min(exact), 2),
        "ratio_max": round(max(exact), 2),
        "ratio_to_plain_float32_median": round(statistics.median(single), 2),
        "n": len(exact),
        "episodes_per_block": block,
        "episodes_compared_bit_for_bit": block * len(exact),
        "pool_policy_share": round(pool.policy_s / work_s, 3),
        "pool_episodes_per_policy_call": round(pool.decisions / pool.policy_calls, 2),
    }


def _command(options: argparse.Namespace) -> str:
    """What to type; the folders of trained runs are told by their policies in the rows."""
    what = (
        " ".join("--run RUN" for _ in options.run) or f"--task {options.task} --policies {' '.join(options.policies)}"
    )
    return f"python benchmarks/evaluation.py {what} --rounds {options.rounds} --block {options.block}"


def main(arguments: list[str] | None = None) -> int:
    """Run, print a line per policy, write the result; 1 where a ratio is below what is required."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, action="append", default=[], help="trained runs of one task")
    parser.add_argument("--task", default="chain2", help="task of fresh policies")
    parser.add_argument("--policies", nargs="*", default=POLICIES, help="fresh policies")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--block", type=int, default=24, help="episodes per turn")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--slots", type=int, default=SLOTS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    load_before = os.getloadavg()[0]
    torch.set_num_threads(1)  # faster than two for batches of this size, in the plain loop too
    subjects = [trained(run) for run in options.run] or [fresh(p, load_task(options.task)) for p in options.policies]
    simulations = EpisodeServer(TaskEnvSpec(subjects[0].task))
    rows = []
    for subject in subjects:
        row = compare(subject, options.rounds, options.block, simulations, options.workers, options.slots)
        rows.append(row)
        print("{policy:32} x{ratio_median} ({ratio_min} to {ratio_max}, n={n})".format(**row), file=sys.stderr)
    result = {
        "command": _command(options),
        "cores": cores(),
        "load_average": {"before": round(load_before, 1), "after": round(os.getloadavg()[0], 1)},
        "workers": options.workers,
        "slots": options.slots,
        "loop": simulations.info().loop,
        "required": REQUIRED,
        "versions": versions(),
        "rows": rows,
    }
    print(json.dumps(result, indent=1))
    if options.out:
        with atomic_file(options.out) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
    return int(min(row["ratio_median"] for row in rows) < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
