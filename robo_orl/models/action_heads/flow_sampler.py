"""The whole sampler of a small flow expert as one operator: one kernel on a GPU (flow_kernel.py).

Step by step an Euler step is two dozen launches, whose arithmetic does not fill a card. It serves candidates that a
critic ranks in training, from a copy of the weights in one row that the step makes (engine/working_weights.py).

B batch, N samples, S tokens, n blocks, H heads, d head dim, W expert width, F hidden width, M numbers of a chunk (h A).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from robo_orl.models.cpu_kernels import stands_for_a_gpu

HIDDEN = 32  # hidden numbers at a time: F is a multiple of it
# Width of an expert up to -> bytes of shared memory that the kernel takes, as ptxas says (tests check it). Wider ones
# stay apart: every program reads all weights in every step, and their products fill a card by themselves.
SHARED = {128: 78_848, 256: 156_672}
SHARED_OF_H100 = 232_448
MOST_NUMBERS = 128
ALIGNED = 8  # numbers: 16 bytes in bf16
TURNS = 16  # frequencies of the time features


@dataclass(frozen=True)
class Layout:
    """Where the weights of an expert lie in one row of numbers: those outside of the blocks, then block after block."""

    numbers: int  # M
    width: int  # W
    heads: int  # H
    hidden: int  # F
    blocks: int  # n

    @property
    def outside(self) -> dict[str, int]:
        """Name -> numbers, of what comes before the blocks."""
        return {
            "chunk_in.weight": self.width * self.numbers,
            "time_in.weight": self.width * 2 * TURNS,
            "time_in.bias": self.width,
            "norm.weight": self.width,
            "out.weight": self.numbers * self.width,
            "out.bias": self.numbers,
        }

    @property
    def inside(self) -> dict[str, int]:
        """Name -> numbers, of what every block has."""
        return {
            "attention_norm.weight": self.width,
            "query.weight": self.width**2,
            "out.weight": self.width**2,
            "mlp_norm.weight": self.width,
            "mlp.gate_up.weight": 2 * self.hidden * self.width,
            "mlp.down.weight": self.width * self.hidden,
        }

    @property
    def names(self) -> dict[str, int]:
        """Name of a weight of the expert -> numbers, in the order of the row."""
        blocks = {f"blocks.{i}.{name}": size for i in range(self.blocks) for name, size in self.inside.items()}
        return self.outside | blocks

    @property
    def total(self) -> int:
        """Numbers of the row."""
        return sum(map(aligned, self.names.values()))

    def fits(self, shared: int) -> bool:
        """Whether the kernel is for an expert of this shape, on a device with so many bytes of shared memory."""
        needed = next((size for width, size in SHARED.items() if self.width <= width), None)
        shaped = self.numbers <= MOST_NUMBERS and self.hidden % HIDDEN == 0
        return shaped and needed is not None and needed <= shared


def shared_memory(device: torch.device) -> int:
    """Bytes of shared memory that a kernel may take; 0 where there is no Triton for the device."""
    if stands_for_a_gpu():
        return SHARED_OF_H100
    if device.type != "cuda" or torch.version.cuda is None or find_spec("triton") is None:
        return 0
    return torch.cuda.get_device_properties(device).shared_memory_per_block_optin


def aligned(numbers: int) -> int:
    """Numbers with the space up to the next weight."""
    return -(-numbers // ALIGNED) * ALIGNED


def offsets(sizes: dict[str, int]) -> dict[str, int]:
    """Name -> the place of its first number, where they lie one after the other."""
    places, at = {}, 0
    for name, size in sizes.items():
        places[name], at = at, at + aligned(size)
    return places


def in_a_row(row: Tensor, sizes: list[int]) -> Iterator[Tensor]:
    """The parts of a row that hold weights of these sizes."""
    at = 0
    for size in sizes:
        yield row[at : at + size]
        at += aligned(size)


@torch.library.custom_op("robo_orl::flow_samples", mutates_args=())
def flow_samples(
    noise: Tensor, keys: Tensor, values: Tensor, weights: Tensor, turns: Tensor, hidden: int, steps: int
) -> Tensor:
    """Euler steps from noise (B, N, M), float32, to chunks (B, N, M), not cut to [-1, 1].

    keys of unit scale, values: (B, S, n, H, d), bf16, the last two axes dense. weights: as `Layout` has them, bf16.
    turns: (TURNS,) float32 radians. hidden: F.
    """
    from robo_orl.models.action_heads.flow_kernel import run  # here: Triton is not on every machine

    return run(noise, keys, values, weights, turns, hidden, steps)


@flow_samples.register_fake
def _shape(
    noise: Tensor, keys: Tensor, values: Tensor, weights: Tensor, turns: Tensor, hidden: int, steps: int
) -> Tensor:
    return torch.empty_like(noise)
