"""A window on its way to a device: its tensors side by side in one pinned buffer, copied in one piece.

A window has twenty tensors and more. A copy each from pageable memory makes the processor wait as often; one copy from
pinned memory lets it go on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robo_orl.base.types import PairedWindow

ALIGNED = 16  # bytes, which every type of a window divides


@dataclass(frozen=True)
class Slot:
    """The place of one tensor in the buffer; its axes lie there in the order of their strides, as in the original."""

    first: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    dtype: torch.dtype

    @property
    def end(self) -> int:
        """The first byte behind it."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return self.first + size

    def of(self, buffer: Tensor) -> Tensor:
        """The tensor in the buffer, as a view."""
        stored = buffer[self.first : self.end].view(self.dtype).view([self.shape[axis] for axis in self.order])
        return stored.permute([self.order.index(axis) for axis in range(len(self.shape))])


@dataclass
class PackedWindow:
    """The places of a window's tensors. `device` is the memory of windows that are sent to one place (`static`)."""

    slots: list[Slot]
    like: PairedWindow
    device: Tensor | None = None

    @classmethod
    def of(cls, window: PairedWindow) -> PackedWindow:
        """For windows of the shapes of this one."""
        slots: list[Slot] = []
        for tensor in tensors_of(window):
            order = tuple(sorted(range(tensor.dim()), key=[-stride for stride in tensor.stride()].__getitem__))
            first = -(-slots[-1].end // ALIGNED) * ALIGNED if slots else 0
            slots.append(Slot(first, tuple(tensor.shape), order, tensor.dtype))
        return cls(slots, window)

    def fits(self, window: PairedWindow) -> bool:
        """True where `window` has the shapes and types that the places are for."""
        shapes = [(slot.shape, slot.dtype) for slot in self.slots]
        return [(tuple(t.shape), t.dtype) for t in tensors_of(window)] == shapes

    def send(self, window: PairedWindow, device: torch.device, static: bool = False) -> PairedWindow:
        """The window on `device`. static: in the memory of the window before, which is gone then."""
        source, size = window.reward.device, self.slots[-1].end
        pinned = device.type == "cuda" and source.type == "cpu"
        buffer = torch.empty(size, dtype=torch.uint8, device=source, pin_memory=pinned)
        for slot, tensor in zip(self.slots, tensors_of(window), strict=True):
            slot.of(buffer).copy_(tensor)
        if not static:
            return self._window(buffer.to(device, non_blocking=True))
        if self.device is None:
            self.device = torch.empty(size, dtype=torch.uint8, device=device)
        self.device.copy_(buffer, non_blocking=True)
        return self._window(self.device)

    def _window(self, buffer: Tensor) -> PairedWindow:
        slots = iter(self.slots)
        return self.like.map(lambda _: next(slots).of(buffer))


def tensors_of(window: PairedWindow) -> list[Tensor]:
    """The tensors of a window in a fixed order."""
    found: list[Tensor] = []
    window.map(lambda tensor: found.append(tensor) or tensor)
    return found


def to_device(window: PairedWindow, device: torch.device, places: PackedWindow | None = None) -> PairedWindow:
    """The window on `device`, copied in one piece; as it is where it is there already."""
    if torch.device(device).type == window.reward.device.type:
        return window
    if places is None or not places.fits(window):
        places = PackedWindow.of(window)
    return places.send(window, torch.device(device))
