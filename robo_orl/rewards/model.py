"""A reward model: the native Transformer over a few frames, with its data, its training and its predictions.

What a source learns with it is a loss over numbers per frame; everything else is here. M windows, k frames a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import derive_seed
from robo_orl.base.types import Observation
from robo_orl.config import BackboneConfig, ObservationConfig, Strict
from robo_orl.data.arrays import EpisodeArrays, Reading
from robo_orl.data.cache import open_cache
from robo_orl.data.statistics import statistics
from robo_orl.models.backbones.transformer import Transformer
from robo_orl.models.layers import Readout, linear
from robo_orl.models.normaliser import Normaliser
from robo_orl.rewards.frozen_vlm import FeatureReader, features_of
from robo_orl.rewards.source import Material

BATCH = 512  # windows of a prediction at once
WARMUP = 50  # steps


class NetworkParams(Strict):
    """What a network sees and how it is trained; the vectors and pictures are those that the file holds."""

    low_dim: list[str] | None = Field(None, min_length=1, description="keys of vectors; default: all of the data")
    cameras: list[str] = Field([], description="whose pictures it sees")
    image_size: int = Field(84, ge=16, description="pixels per side, as in the data")
    size: str = Field("tiny", description="the backbone's size")
    vlm: str | None = Field(None, description="a frozen vlm that reads the pictures, e.g. smolvlm2_256m")
    weights: str | None = Field(None, description="of the vlm: a folder or a name on the hub; default: random")
    steps: int = Field(1000, ge=1)
    batch: int = Field(64, ge=2, description="windows a step")
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-3, ge=0)

    @model_validator(mode="after")
    def _reads_pictures(self) -> NetworkParams:
        if self.vlm is not None and not self.cameras:
            raise ValueError("vlm reads pictures: name its cameras")
        if self.weights is not None and self.vlm is None:
            raise ValueError("weights are those of a vlm: name it")
        return self


class ModelParams(NetworkParams):
    """A model of a frame with some of those before it."""

    history: int = Field(4, ge=1, description="frames that it sees, the last one included")
    gap: int = Field(5, ge=1, description="frames between two of them")


@dataclass(frozen=True)
class Frames:
    """The observations of a file as a model sees them. features: (F, S, D) what a frozen model says of each frame."""

    arrays: EpisodeArrays
    history: int
    gap: int
    features: np.ndarray | None = None

    def windows(self, at: np.ndarray) -> np.ndarray:
        """(M,) frames -> (M, k) the frames that the model sees at each, oldest first, none before its episode."""
        behind = np.arange(self.history)[::-1] * self.gap
        first = self.arrays.starts[self.arrays.episode_of_frame[at]]
        return np.maximum(at[:, None] - behind, first[:, None])

    def observe(self, windows: np.ndarray) -> Observation:
        """The observations of frames (M, k); of one frame a window, without the axis."""
        rows = windows[:, 0] if self.history == 1 else windows
        low_dim = {key: torch.from_numpy(np.array(values[rows])) for key, values in self.arrays.obs.items()}
        if self.features is not None:
            return Observation(low_dim, {}, features=torch.from_numpy(self.features[rows]))
        images = {
            camera: torch.from_numpy(pictures[rows]).movedim(-1, -3) for camera, pictures in self.arrays.images.items()
        }
        return Observation(low_dim, images)


class RewardNetwork(nn.Module):
    """Observations of k frames -> numbers."""

    def __init__(self, frames: Frames, params: NetworkParams, outputs: int):
        super().__init__()
        arrays = frames.arrays
        self.normaliser = Normaliser(arrays.spec, arrays.action_dim, statistics(arrays))
        if frames.features is not None:
            self.backbone = FeatureReader(arrays.spec, params.size, frames.features.shape[-1], frames.history)
        else:
            size = {"image_size": params.image_size} if params.cameras else {}
            seen = ObservationConfig(cameras=params.cameras, history=frames.history, **size)
            self.backbone = Transformer(arrays.spec, BackboneConfig(size=params.size), seen)
        width = self.backbone.width
        self.readout = Readout(width, width, 1)
        self.head = linear(width, outputs, bias=True, scale=0.1)

    def forward(self, obs: Observation) -> Tensor:
        """M windows -> (M, outputs)."""
        tokens = self.backbone(self.normaliser.observation(obs))
        return self.head(self.readout(tokens)[:, 0])


def frames_of(material: Material, params: NetworkParams, history: int, gap: int = 1) -> Frames:
    """The frames of a file with the vectors and pictures that a model sees; UsageError where the file lacks one."""
    saved = material.networks.saved
    keys = params.low_dim if saved is None else list(saved.spec)
    reading = Reading(keys=None if keys is None else tuple(keys), cameras=tuple(params.cameras), rewards=False)
    arrays = open_cache(material.path, reading=reading)
    _check_pictures(arrays, params)
    if params.vlm is None:
        return Frames(arrays, history, gap)
    features = features_of(
        arrays, params.cameras, params.image_size, params.vlm, params.weights, progress=material.progress
    )
    return Frames(arrays, history, gap, features)


def _check_pictures(arrays: EpisodeArrays, params: NetworkParams) -> None:
    for camera, pictures in arrays.images.items():
        if pictures.shape[1:3] != (params.image_size, params.image_size):
            raise UsageError(
                f"{arrays.path} has pictures of {pictures.shape[1]} pixels of {camera}, and the model reads "
                f"{params.image_size}: set params.image_size to {pictures.shape[1]}, or render pictures of that size."
            )


Loss = Callable[[RewardNetwork, np.random.Generator], Tensor]


def trained(frames: Frames, params: NetworkParams, outputs: int, loss: Loss, *seed: int | str) -> RewardNetwork:
    """A network after `params.steps` steps of AdamW on the loss, a function of (network, generator of the step).

    The result is a function of the seed: PyTorch's own generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("reward model", *seed))
        network = RewardNetwork(frames, params, outputs)
    optimiser = torch.optim.AdamW(network.parameters(), params.lr, weight_decay=params.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, params.steps))
    for step in range(params.steps):
        value = loss(network, np.random.default_rng(derive_seed("reward batch", *seed, step)))
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network.eval()


def kept(
    material: Material, name: str, frames: Frames, params: NetworkParams, outputs: int, train: Callable[[], nn.Module]
) -> RewardNetwork:
    """The network of a name: of a saved model, of an interrupted call, or trained now and kept."""
    return material.networks.made(name, lambda: RewardNetwork(frames, params, outputs), train)


def _rate(step: int, steps: int) -> float:
    """Of the learning rate: a short warm-up, then a cosine to nothing."""
    return min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + np.cos(np.pi * step / steps))


@torch.no_grad()
def predictions(network: RewardNetwork, frames: Frames, at: np.ndarray) -> np.ndarray:
    """(M, outputs) float64 at the frames (M,)."""
    parts = [
        network(frames.observe(frames.windows(at[i : i + BATCH]))).double().numpy() for i in range(0, len(at), BATCH)
    ]
    return np.concatenate(parts)


def draw(generator: np.random.Generator, among: np.ndarray, count: int) -> np.ndarray:
    """`count` of the frames `among`, with replacement."""
    return among[generator.integers(len(among), size=count)]
