"""A reward from outside: a column of the HDF5 that a person, a vision-language model or other software wrote."""

from __future__ import annotations

import h5py
import numpy as np
from pydantic import Field

from robo_orl.base.errors import UsageError
from robo_orl.config import Strict
from robo_orl.data import hdf5_schema as layout
from robo_orl.rewards.source import Judgement, Material, Source, cumulative, episode_means


class Column(Source):
    """The numbers (T,) of a dataset that every episode of the file has beside its actions."""

    class Params(Strict):
        """kind: reward: of each frame; progress: how far the episode is, whose increase is the reward."""

        column: str = Field(description="the dataset's name, e.g. vlm_reward")
        kind: str = Field("reward", pattern="^(reward|progress)$", description="reward or progress")
        success: str | None = Field(None, description="the attribute of an episode that holds its success bit")

    def judge(self, material: Material) -> Judgement:
        """UsageError for a column that is missing, of another length, or no number."""
        arrays = material.arrays
        with layout.open_hdf5(material.path) as file:
            demos = [file["data"][name] for name in arrays.names]
            lengths = arrays.lengths.tolist()
            parts = [self._read(demo, length) for demo, length in zip(demos, lengths, strict=True)]
            success = self._success(demos)
        values = np.concatenate(parts)
        if self.params.kind == "reward":
            return Judgement(values, success, episode_means(arrays, values), progress=cumulative(arrays, values))
        before = np.concatenate(([0.0], values[:-1]))
        before[arrays.starts[:-1]] = 0.0
        return Judgement(values - before, success, score=values[arrays.starts[1:] - 1], progress=values)

    def _read(self, demo: h5py.Group, frames: int) -> np.ndarray:
        """(frames,) float64: the first so many numbers of an episode's column."""
        name, where = self.params.column, demo.name.removeprefix("/data/")
        data = demo.get(name)
        if not isinstance(data, h5py.Dataset):
            raise UsageError(f"{where} has no dataset '{name}': every episode needs the column that the reward names.")
        if data.dtype.kind not in "fiub" or data.size != len(demo["actions"]) or len(data) != data.size:
            raise UsageError(
                f"{where}/{name} has shape {data.shape} and type {data.dtype}: a column is one number for each of the "
                f"{len(demo['actions'])} frames."
            )
        values = np.asarray(data[:], np.float64).reshape(-1)
        if not np.isfinite(values).all():
            frame = int(np.flatnonzero(~np.isfinite(values))[0])
            raise UsageError(
                f"{where}/{name} is {values[frame]} at frame {frame}: mend the column, a reward is finite."
            )
        return values[:frames]

    def _success(self, demos: list[h5py.Group]) -> np.ndarray | None:
        name = self.params.success
        if name is None:
            return None
        lacking = next((demo.name.removeprefix("/data/") for demo in demos if name not in demo.attrs), None)
        if lacking is not None:
            raise UsageError(f"{lacking} has no attribute '{name}', which the reward names as its success bit.")
        return np.array([bool(demo.attrs[name]) for demo in demos])
