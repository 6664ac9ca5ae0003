"""Bytes held by tensors, exactly: the peak of a training step on a machine whose allocator does not count it."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorBytes(TorchDispatchMode):
    """Counts the bytes of every tensor storage that lives while the mode is active; views count once.

    held: tensors that exist already and belong to what is measured. current, peak: bytes now, and the most so far.
    label: what storages that appear from now on are called; by_label and at_peak split current and peak by it.
    Memory inside an operator (workspaces of a matrix product) is not seen; the allocator's rounding is not added.
    """

    def __init__(self, held: Iterable[Tensor] = ()):
        super().__init__()
        self.current = self.peak = 0
        self.label = "held"
        self.by_label: Counter[str] = Counter()
        self.at_peak: dict[str, int] = {}
        self._known: dict[int, tuple[int, str]] = {}
        for tensor in held:
            self._add(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        return result

    def relabel(self, tensor: Tensor, label: str) -> None:
        """Call the storage behind `tensor` something else from now on."""
        key = tensor.untyped_storage()._cdata
        size, old = self._known.get(key, (0, label))
        if old != label:
            self._known[key] = size, label
            self.by_label[old] -= size
            self.by_label[label] += size

    def restart_peak(self) -> None:
        """Forget the peak so far: the next phase has its own."""
        self.peak, self.at_peak = self.current, dict(self.by_label)

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known[key] = size, self.label
        self.current += size
        self.by_label[self.label] += size
        if self.current > self.peak:
            self.peak, self.at_peak = self.current, dict(self.by_label)
        weakref.finalize(storage, self._remove, key).atexit = False

    def _remove(self, key: int) -> None:
        size, label = self._known.pop(key, (0, self.label))
        self.current -= size
        self.by_label[label] -= size


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages behind `tensors`."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def tensors_alive() -> list[Tensor]:
    """Every tensor with memory that Python knows of in this process, and the shards that ZeRO-3 hangs on parameters."""
    # not isinstance: it asks every object for its __class__, which some answer with a warning
    alive = [o for o in gc.get_objects() if issubclass(type(o), Tensor)]
    alive += [t.grad for t in alive if t.is_leaf and t.grad is not None]
    real = [t for t in alive if t.device.type != "meta" and t.layout == torch.strided]
    return [t for t in real if type(t).__name__ != "FakeTensor"]  # left by a prediction; they hold nothing
