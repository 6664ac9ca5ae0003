"""Kernels of a step that is compiled whole (`optim.capture: compile`), as torch's compiler fuses them for a GPU,
counted on a machine without one.

    python benchmarks/compiled_launches.py [--sizes tiny,s,m] [--blocks-of 1b] [--policies bc+flow,qc,iql]

Forward and backward are traced on fake tensors and lowered for an H100 by TorchInductor with `combo_kernels`, which is
what a run compiles with; the code that it writes is read and not run. Counted are the calls in it: Triton kernels,
products, attention. Beside them a step copies its weights and gradients and its draws, as the eager one does: counted
by robo_orl/cost/launches.py. The counts do not depend on the machine or its load.

--blocks-of: sizes whose compiling takes an hour are counted with 8 and with 12 of their blocks, at their full width,
and what 4 more blocks of the backbone with 1 of the flow expert add is added as often as the size has them. Copies and
the eager step are counted at the size itself. Rows of other sizes and policies in the result are kept.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

HERE = Path(__file__).resolve().parents[1]
BATCH, TASK = 64, "chain2"
FEW = (8, 12)  # blocks of the backbone, a multiple of 4: the flow expert has a quarter as many
POLICIES, ORDER = ("bc+flow", "qc", "iql"), ("tiny", "s", "m", "l", "1b")
KINDS = {
    "triton": r"\btriton_\w+\.run\(",
    "products": r"\bextern_kernels\.\w+\(",
    "attention": r"\bbuf\d+ = torch\.ops\.aten\.",
    "sampler": r"= torch\.ops\.robo_orl\.flow_samples\.",
}
H100 = SimpleNamespace(
    name="NVIDIA H100",
    major=9,
    minor=0,
    total_memory=85_000_000_000,
    multi_processor_count=132,
    warp_size=32,
    max_threads_per_block=1024,
    max_threads_per_multi_processor=2048,
    regs_per_multiprocessor=65536,
    shared_memory_per_block=49152,
    shared_memory_per_block_optin=232448,
    L2_cache_size=50 * 2**20,
    gcnArchName="",
)


@contextmanager
def for_an_h100() -> Iterator[None]:
    """The compiler finds the properties of an H100 in this process. No kernel is compiled or run."""
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor import config, scheduler
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    target = SimpleNamespace(get_current_target=lambda: GPUTarget("cuda", 90, 32), get_current_device=lambda: 0)
    driver.set_active(target)
    with ExitStack() as patches:
        for owner, name, value in (
            (torch.cuda, "get_device_properties", lambda *_: H100),
            (torch.cuda, "get_device_capability", lambda *_: (9, 0)),
            (torch.cuda, "current_device", lambda: 0),
            (CudaInterface, "get_device_properties", staticmethod(lambda *_: H100)),
            (CudaInterface, "get_compute_capability", staticmethod(lambda *_: 90)),
            (CudaInterface.Worker, "get_device_properties", staticmethod(lambda *_: H100)),
            (scheduler, "has_triton", lambda *_: True),
            (torch.utils._triton, "triton_hash_with_backend", lambda *_: ""),
        ):
            patches.enter_context(patch.object(owner, name, value))
        patches.enter_context(config.patch(combo_kernels=True, compile_threads=1))
        yield


def on_the_gpu(graph: fx.GraphModule, inputs: list[Any], mode: FakeTensorMode) -> tuple[fx.GraphModule, list[Any]]:
    """The same graph and its inputs on a GPU; neither has values."""

    def moved(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        with mode:
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cuda:0")

    for node in graph.graph.nodes:
        if node.kwargs.get("device") is not None:
            node.kwargs = {**node.kwargs, "device": torch.device("cuda:0")}
        node.meta["val"] = torch.utils._pytree.tree_map(moved, node.meta.get("val"))
    return graph, [moved(value) for value in inputs]


def code_for_a_gpu(graph: fx.GraphModule, inputs: list[Any]) -> str:
    """The Python code that TorchInductor writes for a graph."""
    from torch._guards import detect_fake_mode
    from torch._inductor.compile_fx import _recursive_post_grad_passes
    from torch._inductor.debug import DebugContext
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V

    mode = detect_fake_mode(inputs)
    with V.set_fake_mode(mode), V.set_debug_handler(DebugContext()):
        graph = copy.deepcopy(graph)
        _recursive_post_grad_passes(graph, is_inference=False)
        graph, inputs = on_the_gpu(graph, inputs, mode)
        lowered = GraphLowering(graph, example_inputs=inputs, is_inference=False)
        with V.set_graph_handler(lowered):
            lowered.run(*inputs)
            return lowered.codegen()[0].value


def kernels_in(code: str) -> Counter[str]:
    """The calls of a graph's code by kind."""
    return Counter({kind: len(re.findall(pattern, code)) for kind, pattern in KINDS.items()})


class GivenDraws:
    """The same numbers in every pass, made before the graph."""

    def __init__(self) -> None:
        self.numbers: list[Tensor] = []
        self.served = 0

    def restart(self) -> GivenDraws:
        """From the first one on."""
        self.served = 0
        return self

    def normal(self, stream: str, *shape: int) -> Tensor:
        """As those of `Draws`."""
        if self.served == len(self.numbers):
            self.numbers.append(torch.randn(*shape))
        self.served += 1
        return self.numbers[self.served - 1]

    uniform = normal


def copies_of(weights: Any) -> int:
    """Kernels of the multi-tensor copies of weights and, back, of their gradients, and of those without gradient."""

    from robo_orl.cost.launches import multi_tensor_launches

    def launches(places: list) -> int:
        sizes = [weight.numel() for place in places for weight in place.weights]
        return multi_tensor_launches(sizes, 2)

    return 2 * sum(map(launches, weights.groups)) + launches(weights.copied)


def parts_of(policy: str, size: str, capture: str) -> tuple[Any, ...]:
    """What a step is made of."""
    from robo_orl.config.presets import load_policy, load_task
    from robo_orl.cost.synthetic_step import policy_spec

    loaded, task = load_policy(policy), load_task(TASK)
    optim = {"batch_size": BATCH, "precision": "bf16", "capture": capture}
    changed = {"optim": loaded.optim.model_copy(update=optim)}
    config = loaded.model_copy(update=changed | {"backbone": loaded.backbone.model_copy(update={"size": size})})
    return config, policy_spec(config, task), 7, config.gamma.value(task.horizon)


def copies_and_eager(policy: str, size: str) -> tuple[int, int]:
    """Kernels of a compiled step that are outside of its graphs, and those of the passes of an eager step."""
    from robo_orl.cost.launches import count_launches
    from robo_orl.cost.predict.activation_memory import fake_step
    from robo_orl.engine.working_weights import WorkingWeights
    from robo_orl.models.cpu_kernels import as_on_a_gpu

    with as_on_a_gpu(), fake_step(*parts_of(policy, size, "compile")) as step:
        copies = copies_of(WorkingWeights(step.agent)) + 1  # that of the draws
    with as_on_a_gpu(), fake_step(*parts_of(policy, size, "off")) as step:
        return copies, count_launches(step).passes


def count(policy: str, size: str) -> dict[str, Any]:
    """The kernels of the two passes of a compiled step, by pass and kind, and those of an eager one."""
    from torch._dynamo.backends.common import aot_autograd
    from torch._inductor.decomposition import select_decomp_table

    from robo_orl.cost.predict.activation_memory import FakeStep
    from robo_orl.engine.working_weights import WorkingWeights
    from robo_orl.models.cpu_kernels import as_on_a_gpu

    parts = parts_of(policy, size, "compile")
    copies, eager = copies_and_eager(policy, size)
    passes: list[Counter[str]] = []

    def compiler(graph: fx.GraphModule, inputs: list[Any]) -> Callable:
        passes.append(kernels_in(code_for_a_gpu(graph, inputs)))
        return graph

    backend = aot_autograd(fw_compiler=compiler, bw_compiler=compiler, decompositions=select_decomp_table)
    with as_on_a_gpu(), for_an_h100(), FakeTensorMode(allow_non_fake_inputs=True):
        step, draws = FakeStep(*parts, "cpu"), GivenDraws()
        weights = WorkingWeights(step.agent)
        graph = torch.compile(step.agent.forward, backend=backend, fullgraph=True, dynamic=False)
        for forward in (step.agent, graph):  # the first one makes the draws
            with torch.autocast("cpu", torch.bfloat16), weights.in_place():
                loss, _ = forward(step.window, draws.restart())
        loss.backward()
    found = dict(zip(("forward", "backward"), map(dict, passes), strict=True))
    total = copies + sum(sum(kinds.values()) for kinds in passes)
    return {"policy": policy, "size": size, **found, "copies": copies, "passes": total, "eager": eager}


class Width(int):
    """The width of a size, whatever the depth by which it is multiplied."""

    def __mul__(self, depth: int) -> int:
        return int(self)


def extrapolated(policy: str, size: str) -> dict[str, Any]:
    """The row of a size with many blocks, from two with few of the same width."""
    from robo_orl.models.backbones import transformer

    depth = transformer.depth_of(size)
    with patch.object(transformer, "WIDTH_PER_DEPTH", Width(transformer.WIDTH_PER_DEPTH * depth)):
        few, more = (count(policy, f"d{blocks}") for blocks in FEW)
    times = (depth - FEW[0]) // (FEW[1] - FEW[0])
    whole = {
        way: {kind: few[way][kind] + times * (more[way][kind] - few[way][kind]) for kind in few[way]}
        for way in ("forward", "backward")
    }
    copies, eager = copies_and_eager(policy, size)
    total = copies + sum(sum(kinds.values()) for kinds in whole.values())
    return {"policy": policy, "size": size, **whole, "copies": copies, "passes": total, "eager": eager, "from": FEW}


def counted(policy: str, size: str, way: str = "--count") -> dict[str, Any]:
    """`count` in a process of its own, whose compiler believes in a GPU."""
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, way, policy, size]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] in (["--count"], ["--extrapolate"]):
        print(json.dumps((count if sys.argv[1] == "--count" else extrapolated)(*sys.argv[2:4])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="tiny,s,m")
    parser.add_argument("--blocks-of", default="1b")
    parser.add_argument("--policies", default="bc+flow,qc,iql")
    parser.add_argument("--out", type=Path, default=HERE / "benchmarks" / "compiled_launches.json")
    args = parser.parse_args()
    rows = {}
    if args.out.exists():
        rows = {(row["size"], row["policy"]): row for row in json.loads(args.out.read_text())["rows"]}
    for way, sizes in (("--count", args.sizes), ("--extrapolate", args.blocks_of)):
        for size, policy in itertools.product(filter(None, sizes.split(",")), args.policies.split(",")):
            row = rows[size, policy] = counted(policy, size, way)
            print(size, policy, row["eager"], row["passes"], flush=True)
            ordered = sorted(rows.values(), key=lambda row: (ORDER.index(row["size"]), POLICIES.index(row["policy"])))
            about = {"batch": BATCH, "task": TASK, "precision": "bf16", "torch": torch.__version__, "rows": ordered}
            args.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
