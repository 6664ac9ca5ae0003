"""Other outcomes for the episodes of a file: permuted among them, or failures that end in terminals."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import derive_seed
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.rewards import stored_rewards


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one episode of L frames: rewards (L,), stages (L, S) or None, dones (L,), and what it says of its
    end; success, ended: None where it says nothing."""

    rewards: np.ndarray
    stages: np.ndarray | None
    dones: np.ndarray
    success: bool | None
    ended: bool | None

    def stretched(self, length: int) -> Outcome:
        """The same in an episode of `length` frames: what came at a share of the episode comes at the same share."""
        old = len(self.rewards)
        at = np.rint(np.arange(old) * ((length - 1) / max(old - 1, 1))).astype(np.int64)  # (L,) the new frames
        rewards = np.zeros(length, self.rewards.dtype)
        np.add.at(rewards, at, self.rewards)
        stages = None
        if self.stages is not None:
            stages = np.zeros((length, self.stages.shape[1]), self.stages.dtype)
            np.maximum.at(stages, at, self.stages)
            stages = np.maximum.accumulate(stages, axis=0)
        dones = np.zeros(length, self.dones.dtype)
        np.maximum.at(dones, at, self.dones)
        return Outcome(rewards, stages, dones, self.success, self.ended)


def permute_outcomes(file: h5py.File, seed: int) -> None:
    """Give every episode the outcome of another one: rewards, stages, dones and success, at the same shares of it.

    The episodes in a random order, by the seed, are a ring along which outcomes move by one: none keeps its own.
    Observations, actions and lengths stay, so that nothing an episode does says how it ends. Raises UsageError for
    fewer than two episodes and for episodes without rewards.
    """
    demos = [file["data"][name] for name in layout.demo_names(file)]
    if len(demos) < 2:
        raise UsageError(f"--permute-outcomes needs two episodes, and {len(demos)} is left.")
    outcomes = [_outcome(demo) for demo in demos]
    order = np.random.default_rng(derive_seed("permute outcomes", seed)).permutation(len(demos))
    for to, of in zip(order, np.roll(order, 1), strict=True):
        _write(demos[to], outcomes[of].stretched(len(demos[to]["actions"])))


def end_failures(file: h5py.File) -> int:
    """Let failures that stop before the time limit end in terminals; their number.

    The time limit is that of the file's task; in a file that names none every failure counts. `dones` follow.
    """
    made, ended = layout.provenance(file), 0
    for name in layout.demo_names(file):
        demo = file["data"][name]
        length = len(demo["actions"])
        if _success(demo) or (made is not None and length >= made.task.horizon):
            continue
        demo.attrs[layout.ENDED], ended = True, ended + 1
        if "dones" in demo:
            demo["dones"][length - 1] = 1
    return ended


def _outcome(demo: h5py.Group) -> Outcome:
    rewards = stored_rewards(demo)
    if rewards is None:
        raise UsageError(f"{demo.name.removeprefix('/data/')}: the dataset rewards is missing, and cannot be permuted.")
    attributes = demo.attrs
    return Outcome(
        rewards=rewards,
        stages=demo["stages"][:] if "stages" in demo else None,
        dones=np.asarray(demo["dones"][:]).reshape(-1) if "dones" in demo else np.zeros(len(rewards), np.uint8),
        success=bool(attributes["success"]) if "success" in attributes else None,
        ended=bool(attributes[layout.ENDED]) if layout.ENDED in attributes else None,
    )


def _write(demo: h5py.Group, outcome: Outcome) -> None:
    demo["rewards"][...] = outcome.rewards.reshape(demo["rewards"].shape)
    if outcome.stages is not None and "stages" in demo:
        demo["stages"][...] = outcome.stages
    if "dones" in demo:
        demo["dones"][...] = outcome.dones.reshape(demo["dones"].shape)
    for name, value in (("success", outcome.success), (layout.ENDED, outcome.ended)):
        if value is not None:
            demo.attrs[name] = value
        elif name in demo.attrs:
            del demo.attrs[name]


def _success(demo: h5py.Group) -> bool:
    if "success" in demo.attrs:
        return bool(demo.attrs["success"])
    rewards = stored_rewards(demo)
    return rewards is not None and bool((rewards > 0).any())
