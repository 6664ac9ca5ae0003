"""The device that measures: its ceiling, its energy, and its allocator."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.models.cpu_kernels import Linear

CEILING_SIZE = {"cpu": 1024, "cuda": 8192}  # of the square matrices whose product is the ceiling
CEILING_S = 0.5


@torch.no_grad()
def matmul_ceiling(device: str, precision: str, seconds: float = CEILING_S) -> float:
    """FLOP/s of the best of the square matrix products of `seconds` seconds: the most that this device gives.

    On a CPU both torch's own product and that of our layers, which another library may compute faster.
    """
    n = CEILING_SIZE[device]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    products: list[Callable[[Tensor], Tensor]] = [lambda x: x @ b]
    if device == "cpu":
        products.append(Linear(n, n, bias=False).to(dtype))
    best, end = float("inf"), perf_counter() + seconds
    while perf_counter() < end or best == float("inf"):
        for product in products:
            began = perf_counter()
            product(a)
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, perf_counter() - began)
    return 2 * n**3 / best


def energy_joules() -> float | None:
    """Joules since the driver was loaded; None without NVML (`pip install nvidia-ml-py`), a GPU, or a counter in it."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0)) / 1000
    except pynvml.NVMLError:
        return None


def this_device() -> str:
    """cuda where there is a GPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def forget() -> None:
    """Hand freed memory back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> str:
    """The allocator's message in a line; any other error is raised as it is."""
    says_so = any(words in str(error).lower() for words in ("out of memory", "can't allocate"))
    if says_so or isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return str(error).split("\n")[0]
    raise error


@contextmanager
def recorded(snapshot: Path | None) -> Iterator[None]:
    """Record the CUDA allocator's history into `snapshot`, for pytorch.org/memory_viz; UsageError without a GPU."""
    if snapshot is None:
        yield
        return
    if not torch.cuda.is_available():
        raise UsageError("--snapshot needs a GPU: the CPU's allocator keeps no history.")
    torch.cuda.memory._record_memory_history(max_entries=200_000)
    try:
        yield
    finally:
        torch.cuda.memory._dump_snapshot(str(snapshot))
        torch.cuda.memory._record_memory_history(enabled=None)
