"""How often the scripted experts and the faulty operators succeed, as counts: benchmarks/experts.json.

    python benchmarks/experts.py                         # every row, 200 episodes each (an hour on two cores)
    python benchmarks/experts.py chain1:ph chain1:mg     # some rows
    python benchmarks/experts.py --episodes 20 lift:ph   # fewer episodes

"ph" is the clean expert (action noise 0.1). Rows are kept as they finish; a row that is asked for again is replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROWS = (
    *("lift:ph", "stack:ph", "chain1:ph", "chain2:ph", "can:ph", "square:ph", "chain4:ph", "chain8:ph"),
    *("chain1:mg", "chain2:mg", "chain4:stitch", "chain1:mh", "chain2:mh", "chain2:stitch", "chain2:paired"),
    *("transport:ph", "tool_hang:ph", "transport:mh", "tool_hang:mh", "transport:mg", "tool_hang:mg"),
    *("transport:stitch", "tool_hang:stitch", "transport:paired", "tool_hang:paired"),
    *("lift:mg", "stack:mg", "can:mg", "square:mg", "chain4:mg"),
)
OUT = Path(__file__).with_suffix(".json")


def measure(task_name: str, regime: str, first: int, last: int, seed: int) -> list[dict]:
    """Episodes first .. last-1 of the plan: success, stages and length of each."""
    from robo_orl.config.presets import load_task
    from robo_orl.envs.demonstrators.regimes import plan, record
    from robo_orl.envs.task_env import TaskEnv

    task = load_task(task_name)
    env = TaskEnv(task)
    rows = []
    for item in plan(task, regime, last, seed)[first:]:
        episode = record(env, env.draw_start(item.start_seed), item)
        rows.append({"success": episode.success, "stages": episode.stages[-1].tolist(), "length": len(episode)})
    env.close()
    return rows


def summary(task: str, regime: str, rows: list[dict], seed: int) -> dict:
    """Counts of one row."""
    from robo_orl.envs.registry import load_robosuite

    lengths = [row["length"] for row in rows if row["success"]]
    return {
        "task": task,
        "regime": regime,
        "seed": seed,
        "k": sum(row["success"] for row in rows),
        "n": len(rows),
        "stages_k": [sum(column) for column in zip(*(row["stages"] for row in rows), strict=True)],
        "decisions_of_successes_median": statistics.median(lengths) if lengths else None,
        "decisions_in_failures": sum(row["length"] for row in rows if not row["success"]),
        "decisions": sum(row["length"] for row in rows),
        "robosuite": load_robosuite().__version__,
        "command": f"python benchmarks/experts.py --episodes {len(rows)} --seed {seed} {task}:{regime}",
    }


def main() -> None:
    """Measure the rows named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=ROWS)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    bounds = [round(i * args.episodes / args.workers) for i in range(args.workers + 1)]
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        for row in args.rows or ROWS:
            task, regime = row.split(":")
            parts = [
                pool.submit(measure, task, regime, a, b, args.seed) for a, b in zip(bounds, bounds[1:], strict=False)
            ]
            result = summary(task, regime, [item for part in parts for item in part.result()], args.seed)
            keep(result)
            print(f"{task:8} {regime:7} {result['k']}/{result['n']}  stages {result['stages_k']}", file=sys.stderr)


def keep(result: dict) -> None:
    """Write one row into the results file, in the place of an older one."""
    rows = json.loads(OUT.read_text()) if OUT.exists() else []
    same = (result["task"], result["regime"])
    rows = [row for row in rows if (row["task"], row["regime"]) != same] + [result]
    rows.sort(key=lambda row: (row["regime"], row["task"]))
    partial = OUT.with_suffix(".partial")
    partial.write_text(json.dumps(rows, indent=1) + "\n")
    os.replace(partial, OUT)


if __name__ == "__main__":
    main()
