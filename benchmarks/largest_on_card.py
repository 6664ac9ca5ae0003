"""Does the largest predicted model train on the card, and does the next one not? Two steps of each, on this GPU.

    python benchmarks/largest_on_card.py --card h100-80gb [--policies bc_flow qc]

The predictions are those of benchmarks/largest_model.json (bf16, 64 observations, one process); rows go to
benchmarks/largest_on_card.json as they are made; a second call makes what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # what the predictions assume

import torch
from largest_model import workload_named
from ledger import measured_on

from robo_orl.base.files import write_json
from robo_orl.cost.measure.device import forget, out_of_memory
from robo_orl.cost.predict.largest import at, dial
from robo_orl.cost.synthetic_step import SyntheticStep
from robo_orl.envs.registry import ARM_ACTION

HERE = Path(__file__).parent
STEPS = 2  # the first makes the moments


def main() -> None:
    """The predicted depth of every policy on this card, and the next one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--card", required=True, help="whose predictions: h100-80gb, h200-141gb, ...")
    parser.add_argument("--policies", nargs="+", help="of those predicted [default: all]")
    parser.add_argument("--out", type=Path, default=HERE / "largest_on_card.json")
    options = parser.parse_args()
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    for predicted in json.loads((HERE / "largest_model.json").read_text())["rows"]:
        if predicted["card"] != options.card or (options.policies and predicted["policy"] not in options.policies):
            continue
        depths = dial()
        answer = predicted["largest"]["depth"]
        for depth in (answer, depths[depths.index(answer) + 1]):
            about = {
                "policy": predicted["policy"],
                "card": options.card,
                "depth": depth,
                "predicted_to_fit": depth == answer,
            }
            if any(about.items() <= row.items() for row in rows):
                continue
            predicted_bytes = predicted["largest"]["peak_bytes"] if depth == answer else None
            rows.append(about | {"predicted_bytes": predicted_bytes} | measured(predicted, depth) | measured_on())
            write_json(options.out, {"rows": rows})
            print({key: rows[-1].get(key) for key in (*about, "predicted_bytes", "peak_bytes", "oom")}, flush=True)


def measured(predicted: dict[str, Any], depth: int) -> dict[str, Any]:
    """Peak bytes of the steps at this depth as the allocator counted them, or what it said when it had no more."""
    workload = at(workload_named(predicted["policy"], predicted["batch"], predicted["precision"]), depth)

    def run() -> dict[str, Any]:
        step = SyntheticStep(workload.policy, workload.spec, ARM_ACTION, workload.gamma, "cuda")
        torch.cuda.reset_peak_memory_stats()
        for _ in range(STEPS):
            step.run()
        torch.cuda.synchronize()
        return {
            "peak_bytes": torch.cuda.max_memory_allocated(),
            "reserved_bytes": torch.cuda.max_memory_reserved(),
            "parameters": step.agent.parameter_counts()["total"],
            "oom": None,
        }

    try:
        return run()
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        return {"oom": out_of_memory(error)}
    finally:
        forget()


if __name__ == "__main__":
    main()
