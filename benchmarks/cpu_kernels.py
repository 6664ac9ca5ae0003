"""A training step with and without the hand-written kernels, in one process, by turns: their time and their memory.

    python benchmarks/cpu_kernels.py [--rounds 101] [--size tiny] [--out benchmarks/cpu_kernels.json]

oneDNN: the linear maps of models/cpu_kernels.py. gate: the backward of SwiGLU's gate in models/layers.py. Every row is
a shipped policy on synthetic windows of chain2's shapes, at the batch size of tasks/suites/quick.yaml. The variants
take turns within a round; a ratio is the median over rounds of a variant's step over that of torch's own operations, in
seconds in which this process had a core. Memory is the peak of the step's tensors.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from unittest.mock import patch

import torch
import torch.nn.functional as F
from evidence_experiments import peaks_of, step_of
from torch import Tensor

from robo_orl.models import cpu_kernels, layers

BATCH = 128  # tasks/suites/quick.yaml
WARM_UP = 3  # rounds that are not counted
VARIANTS = {"torch": (), "oneDNN": ("oneDNN",), "gate": ("gate",), "both": ("oneDNN", "gate")}


def plain_gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up by torch's own operations: (..., 2F) -> (..., F)."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


@contextmanager
def kernels(names: tuple[str, ...]) -> Iterator[None]:
    """Only the named kernels are in use inside the block."""
    with ExitStack() as stack:
        if "oneDNN" not in names:
            stack.enter_context(patch.object(cpu_kernels, "onednn_is_faster", lambda: False))
        if "gate" not in names:
            stack.enter_context(patch.object(layers, "gated", plain_gated))
        yield


def measure(policy: str, size: str, rounds: int) -> dict:
    """The row of one policy."""
    step = step_of(policy, size, BATCH)
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for turn in range(rounds + WARM_UP):
        for name in list(VARIANTS) if turn % 2 else reversed(VARIANTS):
            with kernels(VARIANTS[name]):
                began = time.process_time()
                step.run()
                seconds[name].append(time.process_time() - began)
    seconds = {name: values[WARM_UP:] for name, values in seconds.items()}
    row: dict = {"policy": policy, "size": size, "batch": BATCH, "n": rounds}
    for name, values in seconds.items():
        ratios = [mine / plain for mine, plain in zip(values, seconds["torch"], strict=True)]
        with kernels(VARIANTS[name]):
            peak = peaks_of({name: step_of(policy, size, BATCH)})[name]
        spread = quantiles(ratios, n=4)[::2]
        row[name] = {"seconds": median(values), "ratio": median(ratios), "quartiles": spread, "peak_bytes": peak}
    return row


def main() -> None:
    """Print a line per policy and variant."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--policies", nargs="+", default=["bc", "qc"])
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--out", type=Path, help="where the rows go as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(policy, arguments.size, arguments.rounds) for policy in arguments.policies]
    for row in rows:
        for name in VARIANTS:
            low, high = row[name]["quartiles"]
            spread = f"x{row[name]['ratio']:.3f} [{low:.3f}, {high:.3f}]"
            peak = f"{row[name]['peak_bytes'] / 1e6:.1f} MB"
            print(f"{row['policy']:4} {name:8} {1e3 * row[name]['seconds']:6.1f} ms  {spread}  n = {row['n']}  {peak}")
    if arguments.out:
        arguments.out.write_text(
            json.dumps({"command": " ".join(["python", *sys.argv]), "rows": rows}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
