"""What each loss term sends into the backbone that policy and critic share, in trained runs.

    python benchmarks/trunk_gradients.py runs/trunk      # after: robo-orl bench --suite trunk --blocks 1

Norm of the gradient of every loss term, its weight included, with respect to the policy's backbone: at the newest
checkpoint of every run with a shared critic in a results folder of `robo-orl bench`, on the data that it learned from;
mean of four minibatches of 64 pairs. A critic whose term is far above the policy's has the backbone to itself.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from robo_orl.base.files import write_text
from robo_orl.base.rng import Draws
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.objectives.step import Step
from robo_orl.results.store import read_cells

BATCHES, PAIRS = 4, 64


def norms(agent: nn.Module, windows: Any) -> dict[str, float]:
    """Per loss term that reaches it: the norm of the gradient on the policy's backbone."""
    backbone = [p for p in agent.backbone.parameters() if p.requires_grad]
    found: dict[str, list[float]] = {}
    for k in range(BATCHES):
        chosen = np.random.default_rng(k).choice(len(windows.frames), PAIRS)
        terms, _ = agent.objective.losses(Step(agent, windows.gather(windows.frames[chosen]), Draws(0, k)))
        for name, term in terms.items():
            gradients = torch.autograd.grad(term, backbone, retain_graph=True, allow_unused=True)
            norm = torch.stack([g.square().sum() for g in gradients if g is not None] or [torch.zeros(())]).sum().sqrt()
            found.setdefault(name, []).append(norm.item())
    return {name: float(np.mean(values)) for name, values in found.items() if max(values) > 0}


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--task", default="chain2")
    parser.add_argument("--regime", default="mg")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/trunk_gradients.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for record, _ in read_cells(options.results):
        if record.kind != "policy" or (record.task.name, record.regime) != (options.task, options.regime):
            continue
        run = next((options.results / "runs").glob(f"*-{record.train.run[:10]}"), None)
        if run is None:
            print(f"{record.policy.name}: its run is not here any more")
            continue
        agent, config = load_agent(run)
        if agent.topology != "shared":
            continue
        agent.train()
        rows[record.policy.name] = norms(agent, make_windows(config, open_data(config)))
        print(record.policy.name, {name: f"{value:.2g}" for name, value in rows[record.policy.name].items()})
    told = f"python benchmarks/trunk_gradients.py {options.results} --task {options.task} --regime {options.regime}"
    write_text(options.out, json.dumps({"command": told, "batches": BATCHES, "pairs": PAIRS, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
