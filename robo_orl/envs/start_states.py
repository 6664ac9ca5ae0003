"""Start states as values and as files: every method starts from these, never from a seed alone.

Training starts are drawn from the seed stream "train-start", evaluation starts from "eval-start", those that
hyper-parameters are chosen on from "tuning-start" and those that a comparison goes on with from "further-start": they
never meet.
Seeds depend on the kind of scene, not on its parameters: state i of chain1 and of chain8 share the robot and cube 1.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robo_orl.base.errors import RunError
from robo_orl.base.files import atomic_file
from robo_orl.base.seeds import derive_seed
from robo_orl.config import TaskConfig


@dataclass(frozen=True)
class StartState:
    """Everything that a reset decides, by name (see snapshot.py), and where it stands in its bank (-1: in none)."""

    entry: dict[str, np.ndarray]
    index: int = -1


@dataclass(frozen=True)
class StartBank:
    """Start states of one scene, stacked: every array is (n, ...)."""

    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> StartState:
        if not -len(self) <= index < len(self):
            raise IndexError(f"start state {index} of {len(self)}")
        return StartState({key: values[index] for key, values in self.arrays.items()}, index % len(self))

    @property
    def sha256(self) -> str:
        """A hash of the content: equal states have equal hashes, however they are stored."""
        digest = hashlib.sha256()
        for key in sorted(self.arrays):
            values = np.ascontiguousarray(self.arrays[key])
            digest.update(f"{key}:{values.dtype.str}:{values.shape}".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write a compressed .npz, whole or not at all; numbers that all states share stand there once."""
        stored = {name: part for key, values in self.arrays.items() for name, part in _stored(key, values).items()}
        with atomic_file(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **stored)

    @staticmethod
    def load(path: Path) -> StartBank:
        """Read a bank. Nothing is unpickled.

        Raises:
            RunError: the file cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return StartBank(_whole({key: file[key] for key in file.files}))
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise RunError(
                f"Cannot read start states from {path}: {error}. Remove the file; it is then drawn anew."
            ) from None


SHARED, VARYING = ".shared", ".varying"  # of a stored array: the first row; the columns that its own entry holds


def _stored(key: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of an array (n, D) as a file holds them: most of a scene's model is the same in every state."""
    if values.ndim != 2 or len(values) < 2 or values.dtype != np.float64:
        return {key: values}
    bits = np.ascontiguousarray(values).view(np.int64)
    varying = np.flatnonzero((bits != bits[0]).any(axis=0))
    if 2 * len(varying) > values.shape[1]:
        return {key: values}
    return {key: values[:, varying], key + SHARED: values[0], key + VARYING: varying}


def _whole(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose parts a file holds."""
    arrays = {key: values for key, values in parts.items() if not key.endswith((SHARED, VARYING))}
    for key in [key for key in arrays if key + SHARED in parts]:
        whole = np.tile(parts[key + SHARED], (len(arrays[key]), 1))
        whole[:, parts[key + VARYING]] = arrays[key]
        arrays[key] = whole
    return arrays


def training_seed(task: TaskConfig, seed: int, index: int) -> int:
    """The seed of training start `index` of a data set made with `seed`."""
    return derive_seed("train-start", task.env, seed, index)


def evaluation_seed(task: TaskConfig, index: int) -> int:
    """The seed that the evaluation bank's state `index` was drawn with."""
    return derive_seed("eval-start", task.env, index)


def tuning_seed(task: TaskConfig, index: int) -> int:
    """The seed that the tuning bank's state `index` was drawn with."""
    return derive_seed("tuning-start", task.env, index)


def further_seed(task: TaskConfig, index: int) -> int:
    """The seed that state `index` of the banks for further comparison was drawn with, counted through all of them."""
    return derive_seed("further-start", task.env, index)
