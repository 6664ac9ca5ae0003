"""A training step as it is, recorded as a CUDA graph (`optim.capture: on`) and compiled whole (`compile`), in turns.

    python benchmarks/capture.py [--policies bc+flow,qc,iql] [--sizes tiny] [--rounds 25] [--acting] [--prices]

Every way trains an agent of its own from the same seed on the same windows and draws, so that losses and weights can be
compared at the end. Ratios are to the first way within a round; processor time on a CPU, whose ways are `off` and
`compile`, time on a GPU. `first_s` is the slowest of the steps before the rounds: it compiles or records.
--acting: best of N on one observation and on 50, as it is and recorded, on a GPU.
--prices: the policies take turns as well, one way after the other: the step of each over that of the first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any

import torch

from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.synthetic_step import SyntheticStep, policy_spec
from robo_orl.engine.captured_step import WARM_UP
from robo_orl.evaluate.recorded_acting import RecordedActing

HERE = Path(__file__).resolve().parents[1]
TASK = load_task("chain2")
GPU = torch.cuda.is_available()


def seconds(call: Callable[[], Any]) -> float:
    """Of a call: processor time on a CPU, time until the device is done on a GPU."""
    clock = perf_counter if GPU else process_time
    began = clock()
    call()
    if GPU:
        torch.cuda.synchronize()
    return clock() - began


def step_of(policy: str, size: str, way: str, args: argparse.Namespace) -> SyntheticStep:
    """A step by one way."""
    loaded = load_policy(policy)
    optim = {"batch_size": args.batch, "precision": args.precision, "capture": way}
    changed = {"optim": loaded.optim.model_copy(update=optim)}
    config = loaded.model_copy(update=changed | {"backbone": loaded.backbone.model_copy(update={"size": size})})
    gamma = config.gamma.value(TASK.horizon)
    return SyntheticStep(config, policy_spec(config, TASK), 7, gamma, "cuda" if GPU else "cpu")


def quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return [round(value, 4) for value in quantiles(values, n=4)]


def training(policy: str, size: str, args: argparse.Namespace) -> dict[str, Any]:
    """The ways of one policy at one size."""
    ways = ("off", "on", "compile") if GPU else ("off", "compile")
    steps = {way: step_of(policy, size, way, args) for way in ways}
    first = {way: max(seconds(step.run) for _ in range(WARM_UP + 2)) for way, step in steps.items()}
    rounds = [{way: seconds(step.run) for way, step in steps.items()} for _ in range(args.rounds)]
    losses = {way: float(step.run()) for way, step in steps.items()}
    weights = {way: torch.cat([p.detach().flatten() for p in s.agent.parameters()]) for way, s in steps.items()}
    rows = {
        way: {
            "step_ms": round(1e3 * median(row[way] for row in rounds), 3),
            "ratio": quartiles([row[way] / row["off"] for row in rounds]),
            "first_s": round(first[way], 1),
            "loss_difference": abs(losses[way] / losses["off"] - 1),
            "largest_weight_difference": float((weights[way] - weights["off"]).abs().max()),
        }
        for way in ways
    }
    return {"policy": policy, "size": size, "steps": WARM_UP + 3 + args.rounds, "ways": rows}


def prices(size: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """By way: milliseconds of the steps of all policies, in turns, and their ratios to the first policy's."""
    rows, names = [], args.policies.split(",")
    for way in ("off", "on", "compile") if GPU else ("off",):
        steps = {name: step_of(name, size, way, args) for name in names}
        for step in steps.values():
            for _ in range(WARM_UP + 2):
                step.run()
        rounds = [{name: seconds(step.run) for name, step in steps.items()} for _ in range(args.rounds)]
        for name in names:
            ratio = quartiles([row[name] / row[names[0]] for row in rounds])
            step_ms = quartiles([1e3 * row[name] for row in rounds])
            rows.append({"size": size, "way": way, "policy": name, "step_ms": step_ms, "over_first": ratio})
        del steps
        torch.cuda.empty_cache()
    return rows


def acting(policy: str, size: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Acts as they are and recorded, on one observation and on fifty."""
    step, rows = step_of(policy, size, "off", args), []
    agent, device = step.agent.eval(), step.device
    for count in (1, 50):
        obs = Observation({key: torch.randn(count, width, device=device) for key, width in step.spec.items()}, {})
        ways = {"off": agent.act, "on": RecordedActing(agent)}

        def act(way: str, number: int, obs: Observation = obs, ways: dict = ways) -> torch.Tensor:
            with torch.inference_mode():
                return ways[way](obs, Draws(0, number, device=device))

        equal = [torch.equal(act("off", number), act("on", number)) for number in range(4)]
        rounds = [{way: seconds(lambda w=way, i=i: act(w, i)) for way in ways} for i in range(args.rounds)]
        ratio = quartiles([row["on"] / row["off"] for row in rounds])
        rows.append({"policy": policy, "size": size, "observations": count, "ratio": ratio, "equal": all(equal)})
        rows[-1]["off_ms"] = round(1e3 * median(row["off"] for row in rounds), 3)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", default="bc+flow,qc,iql")
    parser.add_argument("--sizes", default="tiny")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--acting", action="store_true")
    parser.add_argument("--prices", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "benchmarks" / "capture.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.cuda.get_device_name() if GPU else "CPU, one thread"
    about = {"device": device, "batch": args.batch, "precision": args.precision, "rounds": args.rounds}
    found: dict[str, list] = {"training": [], "acting": [], "prices": []}
    for size in args.sizes.split(","):
        found["prices"] += prices(size, args) if args.prices else []
        for policy in [] if args.prices else args.policies.split(","):
            found["training"].append(training(policy, size, args))
            print(json.dumps(found["training"][-1]), flush=True)
            found["acting"] += acting(policy, size, args) if args.acting and GPU else []
            args.out.write_text(json.dumps(about | found, indent=1) + "\n")
        args.out.write_text(json.dumps(about | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
