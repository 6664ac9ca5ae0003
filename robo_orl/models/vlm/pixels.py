"""Image processing as each model's own processor does it, on the device of the images.

The published models were prepared with Pillow's resampling, which computes in 8-bit fixed point: rows first, rounded
and cut to bytes, then columns. The same arithmetic as two matrix products in float64 gives the same bytes on
every device. torch's own kernels differ by a level or two, between CPU and GPU as well, and know Lanczos on the CPU
only.
N images, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from robo_orl.models.vlm.architectures import ImageFormat


def tower_arguments(visual: nn.Module, rows: int, columns: int, images: int, device: torch.device) -> dict[str, Any]:
    """Keyword arguments of a tower for `images` pictures of `rows` x `columns` patches each."""
    config = visual.config
    windows = (config.window_size, config.patch_size) if hasattr(visual, "fullatt_block_indexes") else None
    table = None
    if hasattr(visual, "num_grid_per_side"):
        table = (visual.num_grid_per_side, visual.interpolation_mode, visual.interpolation_align_corners)
    return dict(_tower_arguments(rows, columns, images, str(device), config.spatial_merge_size, windows, table))


@lru_cache(maxsize=64)
def _tower_arguments(
    rows: int,
    columns: int,
    images: int,
    device: str,
    merge: int,
    windows: tuple[int, int] | None,
    table: tuple[int, str, bool] | None,
) -> dict[str, Any]:
    """windows: edge of a window and of a patch in pixels; table: edge of the learned positions, how they are read."""
    from transformers import vision_utils as utils

    patches = rows * columns
    # The cached tensors hold real numbers that training may use, also where the first call is on fake tensors or acts.
    with _disable_current_modes(), torch.inference_mode(False):
        one = torch.tensor([[1, rows, columns]])
        arguments: dict[str, Any] = {"position_ids": utils.get_vision_position_ids(one, merge).repeat(images, 1)}
        row = np.array((0, images * patches))  # one piece: towers.attend cuts it
        arguments |= {"cu_seqlens": row, "pieces": (images, 1)}
        if windows:
            index, ends = utils.get_vision_window_index(one, merge, *windows)
            arguments["window_index"] = _of_every_image(index, patches // merge**2, images)
            ends = ends.numpy()
            if len(set(np.diff(ends))) == 1:
                arguments |= {"cu_window_seqlens": row, "pieces": (images, images * (len(ends) - 1))}
            else:  # windows at the rim are smaller
                inner = (ends[1:] + patches * np.arange(images)[:, None]).flatten()
                arguments["cu_window_seqlens"] = np.concatenate(([0], inner))
        if table:
            read = utils.get_vision_interpolation_indices_and_weights(one, *table, spatial_merge_size=merge)
            arguments["interp_indices"], arguments["interp_weights"] = (t.repeat(images, 1) for t in read)
        return {name: v.to(device) if isinstance(v, Tensor) else v for name, v in arguments.items()}


def _of_every_image(places: Tensor, size: int, images: int) -> Tensor:
    """places in the first image -> in all of them, one behind the other, `size` apart."""
    return (places + size * torch.arange(images)[:, None]).flatten()


def add_at(hidden: Tensor, places: Tensor, deep: Tensor) -> Tensor:
    """DeepStack: hidden (B, S, D) plus deep (B * P, D) at the P places, the same in every row."""
    return hidden.index_add(1, places, rearrange(deep.to(hidden.dtype), "(B P) D -> B P D", B=len(hidden)))


FIXED_POINT = 22  # bits behind the point of Pillow's weights: 32 - 8 - 2


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3 <= x < 3 else 0.0


def _bilinear(x: float) -> float:
    return max(0.0, 1 - abs(x))


def _bicubic(x: float, a: float = -0.5) -> float:
    x = abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


FILTERS: dict[int, tuple[Callable[[float], float], float]] = {1: (_lanczos, 3), 2: (_bilinear, 1), 3: (_bicubic, 2)}


@lru_cache(maxsize=64)
def weights(inputs: int, outputs: int, resample: int) -> np.ndarray:
    """(outputs, inputs) float64: Pillow's weights, integers in units of 2^-22. No tensor: one that is kept from a
    measurement on fake tensors would be fake for ever."""
    filter_of, support = FILTERS[resample]
    scale = inputs / outputs
    stretch = max(scale, 1.0)  # a smaller image averages over what a pixel covers
    rows = np.zeros((outputs, inputs))
    for i in range(outputs):
        centre = (i + 0.5) * scale
        first = max(0, int(centre - support * stretch + 0.5))
        last = min(inputs, int(centre + support * stretch + 0.5))
        taps = [filter_of((j - centre + 0.5) / stretch) for j in range(first, last)]
        total = sum(taps)
        fixed = [tap / total * (1 << FIXED_POINT) for tap in taps]
        rows[i, first:last] = [int(w + math.copysign(0.5, w)) for w in fixed]
    return rows


def _weights(inputs: int, outputs: int, resample: int, device: torch.device) -> Tensor:
    return torch.tensor(weights(inputs, outputs, resample), device=device)


def resize(images: Tensor, height: int, width: int, resample: int) -> Tensor:
    """images (N, C, H, W) of values 0 to 255 -> (N, C, height, width) float32, whole numbers: Pillow's bytes.

    Exact for square images, as observations are. Of others, Pillow 13 sometimes takes the vertical direction first.
    """
    old_height, old_width = images.shape[-2:]
    x = images.float()
    if old_width != width:
        x = _to_bytes(x.double() @ _weights(old_width, width, resample, x.device).T)
    if old_height != height:
        x = _to_bytes(_weights(old_height, height, resample, x.device) @ x.double())
    return x


def _to_bytes(fixed: Tensor) -> Tensor:
    """Round half up and cut, as a shift of the fixed-point sum does."""
    half = 1 << (FIXED_POINT - 1)
    return ((fixed + half) / (1 << FIXED_POINT)).floor().clamp(0, 255).float()


def normalise(images: Tensor, image: ImageFormat) -> Tensor:
    """(N, 3, H, W) of 0 to 255 -> (x / 255 - mean) / std, float32."""
    mean, std = (torch.tensor(v, device=images.device).view(3, 1, 1) * 255 for v in (image.mean, image.std))
    return (images - mean) / std


def square(images: Tensor, image: ImageFormat) -> Tensor:
    """images (N, 3, H, W) uint8 -> (N, 3, edge, edge), normalised; the aspect ratio is not kept (SigLIP, SmolVLM).

    SmolVLM's processor first brings the longer side to its size, the other one after it, and then squares the result;
    images are not split into tiles, as in every policy that is built on it (SmolVLA: arXiv:2506.01844).
    """
    if image.processor == "SmolVLMImageProcessor":
        images = resize(images, *_longest_edge(*images.shape[-2:], image.edge), image.resample)
    return normalise(resize(images, image.edge, image.edge, image.resample), image)


def _longest_edge(height: int, width: int, edge: int) -> tuple[int, int]:
    """The size with the longer side at `edge`, the other one even."""
    if width >= height:
        other = int(edge / (width / height))
        return max(other + other % 2, 1), edge
    other = int(edge * (width / height))
    return edge, max(other + other % 2, 1)


def whole_patches(height: int, width: int, image: ImageFormat, factor: int) -> tuple[int, int]:
    """The nearest size of whole multiples of `factor` whose area is within the bounds (Qwen's "smart resize")."""
    rows, columns = round(height / factor) * factor, round(width / factor) * factor
    if rows * columns > image.max_pixels:
        shrink = math.sqrt(height * width / image.max_pixels)
        return tuple(max(factor, math.floor(side / shrink / factor) * factor) for side in (height, width))
    if rows * columns < image.min_pixels:
        grow = math.sqrt(image.min_pixels / (height * width))
        return tuple(math.ceil(side * grow / factor) * factor for side in (height, width))
    return rows, columns


def patches(images: Tensor, image: ImageFormat, merge: int, frames: int) -> tuple[Tensor, tuple[int, int]]:
    """images (N, 3, H, W) uint8 -> (N * rows * columns, 3 * frames * P * P) patches, and (rows, columns) of the grid.

    Patches that are merged into one token lie side by side; a still image is repeated over the `frames` of a patch.
    """
    size = whole_patches(*images.shape[-2:], image, image.patch_size * merge)
    x = normalise(resize(images, *size, image.resample), image)
    p, (rows, columns) = image.patch_size, (side // image.patch_size for side in size)
    # r, c: tokens; mr, mc: the patches that make one; pr, pc: pixels of a patch
    cut = "N rgb (r mr pr) (c mc pc) -> (N r c mr mc) (rgb frames pr pc)"
    return repeat(x, cut, mr=merge, mc=merge, pr=p, pc=p, frames=frames), (rows, columns)
