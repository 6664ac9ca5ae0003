"""Accelerate set up explicitly, and what it made of it read back.

Several spellings of a launch silently run one process, drop DeepSpeed or train unsynchronised copies. So nothing is
left to defaults ("auto" nowhere), and what accelerate resolved is compared with what the launcher and the run asked.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import logging
import os
import warnings
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType, InitProcessGroupKwargs, ProjectConfiguration
from torch import nn

from robo_orl.base.errors import RunError, UsageError, unknown
from robo_orl.config import RunConfig
from robo_orl.engine.zero import deepspeed_plugin, partition

ENGINES = {
    DistributedType.NO: "single",
    DistributedType.MULTI_CPU: "ddp",
    DistributedType.MULTI_GPU: "ddp",
    DistributedType.DEEPSPEED: "deepspeed",
}
PRECISIONS = {"fp32": "no", "bf16": "bf16"}


def on_cpu() -> bool:
    """Whether this process trains on the CPU: no GPU is visible, or the launch file says use_cpu."""
    return not torch.cuda.is_available() or _flag("ACCELERATE_USE_CPU")


def open_accelerator(run: RunConfig, out: Path) -> Accelerator:
    """The one Accelerator of a run, its processes connected.

    Raises UsageError where the launch file contradicts the run, RunError where accelerate resolved something else.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    _check_launch(run, world)
    if on_cpu():
        keep_freed_memory()
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        os.environ.setdefault("LOCAL_SIZE", os.environ.get("LOCAL_WORLD_SIZE", "1"))
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    deepspeed = _flag("ACCELERATE_USE_DEEPSPEED")
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)]
    if world > 1 and on_cpu():
        handlers.append(InitProcessGroupKwargs(backend="gloo"))
    accelerator = Accelerator(
        cpu=on_cpu() and not deepspeed,  # told to use the CPU, accelerate drops DeepSpeed; untold, it skips DDP there
        # Under DeepSpeed the autocast is DeepSpeed's own (zero.py): accelerate would turn the weights to bf16.
        mixed_precision="no" if deepspeed else PRECISIONS[run.policy.optim.precision],
        deepspeed_plugin=deepspeed_plugin(run, world, on_cpu()) if deepspeed else None,
        gradient_accumulation_steps=run.policy.optim.accumulation,
        kwargs_handlers=handlers,
        step_scheduler_with_optimizer=False,
        log_with=tracker_of(run),
        project_config=ProjectConfiguration(project_dir=str(out), logging_dir=str(out / "tracker")),
    )
    if world > 1:
        atexit.register(_leave_process_group)
    _check_environment(accelerator)
    return accelerator


def share(accelerator: Accelerator, part: int, parts: int) -> tuple[int, int]:
    """(rank, world) that part `part` of `parts` of this process's batch has: part j of P on process r of N reads and
    draws what process r P + j of N P would."""
    return accelerator.process_index * parts + part, accelerator.num_processes * parts


def prepare(
    accelerator: Accelerator, agent: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """accelerate's wrappers around the agent and its optimiser."""
    partition(accelerator, agent)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*broadcast_buffers")  # torch's new name is not accelerate's yet
        return accelerator.prepare(agent, optimizer)


def tracker_of(run: RunConfig) -> str | None:
    """The tracker's name for accelerate; UsageError where its package is missing (accelerate would drop it)."""
    if run.tracker == "none":
        return None
    if importlib.util.find_spec(run.tracker) is None:
        raise UsageError(
            f"The tracker {run.tracker} is not installed: `pip install {run.tracker}`, or choose another one."
        )
    return run.tracker


def resolved(accelerator: Accelerator, model: nn.Module) -> dict:
    """What really runs, read from the prepared objects and not from the request: the content of engine.json."""
    found = {
        "engine": ENGINES.get(accelerator.distributed_type, str(accelerator.distributed_type)),
        "processes": accelerator.num_processes,
        "device": accelerator.device.type,
        "backend": torch.distributed.get_backend() if torch.distributed.is_initialized() else "none",
        "precision": "bf16" if accelerator.mixed_precision == "bf16" else "fp32",
        "accumulation": accelerator.gradient_accumulation_steps,
        "zero_stage": 0,
        "offload_optimizer": "none",
        "offload_param": "none",
        "clip_by": "accelerate",
    }
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        found |= _resolved_deepspeed(model)
    return found


def check_resolved(found: dict, run: RunConfig, agent: nn.Module, model: nn.Module) -> None:
    """RunError where `found` is not what the run and the launcher asked for."""
    asked = {
        "accumulation": run.policy.optim.accumulation,
        "precision": run.policy.optim.precision,
        "processes": _world(),
    }
    if _flag("ACCELERATE_USE_DEEPSPEED"):
        asked |= {"engine": "deepspeed"} | {
            key: type(found[key])(os.environ[variable]) for key, variable in LAUNCHED.items() if variable in os.environ
        }
    for key in run.expect:
        if key not in found:
            raise unknown("key in expect", key, found)
    for key, want in (asked | run.expect).items():
        if str(found[key]) != str(want):
            raise RunError(f"Asked for {key} {want}, but accelerate resolved {found[key]}; check the launch file.")
    if found["processes"] > 1 and model is agent:
        raise RunError("Accelerate left the model unwrapped: the processes would train apart from each other.")


LAUNCHED = {
    "zero_stage": "ACCELERATE_DEEPSPEED_ZERO_STAGE",
    "offload_optimizer": "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE",
    "offload_param": "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE",
}


def _resolved_deepspeed(model: nn.Module) -> dict:
    config = model.zero_optimization_stage(), model._config.zero_config
    stage, zero = config
    return {
        "precision": "bf16" if model.torch_autocast_enabled() or model.bfloat16_enabled() else "fp32",
        "accumulation": model.gradient_accumulation_steps(),
        "zero_stage": stage,
        "offload_optimizer": _device(zero.offload_optimizer),
        "offload_param": _device(zero.offload_param),
        "clip_by": f"deepspeed at {model.gradient_clipping():g}",
    }


def _device(offload: object | None) -> str:
    return "none" if offload is None else getattr(offload.device, "value", str(offload.device))


def _check_launch(run: RunConfig, world: int) -> None:
    """Refuse launch settings that would change the run behind its back."""
    launched_on_cpu = _flag("ACCELERATE_USE_CPU") and "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched_on_cpu and "MASTER_ADDR" in os.environ and "LOCAL_RANK" not in os.environ:
        raise RunError(
            "Several CPU processes were asked for, but accelerate started one: distributed_type MULTI_CPU needs "
            "mpirun, so use launch/cpu_ddp.yaml."
        )
    pairs = run.policy.optim.batch_size // 2
    if pairs % world:
        raise UsageError(f"optim.batch_size {2 * pairs} is {pairs} pairs, which do not divide among {world} processes.")
    parts = run.policy.optim.accumulation
    if pairs // world % parts:
        raise UsageError(
            f"optim.accumulation {parts} does not divide the {pairs // world} pairs of a process (optim.batch_size "
            f"{2 * pairs}, {world} process(es))."
        )
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision not in ("no", "", PRECISIONS[run.policy.optim.precision]):
        raise UsageError(
            f"The launch file sets mixed_precision {precision}, the policy {run.policy.optim.precision}; "
            "precision belongs to the policy, so set it there (--set policy.optim.precision=bf16)."
        )
    for key, variable, ours in (
        ("gradient_clipping", "ACCELERATE_GRADIENT_CLIPPING", run.policy.optim.clip_norm),
        ("gradient_accumulation_steps", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", parts),
    ):
        theirs = os.environ.get(variable, "auto")
        if theirs not in ("auto", "none") and float(theirs) != ours:
            raise UsageError(f"The launch file sets {key} {theirs}, the run {ours:g}; remove it from the launch file.")
    if os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none") != "none":
        raise UsageError("Give zero_stage and offload_*_device in the launch file instead of a deepspeed_config_file.")
    if _flag("ACCELERATE_USE_DEEPSPEED") and importlib.util.find_spec("deepspeed") is None:
        raise UsageError("The launch file asks for DeepSpeed, which is not installed: `pip install deepspeed`.")


def _check_environment(accelerator: Accelerator) -> None:
    """What can be told before the model is prepared: better to stop here than to hang."""
    found, world = accelerator.num_processes, _world()
    if found != world:
        raise RunError(f"The launcher started {world} processes, but accelerate sees {found}; check the launch file.")
    deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
    if _flag("ACCELERATE_USE_DEEPSPEED") and not deepspeed:
        raise RunError(
            f"DeepSpeed was asked for, but accelerate resolved {accelerator.distributed_type.value}: "
            "`use_cpu: true` drops DeepSpeed silently, so remove it from the launch file."
        )
    if world > 1 and accelerator.distributed_type == DistributedType.NO:
        raise RunError(
            f"{world} processes were started without a strategy and would train apart from each other; "
            "use `accelerate launch --config_file launch/ddp.yaml` (cpu_ddp.yaml without a GPU)."
        )


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def _flag(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1", "yes")


def _leave_process_group() -> None:
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h
NEVER, LARGEST = 2**31 - 1, 2**30


def keep_freed_memory() -> bool:
    """Whether the C library understood: glibc does, others need not.

    A training step on the CPU frees nearly all of its tensors and asks for the same sizes again. By default glibc hands
    large blocks back to the system, and every step takes them again page by page, each page zeroed, which shows in the
    step of a small policy. Blocks of up to 1 GiB stay in the process now. The peak is what it was.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, NEVER))
