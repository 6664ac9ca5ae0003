"""Batches without end, and the random numbers around them, so that a training goes on in the middle of a pass."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader


def random_state() -> dict[str, Any]:
    """The global generators, which robomimic draws from, as tensors and plain values."""
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, keys.tolist(), *rest],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put `random_state` back; on a machine with other GPUs theirs are left as they are."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    random.setstate(state["python"])


class Batches:
    """Passes over the data, each shuffled anew.

    A pass is shuffled by the generators as they are when it begins: `state` holds them, and how far the pass has come.
    """

    def __init__(self, loader: DataLoader):
        self.loader = loader
        self._begin()

    def __next__(self) -> dict:
        batch = next(self._pass, None)
        if batch is None:
            self._begin()
            batch = next(self._pass)
        self._taken += 1
        return batch

    def _begin(self) -> None:
        self._begun, self._taken = random_state(), 0
        self._pass = iter(self.loader)

    def state(self) -> dict[str, Any]:
        """What `restored` needs, and the generators as they are now."""
        return {"begun": self._begun, "taken": self._taken, "now": random_state()}

    @classmethod
    def restored(cls, loader: DataLoader, state: dict[str, Any]) -> Batches:
        """The batches after those that were taken, and the generators as they were then."""
        set_random_state(state["begun"])
        batches = cls(loader)
        for _ in range(state["taken"]):
            next(batches)
        set_random_state(state["now"])
        return batches
