"""Does the fast substep loop change outcomes? The same operators from the same starts with both loops, in pairs.

    python benchmarks/fast_loop.py [--tasks lift stack] [--episodes 500] [--out benchmarks/fast_loop.json]

The fast loop differs from the exact one by rounding, which contacts amplify; what matters is whether success differs.
The operators are those of the mixed-competence data: they read the simulation at every step, so that a difference acts
on itself, and they fail often enough for outcomes to be able to differ. The test is McNemar's, exact and two-sided.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from robo_orl.data.atomic import atomic_file
from robo_orl.envs.regimes import plan, record
from robo_orl.envs.task_env import TaskEnv
from robo_orl.presets import load_task


def main() -> None:
    """Compare, print a line per task, write the JSON."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tasks", nargs="+", default=["lift", "stack"])
    arguments.add_argument("--episodes", type=int, default=500)
    arguments.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = arguments.parse_args()
    rows = []
    for name in options.tasks:
        rows.append(compare(name, options.episodes))
        print(json.dumps(rows[-1]), flush=True)
        _write(options.out, rows)  # after every task: the next one may take half an hour


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    result = {
        "command": " ".join(["python", "benchmarks/fast_loop.py", *sys.argv[1:]]),
        "versions": {name: version(name) for name in ("robosuite", "mujoco", "numba", "numpy", "scipy")},
        "rows": rows,
    }
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n")


def compare(name: str, episodes: int) -> dict[str, Any]:
    """Outcomes of the same episodes with both loops."""
    task = load_task(name)
    exact, fast = TaskEnv(task, "exact"), TaskEnv(task, "fast")
    pairs, lengths, drifts = [], [], []
    for item in plan(task, "mg", episodes, seed=0):
        start = exact.draw_start(item.start_seed)
        one, other = record(exact, start, item), record(fast, start, item)
        pairs.append((one.success, other.success))
        lengths.append(len(one) == len(other))
        if len(one) == len(other):
            drifts.append(float(np.abs(one.states[-1] - other.states[-1]).max()))
    counts = {f"{a}_{b}": pairs.count((a, b)) for a in (True, False) for b in (True, False)}
    only_exact, only_fast = counts["True_False"], counts["False_True"]
    discordant = only_exact + only_fast
    return {
        "task": name,
        "n": len(pairs),
        "exact_successes": sum(a for a, _ in pairs),
        "fast_successes": sum(b for _, b in pairs),
        "only_exact_succeeds": only_exact,
        "only_fast_succeeds": only_fast,
        "mcnemar_p": binomtest(only_exact, discordant).pvalue if discordant else 1.0,
        "equal_lengths": sum(lengths),
        "final_state_difference_median": float(np.median(drifts)),
        "final_state_difference_largest": max(drifts),
    }


if __name__ == "__main__":
    main()
