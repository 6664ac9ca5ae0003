"""accelerate set up explicitly, and the settings that it resolved read back.

Several spellings of a launch silently run one process, drop DeepSpeed or train unsynchronised copies. So nothing is
left to defaults ("auto" nowhere), and the settings that accelerate resolved are compared with those of the launcher and
the run.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import logging
import os
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType, InitProcessGroupKwargs, ProjectConfiguration
from torch import nn

from robo_orl.base.errors import RunError, UsageError, unknown
from robo_orl.config import RunConfig
from robo_orl.engine.launch import PRECISIONS, Launch, check_launch, read_launch
from robo_orl.engine.process_group import meet, start_heartbeat
from robo_orl.engine.tracker import check_tracker
from robo_orl.engine.zero import deepspeed_plugin, partition

ENGINES = {
    DistributedType.NO: "single",
    DistributedType.MULTI_CPU: "ddp",
    DistributedType.MULTI_GPU: "ddp",
    DistributedType.DEEPSPEED: "deepspeed",
}


def on_cpu() -> bool:
    """True if this process trains on the CPU: no GPU is visible, or the launch file says use_cpu."""
    return not torch.cuda.is_available() or read_launch().use_cpu


def open_accelerator(run: RunConfig, out: Path) -> Accelerator:
    """The one Accelerator of a run, its processes connected.

    Raises UsageError where the launch file contradicts the run, RunError where accelerate resolved something else.
    """
    launch = read_launch()
    check_launch(launch, run)
    if launch.deepspeed and importlib.util.find_spec("deepspeed") is None:
        raise UsageError("The launch file requests DeepSpeed, which is not installed: `pip install deepspeed`.")
    tracker = check_tracker(run.tracker, main=launch.rank == 0)
    choose_tf32(run.policy.optim.tf32, on_cpu())
    if on_cpu():
        keep_freed_memory()
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        os.environ.setdefault("LOCAL_SIZE", str(launch.local_world))
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)]
    if launch.world > 1 and on_cpu():
        handlers.append(InitProcessGroupKwargs(backend="gloo"))
    store = meet(launch)
    accelerator = Accelerator(
        cpu=on_cpu() and not launch.deepspeed,  # with cpu=True accelerate drops DeepSpeed, without it DDP on a CPU
        # Under DeepSpeed the autocast is DeepSpeed's own (zero.py): accelerate would turn the weights to bf16.
        mixed_precision="no" if launch.deepspeed else PRECISIONS[run.policy.optim.precision],
        deepspeed_plugin=deepspeed_plugin(run, launch.world, on_cpu()) if launch.deepspeed else None,
        gradient_accumulation_steps=run.policy.optim.accumulation,
        kwargs_handlers=handlers,
        step_scheduler_with_optimizer=False,
        log_with=tracker,
        project_config=ProjectConfiguration(project_dir=str(out), logging_dir=str(out / "tracker")),
    )
    if launch.world > 1:
        atexit.register(_leave_process_group)
    start_heartbeat(store, launch)
    _check_environment(accelerator, launch)
    return accelerator


def choose_tf32(tf32: bool, cpu: bool) -> None:
    """Let float32 products of a GPU run in TF32, or in full precision; UsageError where there is no GPU to do so."""
    if tf32 and cpu:
        raise UsageError("optim.tf32 is a precision of GPUs, and this trains on a CPU: leave it out.")
    torch.backends.cuda.matmul.allow_tf32 = tf32


def prepare(
    accelerator: Accelerator, agent: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """accelerate's wrappers around the agent and its optimiser."""
    partition(accelerator, agent)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*broadcast_buffers")  # torch's new name is not accelerate's yet
        return accelerator.prepare(agent, optimizer)


@dataclass(frozen=True)
class ResolvedEngine:
    """The engine that really runs, read from the prepared objects and not from the request: engine.json."""

    engine: str
    processes: int
    device: str
    backend: str
    precision: str
    accumulation: int
    zero_stage: int = 0
    offload_optimizer: str = "none"
    offload_param: str = "none"
    clip_by: str = "accelerate"

    def to_json(self) -> dict[str, Any]:
        """The content of engine.json."""
        return asdict(self)


def resolved(accelerator: Accelerator, model: nn.Module) -> ResolvedEngine:
    """The engine that accelerate resolved for a prepared model."""
    engine = ResolvedEngine(
        engine=ENGINES.get(accelerator.distributed_type, str(accelerator.distributed_type)),
        processes=accelerator.num_processes,
        device=accelerator.device.type,
        backend=torch.distributed.get_backend() if torch.distributed.is_initialized() else "none",
        precision="bf16" if accelerator.mixed_precision == "bf16" else "fp32",
        accumulation=accelerator.gradient_accumulation_steps,
    )
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return _resolved_deepspeed(engine, model)
    return engine


def check_resolved(engine: ResolvedEngine, run: RunConfig, agent: nn.Module, model: nn.Module) -> None:
    """RunError where the engine is not the one that the run and the launcher request."""
    launch, values = read_launch(), engine.to_json()
    requested: dict[str, Any] = {
        "accumulation": run.policy.optim.accumulation,
        "precision": run.policy.optim.precision,
        "processes": launch.world,
    }
    if launch.deepspeed:
        requested |= {"engine": "deepspeed"} | {key: type(values[key])(text) for key, text in launch.zero.items()}
    for key in run.expect:
        if key not in values:
            raise unknown("key in expect", key, values)
    for key, value in (requested | run.expect).items():
        if str(values[key]) != str(value):
            raise RunError(f"Requested {key} {value}, but accelerate resolved {values[key]}; check the launch file.")
    if engine.processes > 1 and model is agent:
        raise RunError("Accelerate left the model unwrapped: the processes would train apart from each other.")


def _resolved_deepspeed(engine: ResolvedEngine, model: nn.Module) -> ResolvedEngine:
    zero = model._config.zero_config
    return replace(
        engine,
        precision="bf16" if model.torch_autocast_enabled() or model.bfloat16_enabled() else "fp32",
        accumulation=model.gradient_accumulation_steps(),
        zero_stage=model.zero_optimization_stage(),
        offload_optimizer=_device(zero.offload_optimizer),
        offload_param=_device(zero.offload_param),
        clip_by=f"deepspeed at {model.gradient_clipping():g}",
    )


def _device(offload: object | None) -> str:
    return "none" if offload is None else getattr(offload.device, "value", str(offload.device))


def _check_environment(accelerator: Accelerator, launch: Launch) -> None:
    """Compare accelerate with the launcher before the model is prepared: a mismatch would hang there."""
    processes, kind = accelerator.num_processes, accelerator.distributed_type
    if processes != launch.world:
        raise RunError(
            f"The launcher started {launch.world} processes, but accelerate sees {processes}; check the launch file."
        )
    if launch.deepspeed and kind != DistributedType.DEEPSPEED:
        raise RunError(
            f"DeepSpeed was requested, but accelerate resolved {kind.value}: `use_cpu: true` drops DeepSpeed silently, "
            "so remove it from the launch file."
        )
    if launch.world > 1 and kind == DistributedType.NO:
        raise RunError(
            f"{launch.world} processes were started without a strategy and would train apart from each other; "
            "use `accelerate launch --config_file launch/ddp.yaml` (cpu_ddp.yaml without a GPU)."
        )


def _leave_process_group() -> None:
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h
NEVER, LARGEST = 2**31 - 1, 2**30


def keep_freed_memory() -> bool:
    """Keep freed memory in the process; returns whether the C library does so: glibc does, others need not.

    A training step on the CPU frees nearly all of its tensors and allocates the same sizes in the next step. By default
    glibc hands large blocks back to the system, and every step takes them back page by page, each page zeroed, which
    shows in the step of a small policy. Blocks of up to 1 GiB stay in the process; the peak does not change.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, NEVER))
