"""Learning online at size tiny with cached tokens: CPU time of an update by method, and of acting by episodes at once.

All rows take turns within one run, on one thread, in seconds of the processor: other work on the machine does not
count. From them follows what a budget of environment steps takes of the process that learns; simulators run beside it.

    python benchmarks/online_speed.py --rounds 30 --out benchmarks/online_speed.json

With --whole a run goes online from its first step to its last, by the clock, and the account says where the time went:
on a machine that does nothing else.

    python benchmarks/online_speed.py --whole runs/bc_flow --steps 60000 --out benchmarks/online_whole.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from robo_orl.base.machine import cores
from robo_orl.config import PolicyConfig
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.workload import workload_of
from robo_orl.cost.profile import Request
from robo_orl.cost.synthetic_step import SyntheticStep
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.online.loop import go_online
from robo_orl.online.start import resolve_start
from robo_orl.rollout.episodes import PolicyQuery

METHODS = ("bc_continue", "qc", "iql")
AT_ONCE = (3, 8)  # episodes under way: before, and now


def step_of(method: str) -> tuple[SyntheticStep, PolicyConfig]:
    """The update of a method laid on flow cloning."""
    (policy,), task = Request(policies=("bc+flow",), task="lift", size="tiny", online=method).resolve()
    workload = workload_of(policy, task, Layout())
    return SyntheticStep(policy, workload.spec, workload.action_dim, workload.gamma), policy


def decision_of(step: SyntheticStep, policy: PolicyConfig, episodes: int) -> Callable[[], object]:
    """One decision of so many episodes, in the precision in which a policy acts."""
    from copy import deepcopy

    actor = AgentPolicy(deepcopy(step.agent), policy.action_head.execute, 0)
    rng = np.random.default_rng(0)
    seen = {key: rng.normal(size=size).astype(np.float32) for key, size in step.spec.items()}
    queries = [PolicyQuery(number, 0, seen) for number in range(episodes)]
    return lambda: actor(queries)


def milliseconds(call: Callable[[], object]) -> float:
    """Of the processor, for one call."""
    began = time.process_time()
    call()
    return 1000 * (time.process_time() - began)


def measured(rounds: int) -> dict:
    """Medians over rounds of everything in turns."""
    torch.set_num_threads(1)
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    for method in METHODS:
        step, policy = step_of(method)
        calls[method, "update"] = step.run
        for count in AT_ONCE:
            calls[method, f"decision of {count}"] = decision_of(step, policy, count)
    table: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for turn in range(3 + rounds):
        for key, call in calls.items():
            spent = milliseconds(call)
            if turn >= 3:
                table[key].append(spent)
    rows = [_row(method, table) for method in METHODS]
    return {"n": rounds, "load": os.getloadavg()[0], "rows": rows}


def _row(method: str, table: dict[tuple[str, str], list[float]]) -> dict:
    before, now = ([spent / count for spent in table[method, f"decision of {count}"]] for count in AT_ONCE)
    ratios = [b / a for a, b in zip(before, now, strict=True)]
    update = median(table[method, "update"])
    decisions, updates = 60_000 / 5, 2 * 60_000 / 5  # chunks of five actions, two updates for each
    return {
        "method": method,
        "update_ms": update,
        "decision_before_ms": median(before),
        "decision_now_ms": median(now),
        "decision_ratio": median(ratios),
        "minutes_of_60000_steps": (updates * update + decisions * median(now)) / 60_000,
    }


def whole_run(run: Path, method: str, steps: int, episodes: int, folder: Path) -> dict:
    """Seconds by the clock of a run in `folder` that is not there yet, and their shares.

    learning, acting: of this process, one after the other. waiting: the rest of collecting and learning, for simulators
    and for what is written. judging: of points, the one at 0 and that of the start among them. opening: imports aside,
    what comes before the first and after the last of these. simulation_s: of all simulators, beside the rest.
    """
    if folder.exists():
        raise SystemExit(f"{folder} is there already: a whole run is timed from its first step, give another --folder.")
    start = resolve_start(run, method, 0, settings=(f"policy.online.evaluation.episodes={episodes}",))
    load, began, spent = os.getloadavg()[0], time.perf_counter(), time.process_time()
    account = go_online(start, folder, steps, progress=False)
    wall, processor = time.perf_counter() - began, time.process_time() - spent
    seconds = {
        "learning": account["learning_s"],
        "acting": account["acting_s"],
        "waiting": account["wall_s"] - account["learning_s"] - account["acting_s"],
        "judging": account["evaluation_s"],
        "opening": wall - account["wall_s"] - account["evaluation_s"],
    }
    return {
        "run": run.name,
        "method": method,
        "steps": steps,
        "updates_a_chunk": start.run.policy.online.updates,
        "trains": start.run.policy.online.trains,
        "wall_s": wall,
        "collect_and_learn_s": account["wall_s"],
        "processor_s": processor,
        "shares": {name: value / wall for name, value in seconds.items()},
        "simulation_s": account["simulation_s"],
        "points": len(account["points"]),
        "episodes_of_a_point": episodes,
        **{name: account[name] for name in ("env_steps", "episodes", "updates", "peak_memory_bytes")},
        "cores": cores(),
        "load_before": load,
    }


def main() -> None:
    """Print the rows, or the whole run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--whole", type=Path, metavar="RUN", help="time a whole run that goes on from RUN instead")
    parser.add_argument("--method", default="qc", help="of the whole run")
    parser.add_argument("--steps", type=int, default=60_000, help="of the whole run")
    parser.add_argument("--episodes", type=int, default=200, help="of a point of the whole run")
    parser.add_argument("--folder", type=Path, help="of the whole run, default RUN_METHOD_timed")
    parser.add_argument("--out", type=Path, help="where the rows go as JSON")
    arguments = parser.parse_args()
    if arguments.whole is not None:
        folder = arguments.folder or Path(f"{arguments.whole}_{arguments.method}_timed")
        found = whole_run(arguments.whole, arguments.method, arguments.steps, arguments.episodes, folder)
    else:
        found = measured(arguments.rounds)
    text = json.dumps(found, indent=1) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
