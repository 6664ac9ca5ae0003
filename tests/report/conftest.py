"""Synthetic results folders. Every name in them says so; none of their numbers is a measurement."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from robo_orl.config import SIZES, sha256_of
from robo_orl.report.picture import chromium
from robo_orl.results import store
from robo_orl.results.cost_record import CostRecord
from robo_orl.results.record import EpisodeRow, Manifest, Record
from robo_orl.results.summary import summarise

PARAMETERS = {"tiny": 300_000, "xs": 800_000, "s": 6_300_000, "m": 32_000_000, "l": 100_000_000, "reference": 5_000_000}
TOPOLOGY_COST = {None: (1.0, 1.0), "shared": (1.04, 1.06), "shared_detached": (1.02, 1.05), "frozen": (0.55, 0.62),
                 "separate_small": (1.35, 1.2), "separate": (2.7, 1.9)}  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright")
    with chromium() as browser:
        yield browser


@dataclass(frozen=True)
class Synthetic:
    """A policy of the factory: its place on the axes and how often it succeeds at one stage."""

    name: str
    stage_rate: float
    objective: str = "bc"
    head: str = "flow"
    topology: str | None = None
    untrained: bool = False

    @property
    def config(self) -> dict:
        critic = {"topology": self.topology, "target": "head_ema"} if self.topology else None
        selection = {"num_samples": 4 if self.topology else 1, "untrained_critic": self.untrained}
        return {"name": self.name, "critic": critic, "objective": {"name": self.objective, "params": {}},
                "action_head": {"kind": self.head, "chunk": 10}, "selection": selection}  # fmt: skip


POLICIES = (
    Synthetic("bc", 0.84, head="l1"),
    Synthetic("bc_flow", 0.70),
    Synthetic("filtered_bc", 0.88, "filtered_bc", "l1"),
    Synthetic("best_of_untrained", 0.69, "qc", topology="shared", untrained=True),
    Synthetic("qc_shared", 0.9, "qc", topology="shared"),
    Synthetic("qc_separate", 0.76, "qc", topology="separate"),
)
SUITE = {"name": "synthetic", "version": 1}
ORIGIN = {
    "versions": {"python": "3.11.0", "torch": "0.0-synthetic", "mujoco": "0.0-synthetic"},
    "hardware": {"cpu": "Synthetic CPU", "cores": 2, "memory_bytes": 8 << 30, "accelerator": None},
    "code": {"version": "0.1.0", "commit": "0" * 40, "dirty": False},
    "created": "2020-01-01T00:00:00Z",
}


@dataclass(frozen=True)
class Plan:
    """The cells of a synthetic results folder; `skip` and `fail` name (task, policy) cells without a record."""

    tasks: Sequence[str] = ("synthetic1", "synthetic2")
    regimes: Sequence[str] = ("mg",)
    policies: Sequence[Synthetic] = POLICIES
    sizes: Sequence[str] = ("tiny",)
    seeds: Sequence[int] = (0,)
    episodes: int = 50
    cost: bool = True
    skip: Sequence[tuple[str, str]] = ()
    fail: Sequence[tuple[str, str]] = ()
    cells: list = field(default_factory=list)


def task(name: str) -> dict:
    cubes = int("".join(c for c in name if c.isdigit()) or 1)
    stages = [f"{verb}_{i + 1}" for i in range(cubes) for verb in ("lift", "place")]
    return {"name": name, "digest": sha256_of(name), "version": 1, "horizon": 200 * cubes, "control_hz": 20,
            "padding": 0.0, "stages": stages}  # fmt: skip


def episode_rows(policy: Synthetic, where: dict, episodes: int, seed: int, regime: str) -> list[EpisodeRow]:
    """Rows whose start states are easy or hard for every policy alike, so that pairing matters."""
    rows = []
    for index in range(episodes):
        hard = random.Random(f"{where['name']}/{regime}/{index}")
        luck = random.Random(f"{policy.name}/{where['name']}/{regime}/{seed}/{index}")
        reached = []
        for _ in where["stages"]:
            draw = 0.6 * hard.random() + 0.4 * luck.random()
            reached.append(draw < policy.stage_rate and (not reached or reached[-1]))
        length = round(where["horizon"] * (0.55 + 0.2 * luck.random())) if reached[-1] else where["horizon"]
        solved = reached[-1]
        rows.append(EpisodeRow(
            episode=index, start=index, seed=seed, success_once=solved, success_at_end=solved, stages=reached,
            length=length, wall_s=1.0, discounted_return=0.995**length if solved else 0.0))  # fmt: skip
    return rows


def parameters(policy: Synthetic, size: str) -> dict[str, int]:
    backbone, head = PARAMETERS[size], 60_000
    critic = {None: 0, "separate": backbone + 40_000}.get(policy.topology, 40_000)
    return {"backbone": backbone, "action_head": head, "critic": critic, "target": critic // 2,
            "total": backbone + head + critic + critic // 2}  # fmt: skip


def record(policy: Synthetic, where: dict, regime: str, size: str, seed: int, rows: list[EpisodeRow]) -> Record:
    cell = sha256_of([policy.name, where, regime, size, seed])
    time, memory = TOPOLOGY_COST[policy.topology]
    step = time * PARAMETERS[size] / 3e6
    critic = policy.topology and not policy.untrained
    errors = {"n": 500, "mean_absolute": 0.05 * len(where["stages"]), "bias": -0.02, "correlation": 0.7,
              "gamma": 0.995} if critic else None  # fmt: skip
    content = store.rows_text(rows).encode()
    return Record.model_validate({
        "cell": cell, "kind": "reference" if "library" in policy.config else "policy",
        "suite": SUITE, "task": where, "regime": regime, "size": size, "seed": seed,
        "policy": {"name": policy.name, "digest": sha256_of(policy.config), "config": policy.config},
        "data": {"sha256": sha256_of([where, regime]), "seed": 0, "episodes": 200, "frames": 40_000,
                 "success": {"k": 110, "n": 200}},
        "train": {"run": cell, "steps": 2000, "batch_size": 128, "wall_s": 2000 * step, "steps_per_s": 1 / step,
                  "samples_per_s": 128 / step, "step_s_median": step, "peak_memory_kind": "process_rss",
                  "peak_memory_bytes": int(memory * (3e8 + 16 * PARAMETERS[size])),
                  "parameters": parameters(policy, size)},
        "evaluation": {**summarise(rows, where["stages"]), "gamma": 0.995, "episodes_file": store.EPISODES,
                       "episodes_sha256": hashlib.sha256(content).hexdigest(), "starts_sha256": sha256_of(where),
                       "loop": "exact", "seed": 0, "wall_s": 60.0},
        "value_errors": errors, **ORIGIN,
    })  # fmt: skip


def cost_record(size: str) -> CostRecord:
    """One synthetic interleaved measurement: bc and the five topologies under names the cells use too."""
    rows = []
    bc, others = Synthetic("bc", 0, head="l1"), [Synthetic(f"qc_{t}", 0, "qc", topology=t) for t in TOPOLOGY_COST if t]
    for policy in (bc, Synthetic("bc_flow", 0), Synthetic("filtered_bc", 0, "filtered_bc", "l1"), *others):
        time, memory = TOPOLOGY_COST[policy.topology]
        small = 1 + 0.3 / SIZES[size] * (policy.topology is not None)
        rows.append({"policy": policy.name, "size": size, "topology": policy.topology, "steps": 20,
                     "step_s": time * small * PARAMETERS[size] / 3e6, "step_relative": time * small,
                     "peak_memory_bytes": int(memory * (3e8 + 16 * PARAMETERS[size])), "memory_relative": memory,
                     "memory_kind": "process_rss", "flops_per_sample": time * 6.0 * PARAMETERS[size],
                     "flops_relative": time, "parameters": parameters(policy, size)})  # fmt: skip
    return CostRecord.model_validate({"key": sha256_of(size), "suite": SUITE, "task": task("synthetic2"),
                                      "batch_size": 128, "base": "bc", "precision": "fp32", "rows": rows,
                                      **ORIGIN})  # fmt: skip


def write_results(out: Path, plan: Plan) -> Path:
    """Write a results folder as the benchmark does."""
    planned = []
    for name in plan.tasks:
        for regime in plan.regimes:
            for size in plan.sizes:
                for policy in plan.policies:
                    for seed in plan.seeds:
                        planned.append(_write_cell(out, plan, task(name), regime, size, policy, seed))
    if plan.cost:
        for size in plan.sizes:
            store.write_cost(out, size, cost_record(size))
    store.write_manifest(out, Manifest(suite=SUITE, description="synthetic", config={}, cells=planned, wall_s=600.0))
    return out


def _write_cell(out: Path, plan: Plan, where: dict, regime: str, size: str, policy: Synthetic, seed: int) -> dict:
    rows = episode_rows(policy, where, plan.episodes, seed, regime)
    made = record(policy, where, regime, size, seed, rows)
    place, state = (where["name"], policy.name), "done"
    if place in plan.skip or place in plan.fail:
        state = "failed" if place in plan.fail else "missing"
    else:
        store.write_cell(out / store.CELLS / made.cell[:16], made, rows)
    return {"cell": made.cell, "task": where["name"], "regime": regime, "policy": policy.name, "size": size,
            "seed": seed, "state": state, "reason": "Out of memory." if state == "failed" else ""}  # fmt: skip


@pytest.fixture(scope="session")
def make_results():
    """(folder, Plan) -> folder, written with synthetic records."""
    return write_results


@pytest.fixture(scope="session")
def results_plan():
    """The Plan type and the synthetic policies that a test chooses from."""
    return Plan


@pytest.fixture(scope="session")
def quick_results(tmp_path_factory) -> Path:
    """Two tasks, six policies, one seed, costs of all topologies."""
    return write_results(tmp_path_factory.mktemp("quick"), Plan())
