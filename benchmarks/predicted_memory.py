"""Predicted beside measured memory of a training step, for every critic topology.

    OMP_NUM_THREADS=1 python benchmarks/predicted_memory.py [--sizes tiny xs s] [--batch 64]

Writes benchmarks/predicted_memory.json and prints its table. On a CPU both are bytes of torch tensors;
on a GPU the measurement is torch.cuda.max_memory_allocated. Nothing here depends on the clock.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from ledger import measured_on

from robo_orl.base.files import write_json
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.measure.memory import measured_memory
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import workload_of
from robo_orl.cost.synthetic_step import SyntheticStep

POLICIES = (
    "bc", "bc_flow", "iql", "iql_shared_detached", "iql_frozen", "iql_full_ema", "iql_separate_small", "iql_separate",
    "iql_separate_full_ema", "iql_hl_gauss", "qc", "qc_separate_full_ema", "mc_awr",
)  # fmt: skip
OUT = Path(__file__).with_suffix(".json")


def compare(name: str, size: str, batch: int, device: str) -> dict:
    """One row."""
    policy, task = load_policy(name), load_task("chain2")
    backbone = policy.backbone.model_copy(update={"size": size})
    optim = policy.optim.model_copy(update={"batch_size": batch})
    policy = policy.model_copy(update={"backbone": backbone, "optim": optim})
    workload = workload_of(policy, task, Layout(device=device))
    prediction = memory(workload)
    step = SyntheticStep(policy, workload.spec, workload.action_dim, workload.gamma, device)
    step.run()
    measured = measured_memory(step).peak_bytes
    return {
        "policy": name,
        "size": size,
        "topology": policy.critic.topology if policy.critic else None,
        "batch": batch,
        "predicted": prediction.to_json(),
        "predicted_peak_bytes": prediction.peak_bytes,
        "measured_peak_bytes": measured,
        "error": prediction.peak_bytes / measured - 1,
    }


def main() -> None:
    """Every policy at every size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["tiny", "xs", "s"])
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    print("| policy | size | predicted | measured | error |\n| --- | --- | ---: | ---: | ---: |")
    for size in options.sizes:
        for name in POLICIES:
            row = compare(name, size, options.batch, device)
            rows.append(row)
            predicted, measured = row["predicted_peak_bytes"] / 1e6, row["measured_peak_bytes"] / 1e6
            print(f"| {name} | {size} | {predicted:.3f} MB | {measured:.3f} MB | {row['error']:+.3%} |", flush=True)
    write_json(OUT, {"machine": measured_on(), "rows": rows})
    worst = max(abs(row["error"]) for row in json.loads(OUT.read_text())["rows"])
    print(f"largest error: {worst:.3%} over {len(rows)} rows")


if __name__ == "__main__":
    main()
