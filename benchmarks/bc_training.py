"""Training by behaviour cloning, whole: our engine's loop beside robomimic's BC-Transformer, each with its own loader.

    python benchmarks/bc_training.py [--sizes tiny s] [--rounds 9] [--out benchmarks/bc_training.json]

Counted is the step that a user waits for: reading the batch, forward, backward, AdamW, metrics and their log. Ours is
`engine.train.train` on the memory-mapped cache, robomimic's is `run_epoch` on a DataLoader over SequenceDataset without
worker processes, once with `hdf5_cache_mode: all` (its default: every window lies ready made in memory) and once with
`low_dim`. Both see ten frames of one vector as ten tokens, through the same depth, width and heads, and one linear map
from every token to an action of seven numbers, in float32, without dropout, in one process on one thread. That map
stands here in the place of our L1 head, which robomimic has no like of; forward FLOPs are counted by one counter and
their ratio is told. An observation is one such window; both train on every one of a batch once.
Slices take turns within a round; a ratio is the median over rounds. Seconds are those that this process had a core:
both loops are one busy thread, and on a shared machine the clock on the wall counts the neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import torch
from bc_transformer import CONTEXT, NUMBERS, Robomimic
from made_up import TASK, robomimic_dataset, write_made_up
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig, PolicyConfig, RunConfig, parse
from robo_orl.cost.flops import count_flops
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.engine.train import train
from robo_orl.models.action_heads import ACTION_HEADS, ActionHead
from robo_orl.models.action_heads.l1 import L1Head
from robo_orl.models.backbones.transformer import Transformer
from robo_orl.models.layers import linear

BATCHES = {"tiny": 128, "s": 32, "m": 8}
WARM_UP = 20  # steps of ours per slice: the first ones of each call allocate, and our engine does not count them
REFERENCES = {"robomimic_all": "all", "robomimic_low_dim": "low_dim"}  # cache mode of each
PARTS = {"step_s": "Epoch", "data_s": "Data_Loading"}  # as robomimic names its minutes
WANTED = 1.5  # observations per second over robomimic's with its default cache

Slice = Callable[[], dict[str, float]]


class LinearL1Head(L1Head):
    """The head of robomimic's BC-Transformer: an action from the token of its own frame."""

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        ActionHead.__init__(self)
        self.shape = (config.chunk, action_dim)
        self.out = linear(token_width, action_dim, bias=True)

    def predict(self, tokens: Tensor) -> Tensor:
        """tokens (B, 10, D) -> (B, 10, A)."""
        return self.out(tokens)


@contextmanager
def seconds_of_the_core() -> Iterator[None]:
    """Both loops read this process's CPU seconds where they read the clock."""
    from robomimic.utils import train_utils

    from robo_orl.engine import monitor

    before = monitor.time, train_utils.time
    monitor.time = SimpleNamespace(perf_counter=time.process_time)
    train_utils.time = SimpleNamespace(time=time.process_time)
    try:
        yield
    finally:
        monitor.time, train_utils.time = before


def ours(size: str, data: Path, out: Path, rounds: int, steps: int) -> tuple[RunConfig, Slice]:
    """The run, and a function that goes on with it: seconds of a step, and those of them that reading data took.

    steps: that are counted per call, a multiple of the engine's 10 per row of metrics.
    """
    each = WARM_UP + steps
    values = {
        "name": "bc",
        "observation": {"low_dim": ["flat"], "history": CONTEXT},
        "backbone": {"size": size},
        "action_head": {"kind": "l1", "chunk": CONTEXT},
        "optim": {"steps": each * (rounds + 1), "batch_size": BATCHES[size]},
    }
    run = RunConfig(policy=parse(PolicyConfig, values, "the policy"), task=TASK, data=str(data), checkpoint_every=10**9)
    done = 0

    def go_on() -> dict[str, float]:
        nonlocal done
        done += each
        train(run, out, progress=False, stop_at=done)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        counted = [row for row in rows if row["step"] > done - steps]
        step = statistics.mean(row["step_s"] for row in counted)
        return {"step_s": step, "data_s": statistics.mean(row["step_s"] * row["data_share"] for row in counted)}

    return run, go_on


def theirs(size: str, data: Path, mode: str, algo: object, steps: int) -> Slice:
    """The same of robomimic: one call of its `run_epoch`."""
    from robomimic.utils.train_utils import run_epoch

    dataset = robomimic_dataset(data, ["flat"], mode=mode, history=CONTEXT)
    loader = torch.utils.data.DataLoader(dataset, BATCHES[size], shuffle=True, drop_last=True, num_workers=0)

    def go_on() -> dict[str, float]:
        told = run_epoch(algo, loader, epoch=1, num_steps=steps)
        return {name: 60 * told[f"Time_{part}"] / steps for name, part in PARTS.items()}

    return go_on


def forward_flops(run: RunConfig, out: Path, algo: Robomimic) -> dict[str, int]:
    """Of one batch: our loss, and robomimic's prediction."""
    agent, _ = load_agent(out)
    agent.train()
    batch = run.policy.optim.batch_size
    window = make_windows(run, open_data(run)).batch(0, 0, 0, 1, batch)
    flat = torch.zeros(batch, CONTEXT, NUMBERS)
    return {
        "ours": count_flops(lambda: agent(window, Draws(0, 0))),
        "robomimic": count_flops(lambda: algo.predict({"obs": {"flat": flat}})),
    }


def measure(size: str, rounds: int, steps: int, folder: Path) -> dict:
    """One row."""
    data = write_made_up(folder / f"{size}.hdf5", {"flat": NUMBERS}, episodes=60, length=170)
    run, go_on = ours(size, data, folder / size, rounds, steps)
    reference = Robomimic(Transformer({"flat": NUMBERS}, run.policy.backbone, run.policy.observation))
    slices = {"ours": go_on} | {
        name: theirs(size, data, mode, reference.algo, steps) for name, mode in REFERENCES.items()
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in slices}
    for turn in range(rounds + 1):
        for name in list(slices) if turn % 2 else reversed(list(slices)):
            told = slices[name]()
            found[name] += [told] if turn else []
    flops = forward_flops(run, folder / size, reference)
    row = {"size": size, "batch": BATCHES[size], "context": CONTEXT, "n": rounds, "steps_per_slice": steps}
    row |= {"forward_flops_ratio": flops["ours"] / flops["robomimic"]}
    for name, told in found.items():
        row[f"{name}_step_s"] = statistics.median(t["step_s"] for t in told)
        row[f"{name}_data_s"] = statistics.median(t["data_s"] for t in told)
        row[f"{name}_observations_per_s"] = BATCHES[size] / row[f"{name}_step_s"]
    row["speed"] = {"ours over " + name: compared(found["ours"], found[name]) for name in found if name != "ours"}
    return row


def compared(fast: list[dict[str, float]], slow: list[dict[str, float]]) -> dict:
    """Observations per second of the first over the second, round by round; and the same without reading data."""
    pairs = list(zip(fast, slow, strict=True))
    ratios = [b["step_s"] / a["step_s"] for a, b in pairs]
    without = [(b["step_s"] - b["data_s"]) / (a["step_s"] - a["data_s"]) for a, b in pairs]
    return {
        "median": statistics.median(ratios),
        "quartiles": statistics.quantiles(ratios, n=4)[::2],
        "median_without_data": statistics.median(without),
    }


def main() -> int:
    """Print the rows; exit 1 where ours is not as much faster as is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=30, help="counted per slice, a multiple of 10")
    parser.add_argument("--sizes", nargs="+", default=list(BATCHES), choices=list(BATCHES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ACTION_HEADS["l1"] = LinearL1Head  # of this process: both sides end in the same map
    with tempfile.TemporaryDirectory() as folder, seconds_of_the_core():
        os.environ["ROBO_ORL_CACHE"] = str(Path(folder) / "cache")
        rows = [measure(size, asked.rounds, asked.steps, Path(folder)) for size in asked.sizes]
    for row in rows:
        for pair, told in row["speed"].items():
            low, high = told["quartiles"]
            print(f"{row['size']:4} batch {row['batch']:3}, {pair}: x{told['median']:.2f} ({low:.2f} to {high:.2f})")
    if asked.out:
        versions = {name: version(name) for name in ("robomimic", "torch")}
        told = {"command": " ".join(["python", *sys.argv]), "load_average": os.getloadavg()[0], "versions": versions}
        asked.out.write_text(json.dumps(told | {"rows": rows}, indent=2) + "\n")
    return int(any(row["speed"]["ours over robomimic_all"]["median"] < WANTED for row in rows))


if __name__ == "__main__":
    sys.exit(main())
