"""What the sampler's kernel and what calls it agree on: the order of the weights, and for which experts it is.

n blocks, H heads, W expert width, F hidden width, M numbers of a chunk (h A).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

HIDDEN = 32  # hidden numbers at a time: F is a multiple of it
# Width of an expert up to -> bytes of shared memory that the kernel takes, as ptxas says (tests check it). Wider ones
# stay apart: every program reads all weights in every step, and their products fill a card by themselves.
SHARED = {128: 78_848, 256: 156_672}
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
