"""What a critic costs, both sides of the claim in one run: from one shared backbone to an encoder in every network.

    OMP_NUM_THREADS=1 python benchmarks/claim.py [--size m] [--rounds 20]

Every layout reads as many observations in a step as cloning (32 pairs, or 64 single ones). All take turns, a step each
per round; a ratio is the median over rounds of the ratio within a round. FLOPs and bytes are counted, the rest is the
clock's. The last row is robomimic's layout of IQL on our backbone (encoder_per_network.py).
Writes benchmarks/claim.json.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from encoder_per_network import EncoderPerNetwork
from evidence_experiments import step_of
from ledger import measured_on
from torch import nn

from robo_orl.base.files import write_json
from robo_orl.cost.measure.one_process import compare_steps
from robo_orl.cost.synthetic_step import SyntheticStep

OUT = Path(__file__).with_suffix(".json")
LAYOUTS = (
    "bc_flow", "qc", "qc_shared_detached", "iql", "iql_full_ema", "iql_separate_small", "iql_separate",
    "iql_separate_full_ema",
)  # fmt: skip
WORST = "iql_encoder_per_network"


class WorstStep(SyntheticStep):
    """The step of IQL with an encoder in each of its six networks."""

    def _build(self) -> nn.Module:
        return EncoderPerNetwork(super()._build())


def makers(size: str, batch: int) -> list[Callable[[], SyntheticStep]]:
    """What makes the step of each layout, cloning first."""
    layouts = [partial(step_of, name, size, batch) for name in LAYOUTS]
    ten = partial(step_of, "iql", size, batch, name="iql_10_critics", critic={"ensemble": 10})
    # The worst case holds bc_flow's policy: IQL's losses are in EncoderPerNetwork.
    return [*layouts, ten, partial(step_of, "bc_flow", size, batch, kind=WorstStep, name=WORST)]


def main() -> None:
    """All layouts at one size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="m")
    parser.add_argument("--batch", type=int, default=64, help="observations a step")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    on, load = measured_on(), os.getloadavg()[0]
    steps = makers(options.size, options.batch)
    rows = [row.to_json() for row in compare_steps(steps, options.rounds, progress=True)]
    for row in rows:
        low, high = row["step_relative_quartiles"]
        print(f"| {row['policy']} | {row['flops_relative']:.3f} | {row['peak_memory_bytes'] / 1e9:.3f} GB | "
              f"{row['memory_relative']:.3f} | {row['step_relative']:.3f} ({low:.3f} to {high:.3f}) |")  # fmt: skip
    write_json(OUT, {"size": options.size, "rounds": options.rounds, "machine": on, "load_average": load, "rows": rows})


if __name__ == "__main__":
    main()
