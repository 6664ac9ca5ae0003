"""What evidence.py compares: an experiment is one computation in a few ways, the first one being the plain way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robo_orl.agent.agent import build_agent
from robo_orl.base.types import PairedWindow
from robo_orl.config import PolicyConfig, deep_merge, parse
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.measure.memory import measured_memory
from robo_orl.cost.synthetic_step import SyntheticStep, policy_spec
from robo_orl.data.cache import open_cache
from robo_orl.data.windows import PairedWindows
from robo_orl.envs.registry import ARM_ACTION
from robo_orl.models import cpu_kernels as libraries
from robo_orl.models.critics import Heads
from robo_orl.models.layers import half_width

BATCH = 64
SIZE = "s"  # of the training steps: 6 million numbers
WIDTH = 448  # of size m


class Skipped(Exception):
    """The experiment cannot run on this machine; the message says why."""


@dataclass
class Experiment:
    """variants: name -> one run, the plain way first. peaks: name -> bytes of tensors at the peak, measured afterwards.
    notes: what else the row says."""

    what: str
    variants: dict[str, Callable[[], Any]]
    peaks: Callable[[], dict[str, int]] = dict
    notes: dict[str, Any] = field(default_factory=dict)


def device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def step_of(
    policy: str, size: str, batch: int = BATCH, kind: type[SyntheticStep] = SyntheticStep, **over: Any
) -> SyntheticStep:
    """A training step of a shipped policy on synthetic windows of chain2's shapes; over: other sections."""
    changes = {"backbone": {"size": size}, "optim": {"batch_size": batch}}
    config = parse(PolicyConfig, deep_merge(deep_merge(load_policy(policy).model_dump(), changes), over), policy)
    return kind(config, policy_spec(config, load_task("chain2")), ARM_ACTION, 0.99, device())


def peaks_of(steps: dict[str, SyntheticStep]) -> dict[str, int]:
    """Peak bytes of one step of each."""
    return {name: measured_memory(step).peak_bytes for name, step in steps.items()}


# ----------------------------------------------------------------------------------------------------------- ensembles


def one_head(weights: dict[str, Tensor], features: Tensor, actions: Tensor) -> Tensor:
    """A member of critics.Heads: features (B, C), actions (B, N, c*A) -> (B, N, K)."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def normed(x: Tensor) -> Tensor:
        return F.silu(F.layer_norm(x, x.shape[-1:]))

    x = linear("feature_in", features).unsqueeze(1) + linear("action_in", actions)
    return linear("out", normed(linear("hidden", normed(x))))


@contextmanager
def ensembles(members: int) -> Iterator[Experiment]:
    """Q heads of size m, forward and backward of 32 pairs with 4 candidates each."""
    torch.manual_seed(0)
    width, numbers = half_width(WIDTH), 10 * ARM_ACTION
    heads = Heads(members, width, numbers, 1).to(device())
    features = torch.randn(BATCH // 2, members, width, device=device())
    actions = torch.randn(BATCH // 2, 4, numbers, device=device())
    weights = dict(heads.named_parameters())

    def stacked() -> Tensor:
        return heads(features, actions)

    def loop() -> Tensor:
        return torch.stack([
            one_head({name: w[i] for name, w in weights.items()}, features[:, i], actions) for i in range(members)
        ])  # fmt: skip

    def vmapped() -> Tensor:
        return torch.func.vmap(one_head, in_dims=(0, 1, None))(weights, features, actions)

    def both_ways(forward: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            heads.zero_grad()
            forward().square().mean().backward()

        return run

    ways = {"loop": loop, "stacked": stacked, "vmap": vmapped}
    for way in ways.values():
        torch.testing.assert_close(way(), stacked(), rtol=1e-4, atol=1e-5)
    what = f"{members} Q heads of size m, forward and backward, {BATCH // 2} pairs x 4 candidates"
    yield Experiment(what, {name: both_ways(way) for name, way in ways.items()}, notes={"engine": "stacked"})


# ----------------------------------------------------------------------------------------------------------- optimiser


@contextmanager
def adamw() -> Iterator[Experiment]:
    """The update of an agent: one tensor after the other, all at once, and in one kernel."""

    def update(**form: bool) -> Callable[[], None]:
        config = load_policy("qc")
        config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"size": SIZE})})
        agent = build_agent(config, policy_spec(config, load_task("chain2")), ARM_ACTION, 0.99, None, 0).to(device())
        trained = [p for p in agent.parameters() if p.requires_grad]
        for p in trained:
            p.grad = torch.full_like(p, 1e-3)
        return torch.optim.AdamW(trained, lr=1e-3, weight_decay=1e-4, **form).step

    variants = {"loop": update(foreach=False), "foreach": update(foreach=True), "fused": update(fused=True)}
    yield Experiment(f"the update of qc at size {SIZE} by AdamW", variants, notes={"engine": "fused"})


# ----------------------------------------------------------------------------------------------------------- the step


def compared(what: str, steps: dict[str, SyntheticStep], **notes: Any) -> Experiment:
    """Whole training steps by turns, and their memory."""
    variants = {name: step.timed for name, step in steps.items()}
    return Experiment(f"training step, {what}", variants, lambda: peaks_of(steps), notes)


@contextmanager
def checkpointing() -> Iterator[Experiment]:
    """Keep each block's input only."""
    steps = {n: step_of("qc", SIZE, 256, backbone={"checkpointing": n == "on"}) for n in ("off", "on")}
    yield compared(f"qc at size {SIZE}, 256 observations", steps, engine="off; policy.backbone.checkpointing")


@contextmanager
def bf16() -> Iterator[Experiment]:
    """Autocast over float32 weights, and what a slow copy would become if it were kept in bfloat16."""
    steps = {name: step_of("qc", SIZE, optim={"precision": name}) for name in ("fp32", "bf16")}
    kept = {str(b.dtype) for b in steps["bf16"].agent.target.buffers() if b.is_floating_point()}
    notes = {
        "engine": "fp32 unless policy.optim.precision says bf16",
        "dtype_of_averages_under_bf16": sorted(kept),
        "error_of_average_after_1000_steps": {str(t).split(".")[1]: average_error(t) for t in AVERAGED_IN},
    }
    yield compared(f"qc at size {SIZE}, {BATCH} observations", steps, **notes)


AVERAGED_IN = (torch.float32, torch.bfloat16)


def average_error(dtype: torch.dtype, steps: int = 1000, rate: float = 0.005) -> float:
    """Relative error of an average that follows weights from one draw to another, kept in `dtype`, against float64."""
    generator = torch.Generator().manual_seed(0)
    start, goal = (torch.randn(10_000, generator=generator, dtype=torch.float64) for _ in range(2))
    exact, average = start.clone(), start.to(dtype)
    for _ in range(steps):
        exact.lerp_(goal, rate)
        average.lerp_(goal.to(dtype), rate)
    return ((average.double() - exact).norm() / (exact - start).norm()).item()


@contextmanager
def compiled() -> Iterator[Experiment]:
    """One block compiled, used for all; the first step, which compiles, told apart."""
    steps = {n: step_of("qc", SIZE, backbone={"compile": n == "regional"}) for n in ("eager", "regional")}
    began = perf_counter()
    try:
        steps["regional"].run()
    except Exception as error:  # whatever the compiler stumbles over
        raise Skipped(f"torch.compile fails here: {str(error).splitlines()[0][:120]}") from error
    notes = {"engine": "eager; policy.backbone.compile", "first_step_s": perf_counter() - began}
    variants = {name: step.timed for name, step in steps.items()}
    yield Experiment(f"training step, qc at size {SIZE}, {BATCH} observations", variants, notes=notes)


@contextmanager
def accumulation() -> Iterator[Experiment]:
    """256 observations at once, and as 4 x 64 with one update."""
    parts = {"1 x 256": 1, "4 x 64": 4}
    steps = {name: step_of("qc", SIZE, 256, optim={"accumulation": count}) for name, count in parts.items()}
    yield compared(f"qc at size {SIZE}, 256 observations", steps, engine="1 x 256; policy.optim.accumulation")


# ------------------------------------------------------------------------------------------------------------- products


@contextmanager
def products() -> Iterator[Experiment]:
    """Linear layers by the BLAS that torch chooses, and by oneDNN."""
    if device() != "cpu" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        raise Skipped("a question of CPUs whose torch has oneDNN")
    steps = {name: step_of("bc_flow", SIZE) for name in ("torch's BLAS", "oneDNN")}
    chosen = libraries.onednn_is_faster

    def by(name: str) -> Callable[[], None]:
        def run() -> None:
            libraries.onednn_is_faster = lambda: name == "oneDNN"
            steps[name].timed()

        return run

    notes = {"engine": "oneDNN" if chosen() else "torch's BLAS"}
    variants = {name: by(name) for name in steps}
    try:
        yield Experiment(f"training step, bc_flow at size {SIZE}, {BATCH} observations, fp32", variants, notes=notes)
    finally:
        libraries.onednn_is_faster = chosen


# -------------------------------------------------------------------------------------------------------------- loading


@contextmanager
def windows_of(policy: PolicyConfig) -> Iterator[PairedWindows]:
    """Made-up episodes with two cameras, on disk and in the page cache, as `policy` reads them."""
    from image_loader import made_up

    with tempfile.TemporaryDirectory() as folder:
        os.environ["ROBO_ORL_CACHE"] = folder
        path = made_up(Path(folder) / "made_up.hdf5", episodes=40)
        arrays = open_cache(path, list(policy.observation.low_dim or SPEC), policy.observation.cameras)
        yield PairedWindows(arrays, policy.action_head.chunk, policy.n, 0.99)


SPEC = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}


@contextmanager
def loading(pictures: bool, pinned: bool = False) -> Iterator[Experiment]:
    """A training step that reads its own windows, beside one whose windows a thread has read during the last step."""
    if pinned and device() != "cuda":
        raise Skipped("no GPU: memory is pinned for copies to one; its CPU twin is the thread alone")
    seen = {"cameras": ["agentview", "robot0_eye_in_hand"], "low_dim": list(SPEC)} if pictures else {}
    sees = {"observation": {"low_dim": list(SPEC)} | seen}
    steps = {name: step_of("bc", "tiny", 128, **sees) for name in ("read, then step", "read ahead")}
    with windows_of(steps["read ahead"].policy) as windows, ThreadPoolExecutor(1) as thread:
        numbers, ahead = count(), count()

        def read(step: int) -> PairedWindow:
            window = windows.batch(0, step, 0, 1, 128)
            return window.map(lambda t: t.pin_memory()) if pinned else window

        def plain() -> None:
            steps["read, then step"].window = windows.batch(0, next(numbers), 0, 1, 128).to(device())
            steps["read, then step"].run()

        waiting = [thread.submit(read, next(ahead))]

        def overlapped() -> None:
            window = waiting.pop().result()
            waiting.append(thread.submit(read, next(ahead)))
            steps["read ahead"].window = window.to(device())
            steps["read ahead"].run()

        what = f"training step, bc at size tiny, 128 observations {'with two cameras' if pictures else 'of vectors'}"
        variants = {"read, then step": plain, "read ahead": overlapped, "read only": lambda: read(0)}
        yield Experiment(what, variants, notes={"engine": "read, then step", "pinned": pinned})
        thread.shutdown(wait=True)


EXPERIMENTS = {
    "ensembles_2": lambda: ensembles(2),
    "ensembles_10": lambda: ensembles(10),
    "adamw": adamw,
    "checkpointing": checkpointing,
    "accumulation": accumulation,
    "bf16": bf16,
    "compiled": compiled,
    "products": products,
    "loading_vectors": lambda: loading(pictures=False),
    "loading_pictures": lambda: loading(pictures=True),
    "loading_pinned": lambda: loading(pictures=True, pinned=True),
}
