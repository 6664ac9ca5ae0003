"""The launch file that a suite names: `accelerate launch` starts its trainings with it, each within one machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig
from robo_orl.config.presets import take_apart
from robo_orl.config.reading import read_yaml


@dataclass(frozen=True)
class LaunchFile:
    """A file of accelerate. processes: one a GPU, or on the CPU where use_cpu is set or no GPU is there."""

    path: Path
    processes: int
    zero: int = 0
    use_cpu: bool = False

    def check(self, policy: PolicyConfig, where: str) -> None:
        """UsageError where a policy's batch does not divide among the processes."""
        unit = 2 * self.processes * policy.optim.accumulation
        if policy.optim.batch_size % unit:
            raise UsageError(
                f"{where}: optim.batch_size {policy.optim.batch_size} of '{policy.name}' does not divide into pairs "
                f"among the {self.processes} processes of {self.path.name}: choose a multiple of {unit}."
            )


def launch_file(name: str) -> LaunchFile:
    """A file by its name in launch/ or by path; UsageError where there is none, or it needs several machines."""
    path = take_apart("launch", name).path.resolve()
    values = read_yaml(path)
    numbers = [_number(path, values, key) for key in ("num_processes", "num_machines")]
    if numbers[1] > 1:
        raise UsageError(f"{path}: a training of a suite runs within one machine: set num_machines to 1.")
    zero = (values.get("deepspeed_config") or {}).get("zero_stage", 0)
    # The twins for the CPU of the ZeRO files start with no other word: DeepSpeed refuses use_cpu.
    use_cpu = bool(values.get("use_cpu", False)) or path.stem.startswith("cpu_")
    return LaunchFile(path, numbers[0], int(zero), use_cpu)


def _number(path: Path, values: dict[str, Any], key: str) -> int:
    value = values.get(key, 1)
    if not isinstance(value, int) or value < 1:
        raise UsageError(f"{path}: {key} is {value!r}, and not a number of 1 or more.")
    return value
