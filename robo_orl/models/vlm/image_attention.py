"""Attention among the tokens of one image, or of one window in it, for all of them in one call.

The towers of Qwen hold all images in one row. `transformers` cuts it and attends once per piece and layer; pieces of
one length, as the frames of a camera are, make a batch.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

NAME = "robo_orl_pieces"


def install(visual: nn.Module) -> None:
    """Have a tower of Qwen attend through `attend`; its calls then name the number of `pieces`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    visual.set_attn_implementation(NAME)
    whole = getattr(visual, "fullatt_block_indexes", range(len(visual.blocks)))
    for i, block in enumerate(visual.blocks):
        block.attn.windowed = i not in whole


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    scaling: float | None = None,
    dropout: float = 0.0,
    pieces: tuple[int, int] = (1, 1),
    **_: object,
) -> tuple[Tensor, None]:
    """query, key, value (1, H, N * n, d) of N pieces -> (1, N * n, H, d).

    pieces: N in the layers that attend to whole images, and in those that attend to windows.
    """
    count = pieces[module.windowed]
    q, k, v = (t.squeeze(0).unflatten(1, (count, -1)).transpose(0, 1) for t in (query, key, value))  # (N, H, n, d)
    found = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
    return found.transpose(1, 2).flatten(0, 1).unsqueeze(0), None
