"""The largest native model that trains on one card of 24, 48, 80 and 141 GB, per layout of the critic: predicted.

    python benchmarks/largest_model.py [--policies bc_flow qc] [--batch 64] [--precision bf16] [--verify]

No clock and no device is involved: the same numbers everywhere. Rows go to benchmarks/largest_model.json as they are
made; a second call makes what is missing. --verify walks every answer itself on fake tensors (minutes).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from robo_orl.base.files import write_json
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.cards import card
from robo_orl.cost.predict.largest import LargestModel, largest
from robo_orl.cost.predict.workload import Workload, with_batch, workload_of

CARDS = ("rtx4090-24gb", "l40s-48gb", "h100-80gb", "h200-141gb")
POLICIES = ("bc_flow", "qc", "qc_full_ema", "qc_separate", "qc_separate_full_ema")
OUT = Path(__file__).with_suffix(".json")


def main() -> None:
    """Every policy on every card that has no row yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--policies", nargs="+", default=list(POLICIES))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    rows = json.loads(OUT.read_text())["rows"] if OUT.exists() else []
    about = {"batch": options.batch, "precision": options.precision, "verified": options.verify}
    for name in options.policies:
        workload = workload_named(name, options.batch, options.precision)
        for kind in CARDS:
            if any(row["policy"] == name and row["card"] == kind and about.items() <= row.items() for row in rows):
                continue
            model = largest(workload, card(kind).usable, options.verify)
            rows.append(
                {
                    "policy": name,
                    "card": kind,
                    "usable_bytes": card(kind).usable,
                    **about,
                    "largest": asdict(model) if model else None,
                }
            )
            write_json(OUT, {"rows": rows})
            print(f"| {name} | {kind} | {in_words(model) if model else 'none'} |", flush=True)


def in_words(model: LargestModel) -> str:
    """Numbers of the backbone and the depth."""
    count = model.backbone_parameters
    return f"{count / 1e9:.3g} B ({model.depth})" if count >= 1e9 else f"{count / 1e6:.3g} M ({model.depth})"


def workload_named(name: str, batch: int, precision: str) -> Workload:
    """A shipped policy's step on chain2, in one process."""
    policy = with_batch(load_policy(name), batch)
    optim = policy.optim.model_copy(update={"precision": precision})
    return workload_of(policy.model_copy(update={"optim": optim}), load_task("chain2"), Layout())


if __name__ == "__main__":
    main()
