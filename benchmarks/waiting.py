"""Training steps of two threads on a busy machine: threads that spin while they wait beside threads that sleep.

How threads wait is settled when torch loads, so every measurement is a process of its own, and the two take turns. The
load of the machine is recorded; without other work there is nothing to see.

    python benchmarks/waiting.py --steps 4 --out benchmarks/waiting.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from robo_orl.base.machine import PASSIVE, cores

THREADS = 2


def steps_of_one_process(steps: int, size: str) -> dict:
    """Seconds of the steps after one of warm-up, and the digest of the weights after them."""
    import torch
    from evidence_experiments import step_of

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    step = step_of("bc", size, 128)
    step.run()
    began = time.perf_counter()
    for _ in range(steps):
        step.run()
    seconds = time.perf_counter() - began
    weights = b"".join(parameter.detach().numpy().tobytes() for parameter in step.agent.parameters())
    return {"seconds": seconds, "weights": hashlib.sha256(weights).hexdigest()}


def measured(passive: bool, steps: int, size: str) -> dict:
    """The same in a process of its own, with the load of the machine."""
    environment = {key: value for key, value in os.environ.items() if key not in PASSIVE}
    environment |= {"OMP_NUM_THREADS": str(THREADS)} | (PASSIVE if passive else {})
    command = [sys.executable, __file__, "--one", "--steps", str(steps), "--size", size]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout) | {"load": os.getloadavg()[0]}


def main() -> None:
    """Print seconds in turns and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--size", default="s")
    parser.add_argument("--one", action="store_true", help="measure in this process")
    parser.add_argument("--out", type=Path, help="where the rows go as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(steps_of_one_process(arguments.steps, arguments.size)))
        return
    rows = []
    for turn in range(arguments.rounds):
        order = (True, False) if turn % 2 else (False, True)
        row = {passive: measured(passive, arguments.steps, arguments.size) for passive in order}
        rows.append({"spinning": row[False], "passive": row[True]})
        print({name: round(values["seconds"], 2) for name, values in rows[-1].items()}, flush=True)
    ratios = [row["spinning"]["seconds"] / row["passive"]["seconds"] for row in rows]
    result = {
        "command": f"python benchmarks/waiting.py --rounds {arguments.rounds} --steps {arguments.steps}",
        "n": len(rows),
        "steps": arguments.steps,
        "size": arguments.size,
        "threads": THREADS,
        "cores": cores(),
        "load": [min(v["load"] for r in rows for v in r.values()), max(v["load"] for r in rows for v in r.values())],
        "spinning_s": median(row["spinning"]["seconds"] for row in rows),
        "passive_s": median(row["passive"]["seconds"] for row in rows),
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "bit_equal": len({values["weights"] for row in rows for values in row.values()}) == 1,
        "rows": rows,
    }
    print(f"spinning takes {result['ratio']:.2f} times as long")
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
