"""The networks of a source as files: kept while a copy is made, saved with it, and given to judge another file.

DIR/NAME.safetensors    the tensors of a network
DIR/model.json          of a saved model: the reward, the observations that it reads, and the episodes it was trained on
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from robo_orl.base.errors import UsageError
from robo_orl.base.files import atomic_file, file_sha256, read_json, write_json
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.config import RewardConfig, Strict
from robo_orl.data.arrays import EpisodeArrays

MODEL, ENDING = "model.json", ".safetensors"


class SavedModel(Strict):
    """What stands in model.json. spec: key -> size of the vectors that are read. file: sha256 of the data trained on.

    episodes: of it those that a network or a threshold has seen. numbers: what the source judges with beside networks.
    """

    config: RewardConfig
    spec: dict[str, int]
    action_dim: int
    file: str
    episodes: list[str]
    numbers: dict[str, float] = Field({}, description="e.g. the threshold of a success")


class Networks:
    """Networks by name, in a folder or in memory. saved: the model that is given; then nothing is trained."""

    def __init__(self, folder: Path | None = None, saved: SavedModel | None = None):
        self.folder, self.saved = folder, saved
        self.numbers: dict[str, float] = dict(saved.numbers) if saved else {}

    def made(self, name: str, build: Callable[[], nn.Module], train: Callable[[], nn.Module]) -> nn.Module:
        """The network of a name, from its file where there is one. build: an empty one of the same shape.

        Raises UsageError where a given model lacks it or has another shape.
        """
        path = self.folder / f"{name}{ENDING}" if self.folder is not None else None
        if path is not None and path.exists():
            return _read(path, build)
        if self.saved is not None:
            raise UsageError(f"{path} is missing: the reward model is not whole, save it again.")
        network = train()
        if path is not None:
            with describe_os_errors(path), atomic_file(path) as temporary:
                save_file({k: v.contiguous() for k, v in network.state_dict().items()}, temporary)
        return network

    def number(self, name: str, make: Callable[[], float]) -> float:
        """A number that is learned beside networks, such as a threshold."""
        if name not in self.numbers:
            if self.saved is not None:
                raise UsageError(f"The reward model in {self.folder} has no {name}: it is not whole, save it again.")
            self.numbers[name] = make()
        return self.numbers[name]

    def save(self, out: Path, model: SavedModel) -> None:
        """Write the folder `out`; model.json comes last. UsageError where the source has trained no network."""
        paths = sorted(self.folder.glob(f"*{ENDING}"))
        if not paths:
            raise UsageError(f"Reward {model.config.name} trains no network to be saved: leave --save-model out.")
        with describe_os_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            for path in paths:
                with atomic_file(out / path.name) as temporary:
                    shutil.copyfile(path, temporary)
            write_json(out / MODEL, model.model_dump(mode="json"))


def _read(path: Path, build: Callable[[], nn.Module]) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):
            network = build()
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(f"{path} is damaged or of another version ({reason}): train the model again.") from None
    return network.eval()


def read_model(folder: Path) -> Networks:
    """A saved model; UsageError where the folder holds none."""
    if not (folder / MODEL).exists():
        raise UsageError(f"{folder} is no reward model: `robo-orl data relabel --save-model` writes one.")
    try:
        return Networks(folder, SavedModel.model_validate(read_json(folder / MODEL)))
    except ValidationError:
        raise UsageError(f"{folder / MODEL} is damaged or of another version: train the model again.") from None


def identity_of(networks: Networks) -> dict[str, str]:
    """File name -> sha256 of a saved model."""
    return {path.name: file_sha256(path) for path in sorted(networks.folder.iterdir()) if path.is_file()}


def check_observations(networks: Networks, arrays: EpisodeArrays) -> None:
    """UsageError where a file does not have the observations that a saved model reads."""
    saved = networks.saved
    differing = [key for key, size in saved.spec.items() if arrays.spec.get(key) != size]
    if differing or saved.action_dim != arrays.action_dim:
        raise UsageError(
            f"The reward model in {networks.folder} reads {_listed(saved.spec)} and actions of {saved.action_dim}, and "
            f"{arrays.path} has {_listed(arrays.spec)} and actions of {arrays.action_dim}: give a file with these "
            "observations, or train a model on this one."
        )


def unseen(networks: Networks, arrays: EpisodeArrays) -> np.ndarray:
    """(E,) bool: the episodes of a file that a saved model was not trained on."""
    if networks.saved.file != arrays.sha256:
        return np.ones(len(arrays), bool)
    return ~np.isin(arrays.names, networks.saved.episodes)


def _listed(spec: dict[str, int]) -> str:
    return ", ".join(f"{key} ({size})" for key, size in spec.items())
