"""Each way of making a step cheaper, measured before and after: what the engine uses is on or off by these numbers.

    OMP_NUM_THREADS=1 python benchmarks/evidence.py [--only ensembles_2 checkpointing ...] [--rounds 15] [--table]

An experiment is a few variants of one computation (evidence_experiments.py). They take turns, so that a machine that
slows down slows all of them; a ratio is the median over rounds of the ratio to the first variant within a round, once
by the clock and once by the time that this process had a processor: where others use the CPU too, the second says more.
Rows go to benchmarks/evidence.json as they are made; a second call does what is missing there for this device, and
--only does its experiments again. What needs a GPU is a row with the reason on a machine without one. --table prints
the table of docs/engineering/performance.md from the rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch
from evidence_experiments import EXPERIMENTS, Experiment, Skipped
from ledger import measured_on

from robo_orl.base.files import write_json
from robo_orl.cost.measure.step_cost import quartiles

OUT = Path(__file__).with_suffix(".json")
WARM_UP = 3


def seconds_of(run: Callable[[], Any]) -> tuple[float, float]:
    """(seconds by the clock, seconds of this process's processors) of one call, the device waited for."""
    began, worked = perf_counter(), process_time()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - began, process_time() - worked


def interleaved(variants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """`seconds_of` by variant; every round begins with another one, so that none always follows the same."""
    names, found = list(variants), {name: [] for name in variants}
    for turn in range(WARM_UP + rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds = seconds_of(variants[name])
            if turn >= WARM_UP:
                found[name].append(seconds)
    return found


def row_of(make: Callable[[], Experiment], rounds: int) -> dict[str, Any]:
    """The row of one experiment, or the reason why it cannot run here."""
    on = measured_on()
    try:
        with make() as experiment:
            seconds = interleaved(experiment.variants, rounds)
            told = {name: {"peak_bytes": peak} for name, peak in experiment.peaks().items()}
    except Skipped as reason:
        return {"skipped": str(reason), "machine": on}
    base = next(iter(seconds.values()))
    variants = {}
    for name, own in seconds.items():
        variants[name] = told.get(name, {})
        for clock, which in (("", 0), ("cpu_", 1)):
            ratios = [mine[which] / first[which] for mine, first in zip(own, base, strict=True)]
            variants[name] |= {
                f"{clock}seconds": median(turn[which] for turn in own),
                f"{clock}relative": median(ratios),
                f"{clock}relative_quartiles": quartiles(ratios),
            }
    return {"what": experiment.what, "rounds": rounds, "variants": variants, **experiment.notes, "machine": on}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: a line per variant."""
    lines = [
        "| experiment | variant | processor | x first | clock, x first | memory |",
        "| --- " * 2 + "| ---: " * 4 + "|",
    ]
    for name, row in rows.items():
        if "skipped" in row:
            lines.append(f"| {name} | skipped: {row['skipped']} | | | | |")
            continue
        for variant, found in row["variants"].items():
            low, high = found["cpu_relative_quartiles"]
            peak = f"{found['peak_bytes'] / 1e6:.4g} MB" if "peak_bytes" in found else ""
            lines.append(
                f"| {name} | {variant} | {1e3 * found['cpu_seconds']:.4g} ms | {found['cpu_relative']:.3f} [{low:.3f}, "
                f"{high:.3f}] | {found['relative']:.3f} | {peak} |"
            )
    return "\n".join(lines)


def read() -> dict[str, dict[str, Any]]:
    """Device -> experiment -> row."""
    return json.loads(OUT.read_text()) if OUT.exists() else {}


def main() -> None:
    """Every experiment that has no row for this device yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), default=[])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table")
    asked = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    rows = read().get(device, {})
    wanted = [] if asked.table else asked.only or [name for name in EXPERIMENTS if name not in rows]
    for name in wanted:
        rows[name] = row_of(EXPERIMENTS[name], asked.rounds)
        everything = read()  # again: another experiment may have ended meanwhile
        write_json(OUT, everything | {device: everything.get(device, {}) | {name: rows[name]}})
        print(table({name: rows[name]}).split("\n", 2)[2], flush=True)
    if asked.table:
        print(table(rows))


if __name__ == "__main__":
    main()
