"""Augmentation on the device: pictures move by a few pixels (Yarats et al. 2021, DrQ) and change their colours.

The draws of a pair hold for both its frames and for every frame of its history, so that what changed between s and s'
is what the world did. Streams are named per camera: a camera more leaves the others' draws as they are.
B pairs, M = 2B frames, H = W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation
from robo_orl.config import ObservationConfig

LUMA = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)


def augmented(obs: Observation, config: ObservationConfig, draws: Draws) -> Observation:
    """obs: 2B observations, the second half of the same pairs as the first. Pictures stay uint8."""
    if not obs.images or not (config.shift or config.jitter):
        return obs
    images = {camera: _augmented(camera, pictures, config, draws) for camera, pictures in obs.images.items()}
    return Observation(obs.low_dim, images, obs.instruction, obs.instruction_mask)


def _augmented(camera: str, pictures: Tensor, config: ObservationConfig, draws: Draws) -> Tensor:
    """(2B, [k,] 3, H, W) uint8 -> the same."""
    pairs = len(pictures) // 2
    if config.shift:
        moves = draws.uniform(f"augment {camera} shift", pairs, 2) * (2 * config.shift + 1)
        pictures = shifted(pictures, torch.cat((moves, moves)).long() - config.shift)
    if config.jitter:
        factors = 1 + config.jitter * (2 * draws.uniform(f"augment {camera} colour", pairs, 3) - 1)
        pictures = recoloured(pictures, torch.cat((factors, factors)))
    return pictures


def shifted(pictures: Tensor, moves: Tensor) -> Tensor:
    """pictures (M, ..., H, W), moves (M, 2) int64: each picture moved by (rows, columns), its border repeated.

    Two gathers along one axis each: no picture is padded, and one kernel serves all rows on any device.
    """
    for axis in (-2, -1):
        size = pictures.shape[axis]
        at = (torch.arange(size, device=moves.device) + moves[:, axis, None]).clamp(0, size - 1)  # (M, size)
        shape = [len(at)] + [1] * (pictures.dim() - 1)
        shape[axis] = size
        pictures = pictures.gather(axis, at.view(shape).expand_as(pictures))
    return pictures


def recoloured(pictures: Tensor, factors: Tensor) -> Tensor:
    """pictures (M, ..., 3, H, W) uint8, factors (M, 3) of brightness, contrast and saturation; 1 = as it was."""
    brightness, contrast, saturation = factors.view(len(factors), 3, *[1] * (pictures.dim() - 1)).unbind(1)
    x = pictures.float() * brightness
    luma = (x * x.new_tensor(LUMA)[:, None, None]).sum(-3, keepdim=True)  # (M, ..., 1, H, W)
    x = luma + (x - luma) * saturation
    mean = luma.mean((-2, -1), keepdim=True)
    return (mean + (x - mean) * contrast).round().clamp(0, 255).to(torch.uint8)
