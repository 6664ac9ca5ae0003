"""The features of a frozen vision-language model, computed once and read from disk in every later step.

The model is most of a step's time, and nothing about its tokens changes while it is frozen and images are not
augmented. A file holds the tokens of every frame for every instruction of the training, and is named after everything
that they depend on: the weights, the data, the observation, the words. Processes of a machine share it.
F frames, N sentences, L layers read, S tokens, D width.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from robo_orl.base.errors import RunError
from robo_orl.base.files import atomic_file, cache_folder
from robo_orl.base.locks import file_lock
from robo_orl.base.types import Observation
from robo_orl.data.windows import PairedWindows

if TYPE_CHECKING:
    from robo_orl.agent.agent import Agent

BATCH = 32  # frames at once


class FeatureWindows(PairedWindows):
    """The same windows, with `features` in the place of images and instruction."""

    def __init__(self, plain: PairedWindows, features: np.ndarray, dtype: torch.dtype):
        """features: (N, F, ...) as `cached` stores them."""
        self.__dict__ |= plain.__dict__
        self.arrays, self.instructions = replace(plain.arrays, images={}), None
        self.features, self.dtype = features, dtype

    def _observation(self, at: np.ndarray, sentences: np.ndarray) -> Observation:
        last = at if at.ndim == 1 else at[:, -1]  # a history was encoded with its newest frame
        rows = self.features[sentences, last]
        features = torch.from_numpy(rows).view(self.dtype)
        return replace(super()._observation(at, sentences), features=features)


def with_features(agent: Agent, windows: Any, device: torch.device, progress: bool = False) -> Any:
    """PairedWindows, or a TaskMixture of them, that read features; as `cached` for every task."""
    if isinstance(windows, PairedWindows):
        return cached(agent, windows, device, progress)
    windows.tasks = [cached(agent, task, device, progress) for task in windows.tasks]
    return windows


def cached(agent: Agent, plain: PairedWindows, device: torch.device, progress: bool = False) -> FeatureWindows:
    """`plain` with the features of the agent's frozen backbone, computed on `device` where no file has them yet.

    Call it before the agent is prepared, on every process: one computes, the others wait. Raises RunError where the
    disk has no room.
    """
    dtype = torch.bfloat16 if agent.policy.optim.precision == "bf16" else torch.float32
    path = cache_folder() / f"features-{key_of(agent, plain)[:20]}.npy"
    with file_lock(path):
        if not path.exists():
            with _on(agent.backbone, device):
                _write(path, agent, plain, device, dtype, progress)
    return FeatureWindows(plain, np.load(path, mmap_mode="r"), dtype)


def key_of(agent: Agent, windows: PairedWindows) -> str:
    """The sha256 of everything that the features depend on."""
    backbone, words = agent.policy.backbone, windows.instructions
    inputs = {
        "data": windows.arrays.frames_key,
        "size": backbone.size,
        "layers": backbone.layers,
        "precision": agent.policy.optim.precision,
        "observation": agent.policy.observation.model_dump(mode="json", exclude={"low_dim"}),
        "words": None if words is None else [ids[mask].tolist() for ids, mask in zip(*words, strict=True)],
        "torch": torch.__version__,
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for name, tensor in agent.backbone.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _write(
    path: Path, agent: Agent, windows: PairedWindows, device: torch.device, dtype: torch.dtype, progress: bool
) -> None:
    from rich.console import Console
    from rich.progress import track

    frames = len(windows.arrays.actions)
    first = _features(agent, windows, np.zeros(1, np.int64), 0, device).to(dtype)
    shape = (windows.sentences, frames, *first.shape[1:])
    _check_room(path, prod(shape) * dtype.itemsize)
    starts = [(sentence, at) for sentence in range(windows.sentences) for at in range(0, frames, BATCH)]
    shown = track(starts, "features of the frozen model", console=Console(stderr=True), disable=not progress)
    with atomic_file(path) as temporary:
        kept = np.int16 if dtype == torch.bfloat16 else np.float32  # numpy has no bfloat16: the same bits
        stored = np.lib.format.open_memmap(temporary, "w+", kept, shape)
        for sentence, at in shown:
            rows = np.arange(at, min(at + BATCH, frames))
            features = _features(agent, windows, rows, sentence, device).to(dtype).cpu()
            stored[sentence, rows] = features.view(torch.int16).numpy() if kept == np.int16 else features.numpy()
        stored.flush()
        del stored


def _features(agent: Agent, windows: PairedWindows, at: np.ndarray, sentence: int, device: torch.device) -> Tensor:
    """(M, ...) of the frames `at` (M,), told the one sentence."""
    obs = windows._observation(windows._seen(at), np.full(len(at), sentence)).to(device)
    bf16 = agent.policy.optim.precision == "bf16"
    with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
        return agent.backbone.features(obs)


def _check_room(path: Path, needed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise RunError(
            f"The features of the frozen model take {needed / 1e9:.1f} GB, and {path.parent} has {free / 1e9:.1f} GB: "
            "set backbone.layers lower, backbone.cache to false, or ROBO_ORL_CACHE to another disk."
        )


@contextmanager
def _on(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Keep the module on `device` within the block."""
    before = next(module.parameters()).device
    module.to(device)
    try:
        yield
    finally:
        module.to(before)
