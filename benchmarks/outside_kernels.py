"""The share of a training step that passes outside of torch's operators: Python, autograd's and the dispatcher's work.

    python benchmarks/outside_kernels.py [--size tiny] [--batch 128] [--rounds 25] [--functions]

The operators of one step are written down with their arguments. A round takes a step, and then these operators again
one after the other from the list, in turns: what the step takes beyond them is Python's and torch's own bookkeeping.
A call from the list takes time itself, which counts as the operators' in `outside`, and as Python's in
`outside_at_most`. Processor time, one thread.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
from collections import Counter
from pathlib import Path
from statistics import median, quantiles
from time import process_time
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.synthetic_step import SyntheticStep, policy_spec

HERE = Path(__file__).resolve().parents[1]
TASK, WARM_UP, PROFILED = "chain2", 3, 20


class Operators(TorchDispatchMode):
    """Writes down the operators that run while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    @torch.no_grad()
    def again(self) -> None:
        """Run all of them once more."""
        for func, args, kwargs in self.calls:
            func(*args, **kwargs)


def step_of(policy: str, size: str, batch: int) -> SyntheticStep:
    """A step in fp32 on this CPU."""
    loaded, task = load_policy(policy), load_task(TASK)
    optim = loaded.optim.model_copy(update={"batch_size": batch})
    config = loaded.model_copy(update={"optim": optim, "backbone": loaded.backbone.model_copy(update={"size": size})})
    step = SyntheticStep(config, policy_spec(config, task), 7, config.gamma.value(task.horizon))
    for _ in range(WARM_UP):
        step.run()
    return step


def seconds(call: Any) -> float:
    """Processor time of a call."""
    began = process_time()
    call()
    return process_time() - began


def measured(step: SyntheticStep, rounds: int) -> dict[str, Any]:
    """Medians over the rounds, and the quartiles of the share."""
    with Operators() as operators:
        step.run()
    pairs = [(seconds(step.run), seconds(operators.again)) for _ in range(rounds)]
    shares = [1 - alone / whole for whole, alone in pairs]
    low, middle, high = quantiles(shares, n=4)
    call = cheapest_call() * len(operators.calls) / median(whole for whole, _ in pairs)
    return {
        "step_ms": 1e3 * median(whole for whole, _ in pairs),
        "operators": len(operators.calls),
        "outside": middle,
        "outside_quartiles": [low, high],
        "outside_at_most": middle + call,
    }


def cheapest_call(calls: int = 2000) -> float:
    """Seconds of an operator that does nothing, called from a list."""
    nothing = Operators()
    nothing.calls = [(torch.ops.aten.alias.default, (torch.empty(1),), {})] * calls
    return median(seconds(nothing.again) for _ in range(9)) / calls


def slowest(step: SyntheticStep, count: int = 25) -> list[tuple[str, float]]:
    """The functions with the most time of their own, milliseconds a step."""
    profile = cProfile.Profile(process_time)
    profile.enable()
    for _ in range(PROFILED):
        step.run()
    profile.disable()
    own: Counter[str] = Counter()
    for (file, _, name), (_, _, taken, _, _) in pstats.Stats(profile).stats.items():
        own[f"{Path(file).name}:{name}"] += taken / PROFILED * 1e3
    return own.most_common(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--policies", default="bc,bc+flow,qc,iql")
    parser.add_argument("--functions", action="store_true", help="also the functions that take most time")
    parser.add_argument("--out", type=Path, default=HERE / "benchmarks" / "outside_kernels.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for policy in args.policies.split(","):
        step = step_of(policy, args.size, args.batch)
        rows[policy] = measured(step, args.rounds)
        print(policy, json.dumps(rows[policy]), flush=True)
        for name, milliseconds in slowest(step) if args.functions else ():
            print(f"  {milliseconds:8.3f} ms  {name}")
    about = {"size": args.size, "batch": args.batch, "rounds": args.rounds}
    args.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
