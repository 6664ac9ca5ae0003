"""What a critic adds to cloning in memory and FLOPs, by topology and size: predicted, so that no machine's mood enters.

    OMP_NUM_THREADS=1 python benchmarks/critic_cost.py [--sizes m l xl 1b] [--batch 64] [--precision bf16]

Rows go to benchmarks/critic_cost.json as they are made; a second call makes what is missing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from robo_orl.base.files import write_json
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.cards import CARDS
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import workload_of

BASE = "bc_flow"
POLICIES = (
    BASE, "qc", "qc_shared_detached", "iql", "qc_full_ema", "qc_separate_small", "qc_separate", "qc_separate_full_ema",
)  # fmt: skip
OUT = Path(__file__).with_suffix(".json")


def row_of(name: str, size: str, batch: int, precision: str) -> dict:
    """Memory by part and FLOPs of one GPU's step."""
    policy, task = load_policy(name), load_task("chain2")
    backbone = policy.backbone.model_copy(update={"size": size})
    optim = policy.optim.model_copy(update={"batch_size": batch, "precision": precision})
    workload = workload_of(policy.model_copy(update={"backbone": backbone, "optim": optim}), task, Layout())
    prediction = memory(workload)
    return {
        "policy": name,
        "size": size,
        "batch": batch,
        "precision": precision,
        "parameters": workload.weights.trained,
        "memory": prediction.to_json(),
        "flops": workload.flops(model=True),
        "fits": [card.name for card in CARDS.values() if prediction.peak_bytes <= card.usable],
    }


def main() -> None:
    """Every policy at every size that has no row yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["m", "l", "xl", "1b"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    options = parser.parse_args()
    rows = json.loads(OUT.read_text())["rows"] if OUT.exists() else []
    there = {(row["policy"], row["size"], row["batch"], row["precision"]) for row in rows}
    for size in options.sizes:
        for name in POLICIES:
            if (name, size, options.batch, options.precision) not in there:
                rows.append(row_of(name, size, options.batch, options.precision))
                write_json(OUT, {"rows": rows})
                base = next(r for r in rows if r["policy"] == BASE and all(r[k] == rows[-1][k] for k in KEYS))
                print(line(rows[-1], base), flush=True)


KEYS = ("size", "batch", "precision")


def line(row: dict, base: dict) -> str:
    """A row of the table, relative to cloning."""
    peak, flops = row["memory"]["peak_bytes"], row["flops"]
    of_memory, of_flops = peak / base["memory"]["peak_bytes"], flops / base["flops"]
    return f"| {row['size']} | {row['policy']} | {peak / 1e9:.3g} GB | {of_memory:.3f} | {of_flops:.3f} |"


if __name__ == "__main__":
    main()
