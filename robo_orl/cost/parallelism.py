"""The layout of a training step: the number of processes, the ZeRO stage, the device."""

from __future__ import annotations

from dataclasses import dataclass, replace

from robo_orl.base.errors import UsageError


@dataclass(frozen=True)
class Layout:
    """N processes of one device each. zero 0 is plain data parallelism (DDP), and a single process where world is 1.

    offload: optimiser states, and under ZeRO-3 parameters, in the host's memory. Raises UsageError for combinations
    that do not exist.
    """

    world: int = 1
    zero: int = 0
    offload: bool = False
    device: str = "cuda"

    def __post_init__(self) -> None:
        if self.zero not in (0, 1, 2, 3):
            raise UsageError(f"ZeRO stage {self.zero} does not exist: 0 (plain DDP), 1, 2 or 3.")
        if self.world < 1:
            raise UsageError(f"{self.world} processes cannot train: --world is at least 1.")
        if self.offload and self.zero == 0:
            raise UsageError("Offload is DeepSpeed's: choose --zero 1, 2 or 3 with it.")
        if self.device not in ("cpu", "cuda"):
            raise UsageError(f"Unknown device '{self.device}': cpu or cuda.")

    @property
    def deepspeed(self) -> bool:
        """True where DeepSpeed keeps the states."""
        return self.zero > 0

    def pairs(self, batch: int, parts: int = 1) -> int:
        """Pairs that one process reads at once, in a batch of `batch` observations that it reads in `parts` parts;
        UsageError where they do not divide."""
        if batch < 2 or batch % (2 * self.world):
            raise UsageError(
                f"A batch of {batch} observations does not divide into pairs among {self.world} process(es): "
                f"choose a multiple of {2 * self.world}, e.g. {max(1, round(batch / 2 / self.world)) * 2 * self.world}."
            )
        pairs = batch // (2 * self.world)
        if pairs % parts:
            raise UsageError(f"The {pairs} pairs of a process do not divide into {parts} parts (optim.accumulation).")
        return pairs // parts

    def describe(self) -> str:
        """In words, for a table."""
        engine = "one process" if self.world == 1 else f"DDP, {self.world} processes"
        engine = f"ZeRO-{self.zero}, {self.world} process(es)" if self.zero else engine
        return f"{engine}, offload" if self.offload else engine

    def but(self, **changes: object) -> Layout:
        """Another layout with these fields changed."""
        return replace(self, **changes)
