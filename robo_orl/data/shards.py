"""Finished episodes of a generation under way: one small file each, beside the output, until that is complete."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import h5py

from robo_orl.data import layout
from robo_orl.data.hdf5 import read_episode, write_file
from robo_orl.data.locks import held_for
from robo_orl.episode import Episode


class Shards:
    """The folder `.<out>.shards`. Episode i of a request is the same however many are asked for, so shards outlive a
    change of --episodes or --next-obs, but of nothing else."""

    def __init__(self, out: Path, made: layout.Provenance):
        self.folder = out.with_name(f".{out.name}.shards")
        self.made = made.model_copy(update={"episodes": 1, "next_obs": True})

    def held(self) -> AbstractContextManager[None]:
        """Hold the folder; UsageError where another process does. Shards of another request are thrown away."""
        return held_for(self.folder, self.made.digest(), "*.hdf5", "generating")

    def path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.hdf5"

    def finished(self, index: int) -> bool:
        """Whether episode `index` is there; files appear complete or not at all."""
        return self.path(index).exists()

    def write(self, index: int, episode: Episode, env_args: dict, loop: str, render: dict | None = None) -> None:
        """Keep an episode; render: the fingerprint of what made its pictures."""
        made = self.made.model_copy(update={"loop": loop, "render": render})
        write_file(self.path(index), made, env_args, [episode])

    def read(self, index: int) -> Episode:
        """The episode `index`."""
        with h5py.File(self.path(index), "r") as file:
            return read_episode(file["data/demo_0"])

    def succeeded(self, index: int) -> bool:
        """Whether the episode `index` succeeded."""
        with h5py.File(self.path(index), "r") as file:
            return bool(file["data/demo_0"].attrs["success"])

    def environment(self) -> tuple[str, layout.Provenance]:
        """(env_args as JSON, the loop and the renderer really in use), as episode 0 met them."""
        with h5py.File(self.path(0), "r") as file:
            return str(file["data"].attrs["env_args"]), layout.provenance(file)

    def remove(self) -> None:
        """Throw the folder away: the output is complete."""
        shutil.rmtree(self.folder)
