"""Accelerator cards by name: their memory as torch reports it, and their peak rates. Makers' data sheets, rounded down.

bf16, fp32, tf32: dense matrix products without sparsity, in FLOP/s; fp32 is full precision, which torch computes unless
TF32 is chosen (`optim.tf32`). bandwidth: of the card's memory, bytes per second. link: bytes per second that one card
sends to its neighbours in a node, in one direction.
"""

from __future__ import annotations

from dataclasses import dataclass

from robo_orl.base.errors import unknown

GIB = 2**30
CONTEXT = int(0.75 * GIB)  # CUDA context, cuBLAS workspaces, NCCL buffers: outside torch's counter, inside the card
FRAGMENTED = 0.03  # share of a card that the caching allocator cannot hand out, with expandable segments


@dataclass(frozen=True)
class Card:
    """One kind of card."""

    name: str
    memory: int
    bf16: float
    fp32: float
    tf32: float
    bandwidth: float
    link: float

    def rate(self, precision: str, tf32: bool = False) -> float:
        """FLOP/s of matrix products in a precision of `optim`."""
        return self.bf16 if precision == "bf16" else self.tf32 if tf32 else self.fp32

    @property
    def usable(self) -> int:
        """Bytes left for tensors: an assumption until a calibration on the card replaces it."""
        return int(self.memory * (1 - FRAGMENTED)) - CONTEXT


CARDS = {
    card.name: card
    for card in (
        Card("rtx4090-24gb", int(23.5 * GIB), 165e12, 82e12, 82e12, 1.0e12, 25e9),
        Card("l40s-48gb", int(44.4 * GIB), 362e12, 91e12, 183e12, 0.86e12, 25e9),
        Card("a6000-48gb", int(47.4 * GIB), 154e12, 38e12, 77e12, 0.76e12, 56e9),
        Card("a100-40gb", int(39.4 * GIB), 312e12, 19e12, 156e12, 1.5e12, 300e9),
        Card("a100-80gb", int(79.1 * GIB), 312e12, 19e12, 156e12, 2.0e12, 300e9),
        Card("h100-80gb", int(79.1 * GIB), 989e12, 67e12, 494e12, 3.3e12, 450e9),
        Card("h200-141gb", int(139.7 * GIB), 989e12, 67e12, 494e12, 4.8e12, 450e9),
        Card("b200-180gb", int(178.0 * GIB), 2250e12, 75e12, 1100e12, 7.7e12, 900e9),
    )
}


def card(name: str) -> Card:
    """A card by name; UsageError with the nearest name."""
    if name not in CARDS:
        raise unknown("card", name, CARDS)
    return CARDS[name]
