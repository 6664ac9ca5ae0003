"""What Qwen's towers derive from the grid of an image's patches, once per grid instead of in every step.

`transformers` computes these from tensors, whose values it asks the device for; a tower takes them ready-made as well.
Sizes that Python needs are numbers of the host, so that a step never waits for a GPU and runs on fake tensors too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes


def known(visual: nn.Module, rows: int, columns: int, images: int, device: torch.device) -> dict[str, Any]:
    """Keyword arguments of a tower for `images` pictures of `rows` x `columns` patches each."""
    config = visual.config
    windows = (config.window_size, config.patch_size) if hasattr(visual, "fullatt_block_indexes") else None
    table = None
    if hasattr(visual, "num_grid_per_side"):
        table = (visual.num_grid_per_side, visual.interpolation_mode, visual.interpolation_align_corners)
    return dict(_known(rows, columns, images, str(device), config.spatial_merge_size, windows, table))


@lru_cache(maxsize=64)
def _known(
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
    # What is kept holds real numbers that training may use, also where the first who asks computes none, or acts.
    with _disable_current_modes(), torch.inference_mode(False):
        one = torch.tensor([[1, rows, columns]])
        found: dict[str, Any] = {"position_ids": utils.get_vision_position_ids(one, merge).repeat(images, 1)}
        row = np.array((0, images * patches))  # not to be cut: image_attention.py does
        found |= {"cu_seqlens": row, "pieces": (images, 1)}
        if windows:
            index, ends = utils.get_vision_window_index(one, merge, *windows)
            found["window_index"] = _of_every_image(index, patches // merge**2, images)
            ends = ends.numpy()
            if len(set(np.diff(ends))) == 1:
                found |= {"cu_window_seqlens": row, "pieces": (images, images * (len(ends) - 1))}
            else:  # windows at the rim are smaller
                inner = (ends[1:] + patches * np.arange(images)[:, None]).flatten()
                found["cu_window_seqlens"] = np.concatenate(([0], inner))
        if table:
            read = utils.get_vision_interpolation_indices_and_weights(one, *table, spatial_merge_size=merge)
            found["interp_indices"], found["interp_weights"] = (t.repeat(images, 1) for t in read)
        return {name: v.to(device) if isinstance(v, Tensor) else v for name, v in found.items()}


def _of_every_image(places: Tensor, size: int, images: int) -> Tensor:
    """places in the first image -> in all of them, one behind the other, `size` apart."""
    return (places + size * torch.arange(images)[:, None]).flatten()


def add_at(hidden: Tensor, places: Tensor, deep: Tensor) -> Tensor:
    """DeepStack: hidden (B, S, D) plus deep (B * P, D) at the P places, the same in every row."""
    return hidden.index_add(1, places, deep.to(hidden.dtype).unflatten(0, (len(hidden), -1)))
