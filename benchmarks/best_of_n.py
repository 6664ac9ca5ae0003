"""The latency of acting with the best of N samples beside that of one sample: N candidates, one backbone pass.

    OMP_NUM_THREADS=1 python benchmarks/best_of_n.py [--size m] [--candidates 1 4 32] [--rounds 40]

Policies take turns, so that a machine that slows down slows all of them; a ratio is the median over rounds of the
ratio within a round. Writes benchmarks/best_of_n.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from robo_orl.config import SelectionConfig
from robo_orl.measure.cost import quartiles
from robo_orl.measure.rows import machine, write_row
from robo_orl.measure.synthetic import ACTION_DIM, policy_spec, synthetic_window
from robo_orl.models.agent import build_agent
from robo_orl.presets import load_policy, load_task
from robo_orl.rng import Draws

OUT = Path(__file__).with_suffix(".json")
WARM_UP = 3


def main() -> None:
    """One agent, every N in turns."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="m")
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 4, 32])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--observations", type=int, default=1, help="acted on at once")
    asked = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy, task = load_policy("qc"), load_task("chain2")
    policy = policy.model_copy(update={"backbone": policy.backbone.model_copy(update={"size": asked.size})})
    spec = policy_spec(policy, task)
    agent = build_agent(policy, spec, ACTION_DIM, 0.99, None, 0).to(device).eval()
    obs = synthetic_window(asked.observations, spec, ACTION_DIM, policy.action_head.chunk, 0.9).obs.to(device)
    seconds: dict[int, list[float]] = {n: [] for n in asked.candidates}
    for turn in range(WARM_UP + asked.rounds):
        for n in asked.candidates:
            agent.select_by(SelectionConfig(num_samples=n))
            began = perf_counter()
            agent.act(obs, Draws(0, turn, device=device))
            if device == "cuda":
                torch.cuda.synchronize()
            if turn >= WARM_UP:
                seconds[n].append(perf_counter() - began)
    rows = []
    for n in asked.candidates:
        ratios = [mine / one for mine, one in zip(seconds[n], seconds[asked.candidates[0]], strict=True)]
        rows.append({"candidates": n, "seconds": median(seconds[n]), "relative": median(ratios),
                     "relative_quartiles": quartiles(ratios), "rounds": asked.rounds})  # fmt: skip
        print(f"best of {n}: {1e3 * median(seconds[n]):.2f} ms, {median(ratios):.3f} x one sample (n = {asked.rounds})")
    write_row(OUT, {"size": asked.size, "observations": asked.observations, "device": device, "machine": machine(),
                    "rows": rows})  # fmt: skip


if __name__ == "__main__":
    main()
