"""What a frozen vision-language model says of every frame: computed once, kept in the cache, read by a small network.

F frames, S tokens of a frame, D the model's width, M windows of k frames.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from robo_orl.agent.agent import build_agent
from robo_orl.base.types import Observation
from robo_orl.config import PolicyConfig
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.features import cached
from robo_orl.models.backbones.embedding import LowDimTokens
from robo_orl.models.backbones.transformer import WIDTH_PER_DEPTH, depth_of
from robo_orl.models.backbones.vlm import VLM
from robo_orl.models.layers import Block, RMSNorm, linear


def features_of(
    arrays: EpisodeArrays, cameras: list[str], image_size: int, size: str, weights: str | None, progress: bool
) -> np.ndarray:
    """(F, S, D) float32, memory-mapped: of the pictures, and of the task's instruction where it has one.

    size, weights: as `backbone.size` and `backbone.weights` of a policy. Raises UsageError for an unknown model or
    weights that are not here, RunError where the disk has no room.
    """
    words = bool(arrays.task and arrays.task.instruction)
    seen = {"low_dim": list(arrays.spec), "cameras": cameras, "image_size": image_size, "shift": 0}
    backbone = {"kind": "vlm", "size": size, "weights": weights, "frozen": True, "cache": True}
    policy = PolicyConfig.model_validate(
        {"name": "reward_model", "observation": seen | {"instruction": words}, "backbone": backbone}
    )
    agent = build_agent(policy, arrays.spec, arrays.action_dim, 0.99, None, seed=0)
    sentence = VLM.tokeniser(policy.backbone)([arrays.task.instruction]) if words else None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return cached(agent, PairedWindows(arrays, 1, 1, 0.99, instructions=sentence), device, progress).features[0]


class FeatureReader(nn.Module):
    """The tokens of k frames by a frozen model, and vectors beside them, through one block: (M, tokens, width)."""

    def __init__(self, spec: dict[str, int], size: str, feature_width: int, history: int):
        """size: that of the native Transformer whose width it has."""
        super().__init__()
        self.width = WIDTH_PER_DEPTH * depth_of(size)
        self.scale, self.project = RMSNorm(feature_width), linear(feature_width, self.width, bias=True)
        self.vectors = LowDimTokens(spec, self.width)
        self.ages = nn.Parameter(torch.randn(history, 1, self.width) * 0.5)
        self.block, self.norm = Block(self.width, 2**-0.5), RMSNorm(self.width)

    def forward(self, obs: Observation) -> Tensor:
        """obs: normalised, of k frames (M, k, ...), or of one without the axis."""
        tokens = torch.cat((self.project(self.scale(obs.features)), self.vectors(obs.low_dim)), dim=-2)
        if tokens.dim() == 3:
            tokens = tokens[:, None]
        return self.norm(self.block(rearrange(tokens + self.ages, "M k S D -> M (k S) D"))[0])
