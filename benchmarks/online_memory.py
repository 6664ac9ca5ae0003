"""What learning online holds and takes by prediction: the update of every method, by size and layout of the critic.

    python benchmarks/online_memory.py --sizes tiny 1b 7b --out benchmarks/online_memory.json
    python benchmarks/online_memory.py --check --sizes tiny s --out benchmarks/online_memory_check.json

The second one steps each method here and compares peaks: bytes of tensors, and nothing that depends on the clock.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from robo_orl.config import PolicyConfig
from robo_orl.cost.measure.memory import measured_memory
from robo_orl.cost.predict.acting_memory import online_memory
from robo_orl.cost.predict.cards import card
from robo_orl.cost.predict.communication import LINKS, step_time
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import Workload, workload_of
from robo_orl.cost.profile import Request
from robo_orl.cost.synthetic_step import SyntheticStep
from robo_orl.objectives import OBJECTIVES

# Each on a policy that it is for. gail, dac and dril make the update of qc, qc_cold and qc_data too.
METHODS = {
    "bc+flow": (
        "bc_continue", "qc", "qc+whole", "qc+separate", "iql", "fql", "rlpd", "residual", "edit", "dsrl", "fpo",
        "reinflow",
    ),
    "cal_ql": ("cal_ql", "wsrl"),
    "bc+gaussian": (
        "ppo", "ppo+shared", "ppo+frozen", "ppo+separate_small", "ppo+separate", "reinforce", "grpo",
    ),
}  # fmt: skip
CARD = card("h200-141gb")


def workload_at(base: str, method: str, size: str, batch: int | None = None) -> Workload:
    """The update of a method laid on a policy, on lift."""
    precision = "fp32" if size in ("tiny", "xs", "s") else "bf16"
    request = Request((base,), "lift", size, batch=batch, online=method, precision=precision)
    (policy,), task = request.resolve()
    return workload_of(policy, task, request.layout)


def predicted(base: str, method: str, size: str) -> dict:
    """Bytes of the step and of what stands beside it, numbers, FLOPs, and seconds on CARD."""
    workload = workload_at(base, method, size)
    policy, acting, weights = workload.policy, online_memory(workload), workload.weights
    peak, flops = memory(workload).peak_bytes, workload.flops(model=False)
    rate, link = CARD.rate(policy.optim.precision), LINKS["NVLink 4 in a node"]
    launches, read = workload.launches().total, 2 * peak / CARD.bandwidth
    seconds = step_time(flops, {}, workload.layout, rate, link, CARD.name, launches, read)
    return {
        "size": size,
        "base": base,
        "method": method,
        "batch": workload.batch,
        "updates": updates_a_chunk(policy),
        "params": weights.trained + weights.frozen,
        "trained": weights.trained,
        "peak": peak,
        "collecting": acting.collecting,
        "judging": acting.judging,
        "tok": acting.token_bytes_per_frame,
        "kept": acting.kept_bytes_per_decision,
        "keeping": acting.keeping,
        "flops": flops,
        "step_s": seconds.step_s,
        "bound": seconds.bound,
    }


def updates_a_chunk(policy: PolicyConfig) -> float:
    """Updates for each chunk of actions that was carried out; on-policy: passes over minibatches of decisions."""
    if OBJECTIVES[policy.objective.name].on_policy:
        return policy.online.epochs / policy.optim.batch_size
    return policy.online.updates


def checked(base: str, method: str, size: str) -> dict:
    """The peak of a step that is made here beside the predicted one, 32 observations."""
    workload = workload_at(base, method, size, batch=32)
    foretold = memory(workload).peak_bytes
    step = SyntheticStep(workload.policy, workload.spec, workload.action_dim, workload.gamma)
    step.run()  # moments are there from the second step on
    measured = measured_memory(step).peak_bytes
    return {
        "size": size,
        "base": base,
        "method": method,
        "batch": 32,
        "predicted": foretold,
        "measured": measured,
        "error": foretold / measured - 1,
    }


def main() -> None:
    """A row for every size and method; those that --out has already are not computed again."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["tiny", "1b", "7b"])
    parser.add_argument("--methods", nargs="+", help="these alone")
    parser.add_argument("--check", action="store_true", help="step each method here, and compare")
    parser.add_argument("--out", type=Path, help="where the rows go as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    order = [(size, base, name) for size in arguments.sizes for base, names in METHODS.items() for name in names]
    stored = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else []
    rows = {(row["size"], row["base"], row["method"]): row for row in stored}
    for size, base, method in order:
        wanted = arguments.methods is None or method in arguments.methods
        if not wanted or (size, base, method) in rows:
            continue
        rows[size, base, method] = (checked if arguments.check else predicted)(base, method, size)
        print(json.dumps(rows[size, base, method]), file=sys.stderr)
        if arguments.out:
            arguments.out.write_text(_as_text(rows, order))
    if not arguments.out:
        print(_as_text(rows, order))


def _as_text(rows: dict[tuple, dict], order: list[tuple]) -> str:
    place = {key: number for number, key in enumerate(order)}
    return json.dumps([rows[key] for key in sorted(rows, key=lambda key: place.get(key, -1))], indent=1) + "\n"


if __name__ == "__main__":
    main()
