"""DeepSpeed: its configuration without one "auto", and its partitioned parameters made whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from robo_orl.base.errors import UsageError
from robo_orl.config import RunConfig
from robo_orl.engine.launch import read_launch

if TYPE_CHECKING:  # a machine that only measures has no accelerate
    from accelerate import Accelerator

Gather = Callable[[Iterable[nn.Parameter]], AbstractContextManager]
BUCKET = 50_000_000  # elements in one collective: 200 MB of fp32
LIVE = 1_000_000_000  # ZeRO-3: elements gathered at once, and the distance within which they are kept


def deepspeed_plugin(run: RunConfig, world: int, cpu: bool) -> Any:
    """accelerate's plugin for the stage and offload that the launcher put into the environment."""
    from accelerate.utils import DeepSpeedPlugin

    if cpu:
        _without_shared_memory_collectives()
    plugin = DeepSpeedPlugin(zero3_init_flag=False)  # given the configuration here, it would refuse zero_stage in YAML
    plugin.deepspeed_config.clear()
    plugin.deepspeed_config.update(deepspeed_config(run, world, cpu))
    plugin.hf_ds_config.set_stage_and_offload()
    return plugin


def deepspeed_config(run: RunConfig, world: int, cpu: bool) -> dict:
    """The whole DeepSpeed configuration of a run, every number explicit.

    Clipping is one global norm over policy and critic. bf16 is torch's autocast over fp32 weights, as under DDP, with
    gradients reduced in fp32, so that the engines differ in where things live and in nothing else.
    """
    optim = run.policy.optim
    pairs = optim.batch_size // 2
    return {
        "train_batch_size": pairs,
        "train_micro_batch_size_per_gpu": pairs // world // optim.accumulation,
        "gradient_accumulation_steps": optim.accumulation,
        "steps_per_print": float("inf"),
        "gradient_clipping": optim.clip_norm,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's AdamW everywhere: no compilation at start, equal arithmetic
        "torch_autocast": {
            "enabled": optim.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        },
        "bf16": {"enabled": False},
        "fp16": {"enabled": False},
        "zero_optimization": _zero_section(cpu),
    }


def _zero_section(cpu: bool) -> dict:
    settings = read_launch().zero
    if settings.get("zero_stage", "2") not in ("1", "2", "3"):
        chosen = settings["zero_stage"]
        raise UsageError(f"zero_stage {chosen} in the launch file: 1, 2 and 3 exist here; launch/ddp.yaml is stage 0.")
    stage = int(settings.get("zero_stage", "2"))
    return {
        "stage": stage,
        "overlap_comm": not cpu,
        "contiguous_gradients": True,
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
        "sub_group_size": LIVE,
        "stage3_prefetch_bucket_size": BUCKET,
        "stage3_max_live_parameters": LIVE,
        "stage3_max_reuse_distance": LIVE,
        "stage3_param_persistence_threshold": 0,  # a persistent parameter is whole: shard-wise averages would miss it
        "stage3_gather_16bit_weights_on_model_save": False,
        "offload_optimizer": _offload(settings, "optimizer", cpu),
        "offload_param": _offload(settings, "param", cpu) if stage == 3 else {"device": "none"},
    }


def _offload(settings: dict[str, str], part: str, cpu: bool) -> dict[str, Any]:
    device = settings.get(f"offload_{part}", "none")
    if device not in ("none", "cpu"):
        raise UsageError(f"offload_{part}_device {device} in the launch file: none or cpu.")
    return {"device": device, "pin_memory": device == "cpu" and not cpu}


def _without_shared_memory_collectives() -> None:
    """Let gloo do the collectives: DeepSpeed's own would be compiled for half a minute at the first start."""
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def partition(accelerator: Accelerator, agent: nn.Module) -> None:
    """Under ZeRO-3, shard the parameters over the processes one at a time; nothing to do elsewhere.

    DeepSpeed would first put the whole agent on every device in float32, which two 7B models and their slow copies do
    not fit. The agent is complete by now on every process: random weights do not depend on the engine.
    """
    plugin = accelerator.state.deepspeed_plugin
    if plugin is None or plugin.zero_stage != 3:
        return
    import deepspeed

    deepspeed.zero.Init(module=agent, config_dict_or_path=plugin.deepspeed_config)
    for buffer in agent.buffers():
        buffer.data = buffer.data.to(accelerator.device)


def is_partitioned(parameter: torch.Tensor) -> bool:
    """True if ZeRO-3 keeps only a shard of the parameter on this process."""
    return hasattr(parameter, "ds_id")


def gather(parameters: Iterable[nn.Parameter]) -> AbstractContextManager:
    """Make parameters whole inside the block, for reading: a collective under ZeRO-3, nothing elsewhere."""
    partitioned = [p for p in parameters if is_partitioned(p)]
    if not partitioned:
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(partitioned)


def release(model: nn.Module) -> None:
    """Take DeepSpeed's hooks off, so that the process can train once more."""
    if hasattr(model, "destroy"):
        model.destroy()
