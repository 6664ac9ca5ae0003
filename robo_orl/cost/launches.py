"""The kernels that a training step starts on a GPU, counted on any machine.

A launch is an operator of torch that starts at least one kernel, as the dispatcher sees it: products, elementwise work,
reductions, copies, casts, fills and draws. Views and empty tensors start none. Attention, RMSNorm and LayerNorm are one
launch in each direction, as their fused kernels are. Multi-tensor operators (`torch._foreach_*`, fused AdamW) start as
many kernels as CUDA's multi-tensor apply splits them into. Kernels inside an operator (three in attention's backward, a
copy of what is not contiguous) are not seen, so that a count is a lower bound that is the same everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

PARTS = (
    "normaliser",
    "embedding",
    "backbone",
    "samples",
    "heads",
    "slow copies",
    "losses",
    "backward",
    "optimiser",
    "targets",
)
PHASES = {"backward": "backward", "optimizer": "optimiser", "target": "targets"}
# Constants of CUDA's multi-tensor apply (ATen/native/cuda/MultiTensorApply.cuh).
CHUNK, BLOCKS, TENSORS = 65536, 320, (110, 64, 48, 36, 30)
SILENT = {
    *("empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided"),
    *("_unsafe_view", "lift_fresh", "_local_scalar_dense"),
}
DRAWS = {"randn", "rand"}
SYNCHRONISING = {"_local_scalar_dense", "nonzero", "unique_dim", "_unique2", "unique_consecutive"}


@dataclass(frozen=True)
class Launches:
    """The launches of one step by part, the casts among them, and where the processor has to wait for the device."""

    parts: dict[str, int]
    casts: int
    synchronisations: int

    @property
    def passes(self) -> int:
        """Those of the forward and the backward pass."""
        return self.total - self.parts["optimiser"] - self.parts["targets"]

    @property
    def total(self) -> int:
        """Those of the whole step."""
        return sum(self.parts.values())

    def to_json(self) -> dict[str, Any]:
        """The value of `launches` in the output of `profile --json`."""
        return {
            "total": self.total,
            "passes": self.passes,
            "parts": self.parts,
            "casts": self.casts,
            "synchronisations": self.synchronisations,
        }


class LaunchCounter(TorchDispatchMode):
    """Counts launches by `part` while it is active.

    drawn_together: the random numbers of a step travel in one copy (base/rng.py), and not one by one.
    """

    drawn_together = True

    def __init__(self) -> None:
        super().__init__()
        self.drawn = False
        self.part = "losses"
        self.held = False  # the part stays what it is: what checkpointing computes again belongs to the backward pass
        self.parts: Counter[str] = Counter()
        self.casts = self.synchronisations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        self.parts[self.part] += self._copies_of_draws() if name in DRAWS else kernels_of(func, name, args)
        self.casts += name == "_to_copy" and result.dtype != args[0].dtype
        self.synchronisations += name in SYNCHRONISING
        return result

    def _copies_of_draws(self) -> int:
        """Numbers are drawn by the processor; those of a step are copied to the device in one piece (base/rng.py)."""
        first, self.drawn = not self.drawn, True
        return int(first or not self.drawn_together)

    def fused(self) -> None:
        """One launch of a kernel that this machine computes in several operators."""
        self.parts[self.part] += 1

    @contextmanager
    def of(self, part: str, hold: bool = False) -> Iterator[None]:
        """What starts in this block belongs to `part`, or to an inner block's part unless it is held."""
        if self.held:
            yield
            return
        before, self.part, self.held = self.part, part, hold
        try:
            yield
        finally:
            self.part, self.held = before, False

    def counted(self) -> Launches:
        """The counts so far."""
        return Launches({part: self.parts[part] for part in PARTS}, self.casts, self.synchronisations)


def kernels_of(func: Any, name: str, args: tuple) -> int:
    """Kernels that an operator starts."""
    if func.namespace in ("prim", "profiler") or name in SILENT or is_view(func):
        return 0
    if name.startswith("_foreach_") or name.startswith("_fused_adam"):
        lists = [arg for arg in args if isinstance(arg, list | tuple) and arg and isinstance(arg[0], Tensor)]
        depth = 4 if name.startswith("_fused_adam") else len(lists) + (not name.endswith("_"))
        started = multi_tensor_launches([tensor.numel() for tensor in lists[0]], depth)
        return started + 2 if name == "_foreach_norm" else started  # partial sums are filled with 0, then added up
    return 1


def is_view(func: Any) -> bool:
    """True of an operator whose result shares the memory of its argument, and that writes nothing."""
    aliased = [value.alias_info for value in func._schema.returns if value.alias_info is not None]
    return bool(aliased) and not any(alias.is_write for alias in aliased)


def multi_tensor_launches(sizes: Sequence[int], depth: int) -> int:
    """Kernels of one multi-tensor operator over `depth` lists of tensors of these sizes."""
    launches = tensors = blocks = 0
    most = TENSORS[min(depth, len(TENSORS)) - 1]
    for size in sizes:
        if not size:
            continue
        tensors += 1
        left = -(-size // CHUNK)
        while left:
            taken = min(left, BLOCKS - blocks)
            blocks, left = blocks + taken, left - taken
            if blocks == BLOCKS or (tensors == most and not left):
                launches, blocks, tensors = launches + 1, 0, 1 if left else 0
    return launches + (blocks > 0)


# ------------------------------------------------------------------------------------------------- kernels of a GPU


class _OneKernel(Function):
    """A norm whose result has the shape of its input, one kernel forward and one backward."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor | None, counter: LaunchCounter) -> Tensor:
        ctx.counter, ctx.like = counter, (x, weight)
        counter.fused()
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: FunctionCtx, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.like
        ctx.counter.fused()
        return torch.empty_like(x), None if weight is None else torch.empty_like(weight), None


class FusedNorms(TorchFunctionMode):
    """RMSNorm as the one kernel that a GPU has for it, with shapes for values.

    cast: also the casts to float32 around it, which CUDA's autocast makes where a norm is left to it.
    """

    def __init__(self, counter: LaunchCounter, cast: bool = False):
        super().__init__()
        self.counter, self.cast = counter, cast

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is F.rms_norm:
            x, weight = args[0], kwargs.get("weight", args[2] if len(args) > 2 else None)
            if self.cast:
                x, weight = x.float(), None if weight is None else weight.float()
            return _OneKernel.apply(x, weight, self.counter)
        if func is F.layer_norm and torch.is_autocast_enabled("cpu"):
            return func(args[0].float(), *args[1:], **kwargs)  # CUDA's autocast computes it in float32
        return func(*args, **kwargs)


def count_launches(step: Any, cast_norms: bool = False, whole: bool = True) -> Launches:
    """The launches of one step of a `SyntheticStep`, on fake tensors or on those of a CPU, whose values are then void.

    cast_norms: as in `FusedNorms`. whole: with the optimiser's step and the targets'; else the two passes alone.
    """
    counter = LaunchCounter()

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        with counter.of(PHASES[name], hold=True) if name in PHASES else ExitStack():
            yield

    if whole:
        _allocate_moments(step)
    multi_tensor = patch("torch.nn.utils.clip_grad._has_foreach_support", lambda *_: True)
    with multi_tensor, labelled(step.agent, counter), FusedNorms(counter, cast_norms), counter:
        (step.run if whole else step.gradients)(phase)
    return counter.counted()


def kernels_started(step: Any) -> int:
    """Kernels and copies that one step started on this GPU, as its profiler saw them: more than were counted, by those
    that an operator starts beyond its first."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step.run()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())


def _allocate_moments(step: Any) -> None:
    """Take one step of the optimiser on gradients without values: its first one fills its state."""
    for parameter in step.agent.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    step.optimizer.step()
    step.optimizer.zero_grad()


@contextmanager
def labelled(agent: nn.Module, counter: LaunchCounter) -> Iterator[None]:
    """Let the parts of an agent's forward pass say which they are."""
    owned: list[tuple[Any, str, str]] = [
        (agent.normaliser, "observation", "normaliser"),
        (agent.normaliser, "scale_actions", "normaliser"),
        (agent.action_head, "loss", "heads"),
        (agent.action_head, "sample", "samples"),
        (agent.action_head, "sample_with_log_prob", "samples"),
    ]
    for backbone in (agent.backbone, agent.critic_backbone):
        owned += [(backbone, "forward", "backbone"), (backbone, "_embed", "embedding")]
    if agent.critic is not None:
        owned += [
            (agent.critic.readout, "forward", "heads"),
            (agent.critic, "q", "heads"),
            (agent.critic, "v", "heads"),
        ]
    if agent.target is not None:
        owned += [(agent.target, "features", "slow copies"), (agent.target.critic, "q", "slow copies")]
    owned += [(module, "forward", "heads") for module in agent.extra.values()]
    owned += [(agent.slow_head, name, "slow copies") for name in ("sample", "mode")]
    with ExitStack() as stack:
        for owner, name, part in owned:
            if owner is not None and hasattr(owner, name):
                stack.enter_context(patch.object(owner, name, _within(getattr(owner, name), counter, part)))
        yield


def _within(method: Callable, counter: LaunchCounter, part: str) -> Callable:
    held = part == "slow copies"

    def call(*args: Any, **kwargs: Any) -> Any:
        with counter.of(part, hold=held):
            return method(*args, **kwargs)

    return call
