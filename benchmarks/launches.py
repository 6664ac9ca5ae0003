"""Kernels that a training step starts on a GPU, before and after a change, counted on this machine without one.

    git worktree add /tmp/before fba4318 && python benchmarks/launches.py --before /tmp/before \
        [--sizes s,m,l,1b] [--policies bc+flow,qc,iql] [--out benchmarks/launches.json]

Both trees are counted by this tree's robo_orl/cost/launches.py: bf16, 64 observations, forward and backward.
`norms_in_bf16` leaves out the casts around RMSNorm that CUDA's autocast makes where a norm is left to it (torch 2.15);
a step of before has them (`as_cuda_casts`), a step of now has none. `one_call` counts a sampler of candidates as one
launch, as if it were compiled or captured; `one_euler_step` counts a step whose candidates take one Euler step
(`critic.target_flow_steps: 1`). The counts do not depend on the machine or its load.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parents[1]
BATCH, TASK = 64, "chain2"


def counter() -> ModuleType:
    """This tree's counter, whichever tree is counted."""
    where = HERE / "robo_orl" / "cost" / "launches.py"
    spec = importlib.util.spec_from_file_location("counter_of_launches", where)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def count(policy: str, size: str, cast_norms: bool, euler_steps: int | None) -> dict:
    """The launches of the tree that is on the path. euler_steps: of candidates, in place of the objective's."""
    from robo_orl.base import rng
    from robo_orl.config.presets import load_policy, load_task
    from robo_orl.cost.predict.activation_memory import fake_step
    from robo_orl.cost.synthetic_step import policy_spec
    from robo_orl.models.cpu_kernels import as_on_a_gpu

    launches = counter()
    launches.LaunchCounter.drawn_together = hasattr(rng, "PlannedDraws")
    loaded, task = load_policy(policy), load_task(TASK)
    optim = loaded.optim.model_copy(update={"batch_size": BATCH, "precision": "bf16"})
    backbone = loaded.backbone.model_copy(update={"size": size})
    config = loaded.model_copy(update={"optim": optim, "backbone": backbone})
    if euler_steps:
        critic = config.critic.model_copy(update={"target_flow_steps": euler_steps})
        config = config.model_copy(update={"critic": critic})
    gamma = config.gamma.value(task.horizon)
    with as_on_a_gpu(), fake_step(config, policy_spec(config, task), 7, gamma) as step:
        return launches.count_launches(step, cast_norms).to_json()


def counted(tree: Path, policy: str, size: str, cast_norms: bool, euler_steps: int = 0) -> dict:
    """`count` in a process of its own, on the given tree."""
    command = [sys.executable, __file__, "--count", policy, size, str(int(cast_norms)), str(euler_steps)]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def passes(launches: dict) -> dict:
    """What is compared."""
    return {key: launches[key] for key in ("passes", "casts")}


def row(before: Path | None, policy: str, size: str, kept: dict) -> dict:
    """One policy at one size. kept: its row of earlier, for what is before where no tree of it is given."""
    now = counted(HERE, policy, size, False)
    casts = {"norms_in_bf16": False, "as_cuda_casts": True}
    then = {key: passes(counted(before, policy, size, cast)) if before else kept[key] for key, cast in casts.items()}
    samples = now["parts"]["samples"]
    one_step = {"one_euler_step": counted(HERE, policy, size, False, 1)["passes"]} if samples else {}
    one_call = now["passes"] - max(0, samples - 1)
    return {"policy": policy, "size": size, **then, "now": now, "one_call": one_call, **one_step}


def main() -> None:
    if sys.argv[1:2] == ["--count"]:
        print(json.dumps(count(*sys.argv[2:4], sys.argv[4] == "1", int(sys.argv[5]) or None)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a tree of before; without it those counts stay")
    parser.add_argument("--sizes", default="s,m,l,1b")
    parser.add_argument("--policies", default="bc+flow,qc,iql")
    parser.add_argument("--out", type=Path, default=HERE / "benchmarks" / "launches.json")
    args = parser.parse_args()
    stored = {} if args.before else {(r["size"], r["policy"]): r for r in json.loads(args.out.read_text())["rows"]}
    before = args.before and args.before.resolve()
    rows = []
    for size in args.sizes.split(","):
        for policy in args.policies.split(","):
            rows.append(row(before, policy, size, stored.get((size, policy), {})))
            print(size, policy, *(rows[-1][k]["passes"] for k in ("norms_in_bf16", "as_cuda_casts", "now")), flush=True)
    counted_now = {(row["size"], row["policy"]): row for row in rows}
    rows = list((stored | counted_now).values())  # in the order of before
    about = {"batch": BATCH, "task": TASK, "precision": "bf16", "command": "python benchmarks/launches.py"}
    args.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
