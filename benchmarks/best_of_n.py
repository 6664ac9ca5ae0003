"""The latency of acting with the best of N samples beside that of one sample: N candidates, one backbone pass.

    python benchmarks/best_of_n.py [--size m] [--candidates 1 4 32] [--rounds 40]

Once for the vectors of a task and once for two cameras and an instruction, as `iql_pixels` reads them. Policies take
turns, so that a machine that slows down slows all of them; a ratio is the median over rounds of the ratio within a
round. Beside it where the time goes, and the FLOPs of each part. Writes benchmarks/best_of_n.json.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from ledger import measured_on
from torch import nn

from robo_orl.agent.agent import build_agent
from robo_orl.base.files import write_json
from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation
from robo_orl.config import SelectionConfig
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.flops import count_flops
from robo_orl.cost.measure.step_cost import quartiles
from robo_orl.cost.synthetic_step import policy_spec, synthetic_window
from robo_orl.envs.registry import ARM_ACTION

OUT = Path(__file__).with_suffix(".json")
WARM_UP = 3
READS = {"vectors": {}, "two cameras": {"observation": load_policy("iql_pixels").observation}}


def timed(run: Callable[[], Any]) -> float:
    """Seconds of one call, the device waited for."""
    began = perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - began


def parts_of(agent: nn.Module, obs: Observation, n: int, draws: Callable[[], Draws]) -> dict[str, Callable[[], Any]]:
    """What acting with N candidates is made of."""
    seen = agent.normaliser.observation(obs)
    tokens = agent.backbone(seen)
    chunks = agent.objective.candidates(agent, tokens, n, draws())
    found = {
        "backbone": lambda: agent.backbone(seen),
        "samples": lambda: agent.objective.candidates(agent, tokens, n, draws()),
    }
    return found | ({"critic": lambda: agent._values(seen, tokens, chunks)} if n > 1 else {})


@torch.no_grad()
def measure(agent: nn.Module, obs: Observation, candidates: list[int], rounds: int) -> list[dict[str, Any]]:
    """A row for each N; all take turns, and so do their parts."""
    seconds: dict[int, list[float]] = {n: [] for n in candidates}
    split: dict[int, dict[str, list[float]]] = {n: defaultdict(list) for n in candidates}
    draws = lambda: Draws(0, 0, device=next(agent.parameters()).device)  # noqa: E731
    parts = {n: parts_of(agent, obs, n, draws) for n in candidates}
    for turn in range(WARM_UP + rounds):
        for n in candidates:
            agent.select_by(SelectionConfig(num_samples=n))
            whole = timed(lambda: agent.act(obs, draws()))
            each = {name: timed(run) for name, run in parts[n].items()}
            if turn >= WARM_UP:
                seconds[n].append(whole)
                for name, value in each.items():
                    split[n][name].append(value)
    rows = []
    for n in candidates:
        ratios = [mine / one for mine, one in zip(seconds[n], seconds[candidates[0]], strict=True)]
        rows.append({
            "candidates": n, "seconds": median(seconds[n]), "seconds_quartiles": quartiles(seconds[n]),
            "relative": median(ratios), "relative_quartiles": quartiles(ratios), "rounds": rounds,
            "parts_s": {name: median(values) for name, values in split[n].items()},
            "parts_flops": {name: count_flops(run) for name, run in parts[n].items()},
        })  # fmt: skip
    return rows


def acting(size: str, reads: str, observations: int, device: str) -> tuple[nn.Module, Observation]:
    """An agent of the policy qc that reads `reads`, and what it acts on."""
    policy, task = load_policy("qc"), load_task("chain2")
    changed = {"backbone": policy.backbone.model_copy(update={"size": size})} | READS[reads]
    policy = policy.model_copy(update=changed)
    spec = policy_spec(policy, task)
    agent = build_agent(policy, spec, ARM_ACTION, 0.99, None, 0).to(device).eval()
    chunk, sees = policy.action_head.chunk, policy.observation
    return agent, synthetic_window(observations, spec, ARM_ACTION, chunk, 0.9, sees=sees).obs.to(device)


def main() -> None:
    """One agent at a time, every N in turns."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="m")
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 4, 32])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--observations", type=int, default=1, help="acted on at once")
    asked = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = {"size": asked.size, "observations": asked.observations, "device": device, "machine": measured_on()}
    for reads in READS:
        agent, obs = acting(asked.size, reads, asked.observations, device)
        tokens = agent.backbone(agent.normaliser.observation(obs)).shape[-2]
        rows = measure(agent, obs, asked.candidates, asked.rounds)
        for row in rows:
            told = ", ".join(f"{name} {1e3 * s:.1f} ms ({row['parts_flops'][name] / 1e6:.0f} MFLOP)"
                             for name, s in row["parts_s"].items())  # fmt: skip
            print(f"{reads}, {tokens} tokens, best of {row['candidates']}: {1e3 * row['seconds']:.2f} ms, "
                  f"{row['relative']:.3f} x one sample (n = {asked.rounds}): {told}")  # fmt: skip
        found[reads] = {"tokens": tokens, "rows": rows}
    write_json(OUT, found)


if __name__ == "__main__":
    main()
