"""The data of a run: those of its tasks, opened and checked, as one source of windows.

A batch of several tasks draws a pair's task by explicit weights, its frame from the task's data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.seeds import derive_seed, raw_bits
from robo_orl.base.types import Observation, PairedWindow
from robo_orl.config import DataReading, PolicyConfig, RunConfig, TaskConfig
from robo_orl.config.instructions import training_sentences
from robo_orl.config.presets import stored_name
from robo_orl.data.arrays import EpisodeArrays, Reading
from robo_orl.data.cache import open_cache
from robo_orl.data.competence import competent_frames
from robo_orl.data.task_check import check_pictures, check_task
from robo_orl.data.windows import PairedWindows, check_divides
from robo_orl.envs.registry import observation_sizes


def task_number(run: RunConfig, task: str | None) -> int:
    """The place of a task in the run by its name, None for the first; UsageError where it is not among them."""
    names = [source.task.name for source in run.tasks]
    if task is None:
        return 0
    if stored_name(task) not in names:
        raise unknown("task of this run", task, names)
    return names.index(stored_name(task))


def open_data(run: RunConfig) -> list[EpisodeArrays]:
    """The data of every task, as far as the policy reads them; `notes` hold what a user should know of each.

    Raises UsageError for data that do not train, of another task, without a key or a camera that the policy reads, or
    in another resolution.
    """
    opened = []
    for source in run.tasks:
        arrays = open_cache(source.data, reading=policy_reading(run.policy, source.task, source.reading))
        notes = check_task(arrays, source.task, source.reading.accept_mismatch)
        notes += check_pictures(arrays, run.policy.observation)
        opened.append(replace(arrays, notes=(*notes, *arrays.adjusted.sentences(), *arrays.notes)))
    return opened


def policy_reading(policy: PolicyConfig, task: TaskConfig | None, choice: DataReading) -> Reading:
    """The parts of a task's data that a policy reads; task: None where it is unknown."""
    from robo_orl.objectives import OBJECTIVES

    seen, sizes = policy.observation, observation_sizes(task) if task is not None else None
    return Reading(
        keys=tuple(seen.low_dim) if seen.low_dim is not None else None,
        offered=tuple(sizes) if sizes is not None else None,
        cameras=tuple(seen.cameras),
        rewards=OBJECTIVES[policy.objective.name].reads_rewards,
        choice=choice,
    )


def sentences_of(run: RunConfig) -> list[list[str]]:
    """Per task what it is called in training; no sentences where the policy reads none."""
    if not run.policy.observation.instruction:
        return [[] for _ in run.tasks]
    return [training_sentences(source.task) for source in run.tasks]


def make_windows(run: RunConfig, opened: list[EpisodeArrays]) -> PairedWindows | TaskMixture:
    """The windows of all tasks. A matched discount is matched to each task's own horizon."""
    from robo_orl.objectives import OBJECTIVES

    policy, sources, sentences = run.policy, run.tasks, sentences_of(run)
    tables, objective = _tables(run, sentences), OBJECTIVES[policy.objective.name](policy)
    windows = [
        PairedWindows(
            arrays,
            policy.action_head.chunk,
            policy.n,
            policy.gamma.value(source.task.horizon),
            source.filter,
            policy.observation.history,
            table,
            objective.cut_short,
            objective.imitated,
            competent_frames(arrays) if objective.competent_only else None,
        )
        for source, arrays, table in zip(sources, opened, tables, strict=True)
    ]
    for source, of_task in zip(sources, windows, strict=True):
        check_signal(policy, of_task, source.filter)
    return windows[0] if len(windows) == 1 else TaskMixture(windows, [source.weight for source in sources])


ROUNDING = 1e-4  # of a return in float32


def check_signal(policy: PolicyConfig, windows: PairedWindows, mask: str | None) -> None:
    """Refuse data that teach the policy nothing, or whose returns its value head cannot represent."""
    from robo_orl.objectives import OBJECTIVES

    arrays, objective = windows.arrays, OBJECTIVES[policy.objective.name]
    if objective.needs_success and not arrays.success[arrays.chosen(mask)].any():
        of_mask = f" in the mask '{mask}'" if mask else ""
        raise UsageError(
            f"No episode of {arrays.path}{of_mask} succeeds, and objective '{policy.objective.name}' learns from "
            "successes alone: give data with successes, or train `bc`."
        )
    critic = policy.critic
    if critic is None or not objective.heads or critic.loss == "mse":
        return
    (low, high), (bottom, top) = windows.return_range, critic.value_range
    if low < bottom - ROUNDING or high > top + ROUNDING:
        raise UsageError(
            f"The returns of {arrays.path} reach from {low:.3g} to {high:.3g}, and the value head of policy "
            f"'{policy.name}' holds {bottom:g} to {top:g}: set policy.critic.value_range to hold them, or leave "
            "--after-success at cut and --rewards at auto, which give returns from 0 to 1."
        )


def _tables(run: RunConfig, sentences: list[list[str]]) -> list[tuple | None]:
    """Per task ids and mask (N, L) of its sentences by the backbone's tokeniser; L of the longest of all."""
    if not run.policy.observation.instruction:
        return [None] * len(sentences)
    from robo_orl.models.backbones import BACKBONES

    backbone = run.policy.backbone
    ids, mask = BACKBONES[backbone.kind].tokeniser(backbone)([s for own in sentences for s in own])
    counts = [len(own) for own in sentences]
    return list(zip(ids.split(counts), mask.split(counts), strict=True))


# ------------------------------------------------------------------------------------------- several tasks in one batch


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

    @property
    def sentences(self) -> int:
        """Sentences of all tasks together."""
        return sum(task.sentences for task in self.tasks)

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
        bits = raw_bits(pairs, seed, step, "tasks") % np.uint64(RESOLUTION)
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
