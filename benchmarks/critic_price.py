"""A critic's price beside deterministic cloning: a step at equal observations, at equal transitions, and a decision.

    OMP_NUM_THREADS=1 python benchmarks/critic_price.py [--sizes s m] [--rounds 20]

Of B observations cloning imitates B chunks, while a critic on paired windows learns from B/2 transitions. The rows
`_2B` read twice the observations, so that the critic has as many transitions as cloning has chunks. All rows of a size
take turns, a step each per round, then a decision each; a ratio is the median over rounds of the ratio within a round.
Writes benchmarks/critic_price.json.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

from evidence_experiments import step_of
from ledger import measured_on

from robo_orl.base.files import write_json
from robo_orl.config.presets import stored_name
from robo_orl.cost.measure.one_process import compare_steps

OUT = Path(__file__).with_suffix(".json")
CRITICS = ("qc", "iql", "iql+separate")


def main() -> None:
    """Every size by itself, deterministic cloning first."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["s", "m"])
    parser.add_argument("--batch", type=int, default=64, help="observations a step, of cloning")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    found = {"batch": options.batch, "rounds": options.rounds, "machine": measured_on(), "load": os.getloadavg()[0]}
    sizes = {}
    for size in options.sizes:
        steps = [partial(step_of, name, size, options.batch) for name in ("bc", "bc+flow", *CRITICS)]
        steps += [partial(step_of, name, size, 2 * options.batch, name=f"{stored_name(name)}_2B") for name in CRITICS]
        rows = [row.to_json() for row in compare_steps(steps, options.rounds, progress=True, acting=True)]
        for row in rows:
            row["flops_per_step_relative"] = row["flops_relative"] * row["batch"] / options.batch
            print(f"{size} {row['policy']}: step {row['step_relative']:.2f}, memory {row['memory_relative']:.2f}, "
                  f"FLOPs {row['flops_per_step_relative']:.2f}, decision {row['act_relative']:.2f}")  # fmt: skip
        sizes[size] = rows
    write_json(OUT, found | {"sizes": sizes})


if __name__ == "__main__":
    main()
