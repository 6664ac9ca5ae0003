"""What learning online holds by prediction: the step of `qc` laid on flow cloning, by size and layout of the critic.

python benchmarks/online_memory.py --sizes tiny 1b 7b --out benchmarks/online_memory.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from robo_orl.cost.predict.acting_memory import online_memory
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import workload_of
from robo_orl.cost.profile import Request

METHODS = ("qc", "qc+whole", "qc+separate")


def predicted(size: str, method: str) -> dict:
    """Bytes of the step and of the copies that act, numbers, FLOPs."""
    precision = "fp32" if size == "tiny" else "bf16"
    (policy,), task = (request := Request(("bc+flow",), "lift", size, online=method, precision=precision)).resolve()
    workload = workload_of(policy, task, request.layout)
    acting, weights = online_memory(workload), workload.weights
    return {
        "size": size,
        "method": method,
        "params": weights.trained + weights.frozen,
        "trained": weights.trained,
        "peak": memory(workload).peak_bytes,
        "collecting": acting.collecting,
        "judging": acting.judging,
        "tok": acting.token_bytes_per_frame,
        "flops": workload.flops(model=False),
    }


def main() -> None:
    """Print a row for every size and method."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["tiny", "1b", "7b"])
    parser.add_argument("--out", type=Path, help="where the rows go as JSON")
    arguments = parser.parse_args()
    rows = [predicted(size, method) for size in arguments.sizes for method in METHODS]
    text = json.dumps(rows, indent=1) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
