"""The base of every source of rewards, what it is given and what it gives.

E episodes, F frames in all, S stages. Frames are those that are trained on: up to the first success of an episode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.base.files import atomic_file
from robo_orl.config import RewardConfig, Strict, parse
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.rewards.labels import Labels
from robo_orl.rewards.networks import Networks

Needs = Literal["nothing", "success", "stages", "pairs", "demonstrations"]


class Parts:
    """Finished parts of a long work by name: arrays in a folder, where an interrupted call finds them, or in memory."""

    def __init__(self, folder: Path | None = None):
        self.folder, self._held = folder, {}

    def get(self, name: str) -> np.ndarray | None:
        """The part, None where it is not finished."""
        if name not in self._held and self.folder is not None and (path := self.folder / f"{name}.npy").exists():
            self._held[name] = np.load(path)
        return self._held.get(name)

    def put(self, name: str, values: np.ndarray) -> np.ndarray:
        """Keep a part and return it; a file appears complete or not at all."""
        if self.folder is not None:
            with atomic_file(self.folder / f"{name}.npy") as temporary, open(temporary, "wb") as stream:
                np.save(stream, values)
        self._held[name] = values
        return values

    def made(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The part, made by the function where it is not finished."""
        found = self.get(name)
        return self.put(name, make()) if found is None else found


@dataclass(frozen=True)
class Material:
    """The episodes that a source judges.

    arrays: of the file, with its true success and stages, which only the sources that are given them may read. labels:
    the annotation, with its noise. gamma: discount a frame of the returns that are brought to one scale. path: of the
    file. parts: where finished parts of long work are kept; networks: where those that are trained are, or a saved
    model's. workers: simulator processes.
    """

    arrays: EpisodeArrays
    labels: Labels
    gamma: float
    path: Path
    parts: Parts = field(default_factory=Parts, compare=False)
    networks: Networks = field(default_factory=Networks, compare=False)
    workers: int | None = None
    progress: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Judgement:
    """What a source says of every episode.

    reward: (F,) float64, on the source's own scale. success: (E,) bool, None where it judges none. score: (E,) float64,
    higher = more of a success; probability: whether it is one of success. progress: (F,) float64, None where it has
    none. lasting: the reward is of states, and goes on where an episode stops (scale.py).
    """

    reward: np.ndarray
    success: np.ndarray | None = None
    score: np.ndarray | None = None
    probability: bool = False
    progress: np.ndarray | None = None
    lasting: bool = False


class Source:
    """Rewards for the frames of a data file. Subclasses say which annotation they need, and judge."""

    class Params(Strict):
        """The source's own parameters."""

    needs: ClassVar[Needs] = "nothing"  # the annotation that it takes, which `labels` counts
    generalises: ClassVar[bool] = False  # whether it judges episodes without a label, so that `rest` means nothing
    noises: ClassVar[frozenset[str]] = frozenset()  # faults of LabelNoise that its annotation can have
    # Raise it when a change of the code changes what it computes: presets then say `version: 2`.
    version: ClassVar[int] = 1

    def __init__(self, config: RewardConfig):
        self.config = config
        self.params = parse(self.Params, config.params, f"source {config.source} of reward {config.name}")
        _check_version(config, self.version)
        _check_idle(config, self)

    def check(self, arrays: EpisodeArrays) -> None:
        """UsageError where a file does not hold what the source reads."""

    def judge(self, material: Material) -> Judgement:
        """The rewards of all frames."""
        raise NotImplementedError


def _check_version(config: RewardConfig, version: int) -> None:
    if config.version != version:
        raise UsageError(
            f"Reward {config.name} is of version {config.version} of the source '{config.source}', and this robo-orl "
            f"has version {version}: set version: {version}."
        )


def _check_idle(config: RewardConfig, source: Source) -> None:
    """UsageError for an option that would do nothing."""
    where, fields = f"Reward {config.name}: the source '{config.source}'", RewardConfig.model_fields
    if source.needs == "nothing" and config.labels is not None:
        raise UsageError(f"{where} takes no labels: leave --labels out.")
    if (source.needs == "nothing" or source.generalises) and config.rest != fields["rest"].default:
        raise UsageError(f"{where} judges every episode, so that `rest` does nothing: leave it out.")
    for name, value in config.noise.identity().items():
        if name not in source.noises:
            known = ", ".join(sorted(source.noises)) or "none"
            raise UsageError(f"{where} takes no noise '{name}', here {value}: it takes {known}.")
    if config.noise.late_share < 1 and not config.noise.late:
        raise UsageError(f"{where}: late_share does nothing without `late`: set noise.late to a number of frames.")


def cumulative(arrays: EpisodeArrays, values: np.ndarray) -> np.ndarray:
    """(F,) the sums of `values` (F,) from the beginning of each episode to each frame, that included."""
    total = np.cumsum(values)
    before = np.concatenate(([0.0], total))[arrays.starts[:-1]]
    return total - np.repeat(before, arrays.lengths)


def episode_means(arrays: EpisodeArrays, values: np.ndarray) -> np.ndarray:
    """(E,) the mean of `values` (F,) over the frames of each episode."""
    return np.add.reduceat(values, arrays.starts[:-1]) / arrays.lengths


def at_last_frames(arrays: EpisodeArrays, values: np.ndarray) -> np.ndarray:
    """(F,) float64: `values` (E,) at the last frame of each episode, 0 elsewhere."""
    placed = np.zeros(len(arrays.rewards))
    placed[arrays.starts[1:] - 1] = values
    return placed
