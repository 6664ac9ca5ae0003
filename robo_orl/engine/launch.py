"""The settings of a launcher, read from the environment in one place and checked before anything starts.

accelerate, torchrun and DeepSpeed pass their settings as environment variables, which outlive the job that set them: a
variable without the launcher that belongs to it is refused with its name. No torch here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import RunConfig

ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
PRECISIONS = {"fp32": "no", "bf16": "bf16"}
UNSUPPORTED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
    "ACCELERATE_USE_TP": "tensor parallelism",
    "ACCELERATE_USE_XLA": "XLA",
}
ZERO_SETTINGS = {
    "zero_stage": "ACCELERATE_DEEPSPEED_ZERO_STAGE",
    "offload_optimizer": "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE",
    "offload_param": "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE",
}


@dataclass(frozen=True)
class Launch:
    """The settings of the launcher of this process.

    world, local_world: processes in all and on this machine. started: whether a launcher set this process's rank.
    no_address: the variables of the address at which processes meet that are not set.
    zero: the ZeRO settings that the launcher sets, by their name in engine.json. tasks: processes that SLURM's srun
    started, each of them a launcher or a training; 1 outside of srun.
    """

    world: int = 1
    rank: int = 0
    local_world: int = 1
    started: bool = False
    use_cpu: bool = False
    deepspeed: bool = False
    precision: str = "no"
    dynamo_backend: str = "no"
    deepspeed_config_file: str = "none"
    gradient_clipping: str = "auto"
    gradient_accumulation_steps: str = "auto"
    zero: dict[str, str] = field(default_factory=dict)
    tasks: int = 1
    unsupported: tuple[str, ...] = ()
    no_address: tuple[str, ...] = ()
    cpu_processes_missing: bool = False


def process_rank() -> int:
    """The rank of this process among those of its launch, 0 without one: RANK alone is left over from another job."""
    return 0 if _no_address(os.environ) else _number(os.environ, "RANK", 0)


def _no_address(environment: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(variable for variable in ADDRESS if not environment.get(variable))


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """The launcher's settings; UsageError for a variable that is no number."""
    use_cpu = _flag(environment, "ACCELERATE_USE_CPU")
    started = "RANK" in environment or "LOCAL_RANK" in environment
    local = "LOCAL_WORLD_SIZE" if "LOCAL_WORLD_SIZE" in environment else "LOCAL_SIZE"
    launched_by_accelerate = "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_ADDR" in environment
    return Launch(
        world=_number(environment, "WORLD_SIZE", 1),
        rank=_number(environment, "RANK", 0),
        local_world=_number(environment, local, 1),
        started=started,
        use_cpu=use_cpu,
        deepspeed=_flag(environment, "ACCELERATE_USE_DEEPSPEED"),
        precision=environment.get("ACCELERATE_MIXED_PRECISION", "no") or "no",
        dynamo_backend=environment.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() or "no",
        deepspeed_config_file=environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none"),
        gradient_clipping=environment.get("ACCELERATE_GRADIENT_CLIPPING", "auto"),
        gradient_accumulation_steps=environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "auto"),
        zero={key: environment[variable] for key, variable in ZERO_SETTINGS.items() if variable in environment},
        tasks=_number(environment, "SLURM_STEP_NUM_TASKS", 1),
        unsupported=tuple(name for variable, name in UNSUPPORTED.items() if _flag(environment, variable)),
        no_address=_no_address(environment),
        cpu_processes_missing=use_cpu and launched_by_accelerate and "LOCAL_RANK" not in environment,
    )


def check_launch(launch: Launch, run: RunConfig) -> None:
    """Refuse launch settings that are left over, unsupported, or that would change the run.

    Raises UsageError where the settings contradict the run or this machine, RunError where fewer processes run than
    were started.
    """
    _check_leftovers(launch)
    _check_processes(launch)
    _check_division(launch, run)
    _check_training_settings(launch, run)


def _check_leftovers(launch: Launch) -> None:
    if launch.started:
        if not 0 <= launch.rank < launch.world:
            raise UsageError(
                f"RANK is {launch.rank} and WORLD_SIZE is {launch.world}, which do not belong together; unset both, or "
                "start the training with `accelerate launch`."
            )
        if launch.world > 1 and launch.no_address:
            raise UsageError(
                f"RANK is {launch.rank} and WORLD_SIZE is {launch.world}, but {launch.no_address[0]} of the address "
                "where the processes would meet is not set: if RANK and WORLD_SIZE are left over from another job, "
                "unset them, else start all processes with `accelerate launch`."
            )
        return
    if launch.world > 1:
        raise UsageError(
            f"WORLD_SIZE is {launch.world}, but no launcher started this process (RANK is not set): it is left over "
            "from another job; unset WORLD_SIZE, or start the training with `accelerate launch`."
        )
    if launch.deepspeed:
        raise UsageError(
            "ACCELERATE_USE_DEEPSPEED is set, but no launcher started this process (RANK is not set): it is left over "
            "from another job; unset it, or use `accelerate launch --config_file launch/zero2.yaml`."
        )


def _check_processes(launch: Launch) -> None:
    if launch.cpu_processes_missing:
        raise RunError(
            "Several CPU processes were requested, but accelerate started one: distributed_type MULTI_CPU needs "
            "mpirun, so use launch/cpu_ddp.yaml."
        )
    if launch.world < launch.local_world + launch.tasks - 1:
        raise RunError(
            f"SLURM started {launch.tasks} tasks, but this training has {launch.world} process(es), all on this "
            "machine: every task would train apart from the others; give `accelerate launch` the number of machines "
            "and, with ZeRO, `deepspeed_multinode_launcher: standard`, as launch/slurm_nodes.sh does."
        )


def _check_division(launch: Launch, run: RunConfig) -> None:
    pairs, parts = run.policy.optim.batch_size // 2, run.policy.optim.accumulation
    if pairs % launch.world:
        raise UsageError(
            f"optim.batch_size {2 * pairs} is {pairs} pairs, which do not divide among {launch.world} processes."
        )
    if pairs // launch.world % parts:
        raise UsageError(
            f"optim.accumulation {parts} does not divide the {pairs // launch.world} pairs of a process "
            f"(optim.batch_size {2 * pairs}, {launch.world} process(es))."
        )


def _check_training_settings(launch: Launch, run: RunConfig) -> None:
    optim = run.policy.optim
    for name in launch.unsupported:
        raise UsageError(
            f"The launch file requests {name}, which is not supported; use launch/ddp.yaml, launch/zero2.yaml or "
            "launch/zero3.yaml."
        )
    if launch.dynamo_backend != "no":
        raise UsageError(
            f"The launch settings compile the model (dynamo_backend {launch.dynamo_backend}), which is not supported; "
            "remove dynamo_config from the launch file and unset ACCELERATE_DYNAMO_BACKEND."
        )
    if launch.precision not in ("no", PRECISIONS[optim.precision]):
        raise UsageError(
            f"The launch file sets mixed_precision {launch.precision}, the policy {optim.precision}; "
            "precision belongs to the policy, so set it there (--set policy.optim.precision=bf16)."
        )
    for key, theirs, ours in (
        ("gradient_clipping", launch.gradient_clipping, optim.clip_norm),
        ("gradient_accumulation_steps", launch.gradient_accumulation_steps, optim.accumulation),
    ):
        if theirs not in ("auto", "none", "") and not _equals(theirs, ours):
            raise UsageError(f"The launch file sets {key} {theirs}, the run {ours:g}; remove it from the launch file.")
    if launch.deepspeed_config_file != "none":
        raise UsageError("Give zero_stage and offload_*_device in the launch file instead of a deepspeed_config_file.")


def _equals(text: str, number: float) -> bool:
    try:
        return float(text) == number
    except ValueError:
        return False


def _number(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable) or str(default)
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"The environment variable {variable} is '{text}', no whole number; unset it.") from None


def _flag(environment: Mapping[str, str], variable: str) -> bool:
    return environment.get(variable, "false").lower() in ("true", "1", "yes")
