"""Windows of several tasks in one batch: a pair's task is drawn by explicit weights, its frame from its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import derive_seed
from robo_orl.base.types import Observation, PairedWindow
from robo_orl.data.windows import PairedWindows, check_divides

RESOLUTION = 2**32


class TaskMixture:
    """The interface of PairedWindows over several of them.

    weights: how often a pair is of each task, in any unit; a task's share does not depend on how much data it has.
    Raises UsageError where the tasks' observations do not have the same keys and sizes.
    """

    def __init__(self, tasks: Sequence[PairedWindows], weights: Sequence[float]):
        self.tasks = list(tasks)
        bounds = np.cumsum(np.asarray(weights, np.float64)) / sum(weights)
        self._bounds = np.round(bounds * RESOLUTION).astype(np.uint64)  # exact for ever: integers, no library's choice
        for other in self.tasks[1:]:
            check_alike(self.tasks[0], other)

    def __len__(self) -> int:
        return sum(len(task) for task in self.tasks)

    def batch(self, seed: int, step: int, rank: int, world: int, batch_size: int) -> PairedWindow:
        """As PairedWindows.batch: a function of (seed, step), and the ranks' batches are the batch of one rank."""
        check_divides(batch_size, world)
        pairs = batch_size // 2
        mine = slice(rank * (pairs // world), (rank + 1) * (pairs // world))
        chosen = self.draw_tasks(seed, step, pairs)[mine]
        parts, places = [], []
        for number, task in enumerate(self.tasks):
            at = np.flatnonzero(chosen == number)
            if len(at):
                own = derive_seed(seed, "task", number)
                frames, sentences = task.draw(own, step, pairs)[mine], task.draw_sentences(own, step, pairs)[mine]
                parts.append(task.gather(frames[at], sentences[at]))
                places.append(at)
        order = torch.from_numpy(np.argsort(np.concatenate(places), kind="stable"))
        return joined(parts).map(lambda t: t[order])

    def draw_tasks(self, seed: int, step: int, pairs: int) -> np.ndarray:
        """(pairs,) int64: the task of each pair."""
        bits = np.random.Philox(key=derive_seed(seed, step, "tasks")).random_raw(pairs) % np.uint64(RESOLUTION)
        return np.searchsorted(self._bounds, bits, side="right")


def joined(windows: Sequence[PairedWindow]) -> PairedWindow:
    """Several batches as one, one after the other."""
    first, *rest = windows
    for window in rest:
        both = {}
        for field in fields(PairedWindow):
            a, b = getattr(first, field.name), getattr(window, field.name)
            both[field.name] = Observation.cat(a, b) if isinstance(a, Observation) else torch.cat((a, b))
        first = replace(first, **both)
    return first


def check_alike(one: PairedWindows, other: PairedWindows) -> None:
    """UsageError where one policy cannot read both."""
    a, b = one.arrays, other.arrays
    for key in [*a.spec, *b.spec]:
        if a.spec.get(key) != b.spec.get(key):
            raise UsageError(
                f"One policy cannot read both {a.path} and {b.path}: '{key}' has {a.spec.get(key, 0)} numbers there "
                f"and {b.spec.get(key, 0)} here; leave it out with observation.low_dim."
            )
    if a.action_dim != b.action_dim:
        raise UsageError(f"{a.path} has actions of {a.action_dim} numbers, and {b.path} of {b.action_dim}.")
