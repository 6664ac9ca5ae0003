"""The parts of each family of models under one interface: vision tower, positions, language model.

The modules are those of `transformers`, called as its own forward passes call them (a test compares); only the sequence
between them is different, since a policy adds tokens of its own (proprioception, action queries) that are no words.
B batch, N images (camera by camera, each B of them), P tokens per image, S all tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from robo_orl.models.vlm.architectures import Architecture
from robo_orl.models.vlm.pixels import add_at, patches, square, tower_arguments

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
    q, k, v = (rearrange(t, "1 H (N n) d -> N H n d", N=count) for t in (query, key, value))
    attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
    return rearrange(attended, "N H n d -> 1 (N n) H d"), None


@dataclass(frozen=True)
class VisionOutput:
    """The output of a vision tower.

    tokens: (N, P, D), as the language model reads them. grid: (rows, columns) of P where positions have one. deep:
    added to the first layers at the same places (DeepStack), each (N, P, D).
    """

    tokens: Tensor
    grid: tuple[int, int]
    deep: tuple[Tensor, ...] = ()


class Family:
    """One type of model in `transformers`. `two_way`: image and prompt tokens all see each other, as it was trained."""

    two_way = False
    first_position = 0

    def __init__(self, architecture: Architecture):
        self.architecture = architecture

    def encode_images(self, model: nn.Module, images: Tensor) -> VisionOutput:
        """images (N, 3, H, W) uint8, all of one size."""
        raise NotImplementedError

    def language(self, model: nn.Module) -> nn.Module:
        """The language model: embedding, layers, norm."""
        return model.language_model

    def prepare(self, model: nn.Module) -> None:
        """Change a new model where a step needs it."""

    def advance(self, vision: VisionOutput) -> int:
        """The distance from the position of an image's first token to that of the token after the image."""
        return vision.tokens.shape[1]

    def places(self, vision: VisionOutput) -> Tensor:
        """(3, P) int64: positions of an image's tokens from its first on; three equal axes where there is one."""
        return repeat(torch.arange(vision.tokens.shape[1]), "P -> axes P", axes=3)

    def positions(self, positions: Tensor) -> Tensor:
        """(3, B, S) -> the language model's position_ids."""
        return positions[0] + self.first_position

    def mask(self, allowed: Tensor) -> Tensor | dict[str, Tensor]:
        """allowed (B, 1, S, S) bool -> the language model's attention_mask."""
        return allowed

    def run(self, model: nn.Module, embeds: Tensor, positions: Tensor, allowed: Tensor, **more: object) -> object:
        """Run the language model on embeds (B, S, D); returns its output object."""
        return self.language(model)(
            inputs_embeds=embeds,
            position_ids=self.positions(positions),
            attention_mask=self.mask(allowed),
            use_cache=False,
            **more,
        )


class SmolVLM(Family):
    """SmolVLM2: SigLIP at any resolution, pixel shuffle, a Llama (Marafioti et al. 2025, arXiv:2504.05299)."""

    def encode_images(self, model: nn.Module, images: Tensor) -> VisionOutput:
        """One square picture per image, no tiles."""
        pixels = square(images, self.architecture.image).to(_dtype(model))
        tokens = model.connector(model.vision_model(pixel_values=pixels).last_hidden_state)
        return VisionOutput(tokens, grid=(0, 0))

    def language(self, model: nn.Module) -> nn.Module:
        """SmolVLM calls it text_model."""
        return model.text_model


class PaliGemma(Family):
    """PaliGemma 2: SigLIP and Gemma 2, a prefix that sees itself in both directions (Steiner et al. 2024,
    arXiv:2412.03555)."""

    two_way = True
    first_position = 1

    def encode_images(self, model: nn.Module, images: Tensor) -> VisionOutput:
        """One square picture per image."""
        pixels = square(images, self.architecture.image).to(_dtype(model))
        return VisionOutput(model.multi_modal_projector(model.vision_tower(pixels).last_hidden_state), grid=(0, 0))

    def mask(self, allowed: Tensor) -> dict[str, Tensor]:
        """Added masks, since Gemma 2 caps its logits, which torch's fused attention cannot do.

        Its sliding layers look back 4,096 tokens, which is all of a prompt here.
        """
        added = torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, torch.finfo(torch.float32).min)
        return {"full_attention": added, "sliding_attention": added}


class Qwen(Family):
    """Qwen2.5-VL and Qwen3-VL: pictures near their own resolution, positions with rows and columns (Bai et al. 2025,
    arXiv:2502.13923 and arXiv:2511.21631)."""

    def encode_images(self, model: nn.Module, images: Tensor) -> VisionOutput:
        """A number of tokens per image that grows with its size."""
        vision = self.architecture.config["vision_config"]
        merge = vision["spatial_merge_size"]
        pixels, (rows, columns) = patches(images, self.architecture.image, merge, vision["temporal_patch_size"])
        more = tower_arguments(model.visual, rows, columns, len(images), images.device)
        output = model.visual(pixels.to(_dtype(model)), grid_thw=None, **more)
        features = (output.pooler_output, *(getattr(output, "deepstack_features", None) or ()))
        tokens, *deep = (rearrange(f, "(N P) D -> N P D", N=len(images)) for f in features)
        return VisionOutput(tokens, (rows // merge, columns // merge), tuple(deep))

    def prepare(self, model: nn.Module) -> None:
        """Let all images attend in one call, and add DeepStack by index.

        `transformers` adds it by a mask, and has to ask the device how many tokens the mask selects.
        """
        install(model.visual)
        if self.architecture.model_type == "qwen3_vl":
            self.language(model)._deepstack_process = add_at

    def advance(self, vision: VisionOutput) -> int:
        """The longer side of the image."""
        return max(vision.grid)

    def places(self, vision: VisionOutput) -> Tensor:
        """Time, row and column of every token."""
        rows, columns = vision.grid
        row = repeat(torch.arange(rows), "rows -> (rows columns)", columns=columns)
        column = repeat(torch.arange(columns), "columns -> (rows columns)", rows=rows)
        return torch.stack((torch.zeros_like(row), row, column))

    def positions(self, positions: Tensor) -> Tensor:
        """All three axes."""
        return positions

    def mask(self, allowed: Tensor) -> Tensor | dict[str, Tensor]:
        """Qwen2.5-VL has a mask per kind of layer."""
        return {"full_attention": allowed} if self.architecture.model_type == "qwen2_5_vl" else allowed


FAMILIES: dict[str, type[Family]] = {"smolvlm": SmolVLM, "paligemma": PaliGemma, "qwen2_5_vl": Qwen, "qwen3_vl": Qwen}


def family_of(architecture: Architecture) -> Family:
    """The family that an architecture belongs to."""
    return FAMILIES[architecture.model_type](architecture)


def _dtype(model: nn.Module) -> torch.dtype:
    """The type of the weights. Not model.dtype, which an averaged copy (buffers, no parameters) does not have."""
    return model.get_input_embeddings().weight.dtype
