"""The native Transformer: one dial, the depth; width = 32 x depth, so that 12 D^2 per layer grow with the cube of it.

tiny 0.3M, xs 0.8M, s 6M, m 34M, l 98M, xl 332M, 1b, 3b, 7b; `robo-orl list sizes` has the exact counts.
One token per low-dim key and frame, a few per picture, four for the instruction (embedding.py).
B batch, k history, S tokens, D width, L depth.
"""

from __future__ import annotations

import math
import re
from functools import cache

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.types import Observation
from robo_orl.config import SIZES, BackboneConfig, ObservationConfig
from robo_orl.models.backbones.embedding import ImageTokens, InstructionTokens, LowDimTokens, byte_tokens
from robo_orl.models.layers import Block, RMSNorm, parameters_of_block

WIDTH_PER_DEPTH = 32
LOW_DIM_ONLY = ObservationConfig()
GAIN = 10.0  # learning rates of log alpha_l in one of the weights
FIRST_TEMPERATURE = 0.001  # alpha_l: too little to lift an attention that starts near the target
Measured = tuple[Tensor, Tensor | None]


class Transformer(nn.Module):
    """Observation -> tokens (B, S, D), pre-norm blocks without a causal mask, normalised at the end."""

    options = ("stem", "patch", "checkpointing", "compile", "entropy", "entropy_target")

    def __init__(self, spec: dict[str, int], config: BackboneConfig, observation: ObservationConfig = LOW_DIM_ONLY):
        super().__init__()
        depth = depth_of(config.size)
        self.width, self.config, self.observation = WIDTH_PER_DEPTH * depth, config, observation
        _check_options(config, observation)
        self.embedding = LowDimTokens(spec, self.width)
        residual = (2 * depth) ** -0.5  # 2L additions to the stream keep its variance near one
        self.blocks = nn.ModuleList(Block(self.width, residual) for _ in range(depth))
        self.norm = RMSNorm(self.width)
        self.images = ImageTokens(self.width, config, observation) if observation.cameras else None
        self.instruction = InstructionTokens(self.width) if observation.instruction else None
        self.ages = AgeEmbedding(observation.history, self.width) if observation.history > 1 else None
        self.control = EntropyControl(depth, config.entropy_target) if config.entropy == "control" else None
        self._measured: Measured | None = None
        counted = sum(getattr(p, "ds_numel", p.numel()) for p in self.parameters())
        expected = parameters_of(config, spec, observation)
        assert counted == expected, f"{config.size}: {counted} parameters, the formula gives {expected}"

    @staticmethod
    def tokeniser(config: BackboneConfig):  # noqa: ANN205 (a function of sentences)
        """The byte tokeniser: sentences -> ids (N, L), mask (N, L)."""
        return byte_tokens

    @staticmethod
    def depth(config: BackboneConfig) -> int:
        """Layers."""
        return depth_of(config.size)

    def forward(self, obs: Observation) -> Tensor:
        """obs: normalised. Returns (B, S, D); where the observation holds what this backbone said of it, that."""
        if obs.features is not None:
            return obs.features
        x = self._embed(obs)
        measure = self.config.entropy if self.training else "off"
        entropies = []
        for block in self.blocks:
            x, entropy = self._through(block, x, measure)
            entropies.append(entropy)
        if measure != "off":
            self._note(torch.stack(entropies))
        return self.norm(x)

    def _embed(self, obs: Observation) -> Tensor:
        """(B, S, D): the tokens of each frame, oldest frame first, then those of the instruction."""
        check_observation(obs, self.observation)
        parts = [self.embedding(obs.low_dim)] if self.embedding.embed else []
        if self.images is not None:
            parts.append(self.images(obs.images))
        x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)  # (B, n, D), or (B, k, n, D)
        if self.ages is not None:
            x = self.ages(x)
        if self.instruction is not None:
            x = torch.cat((x, self.instruction(obs.instruction, obs.instruction_mask)), dim=1)
        return x

    def _through(self, block: Block, x: Tensor, measure: str) -> tuple[Tensor, Tensor | None]:
        run = _compiled() if self.config.compile and self.training else _run
        if self.config.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(run, block, x, measure, use_reentrant=False)
        return run(block, x, measure)

    def _note(self, entropy: Tensor) -> None:
        """Keep the pass that gradients flow through, where a step has several."""
        if self._measured is None or entropy.requires_grad or not self._measured[0].requires_grad:
            self._measured = entropy, self.control(entropy) if self.control is not None else None

    def take_entropy(self) -> Measured | None:
        """Entropy (L,) of the attention in the last pass in training, and the loss that controls it.

        None where nothing was measured since the last call.
        """
        measured, self._measured = self._measured, None
        return measured


def _run(block: Block, x: Tensor, measure: str) -> tuple[Tensor, Tensor | None]:
    return block(x, None, measure)


@cache
def _compiled():  # noqa: ANN202
    """One block compiled once serves all L of them (regional compilation): minutes become seconds."""
    return torch.compile(_run)


class AgeEmbedding(nn.Module):
    """A learned vector per frame of a history."""

    def __init__(self, history: int, width: int):
        super().__init__()
        self.age = nn.Parameter(torch.randn(history, width) * 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, k, n, D) -> (B, k * n, D)."""
        return rearrange(x + self.age[:, None].to(x.dtype), "B k n D -> B (k n) D")


class EntropyControl(nn.Module):
    """Holds the entropy H_l of every layer's attention at a target, by a temperature alpha_l per layer.

    Transformer critics are known to collapse as they grow: attention falls onto few tokens and the values of different
    states become equal. TQL (transformer Q-learning) learns alpha_l as soft actor-critic does:
        L = sum_l  - alpha_l H_l  +  alpha_l (H_l - Hbar),
    where alpha_l is a constant in the first term and H_l in the second: alpha_l grows while H_l is below the target,
    and falls towards nothing where the attention is above it without help. H is a share of ln(tokens), so that one
    target serves any number of tokens. TQL trains for a million steps: with the learning rate of the weights alpha_l
    would take tens of thousands of ours to get where it has to be, so that it moves GAIN times as fast.
    """

    def __init__(self, layers: int, target: float):
        super().__init__()
        self.target = target
        self.slow_log_temperature = nn.Parameter(torch.full((layers,), math.log(FIRST_TEMPERATURE) / GAIN))

    @property
    def temperature(self) -> Tensor:
        """alpha_l, (L,)."""
        return (GAIN * self.slow_log_temperature).exp()

    def forward(self, entropy: Tensor) -> Tensor:
        """entropy (L,), with gradient -> (): the loss."""
        temperature = self.temperature
        return (-temperature.detach() * entropy + temperature * (entropy.detach() - self.target)).sum()


def add_entropy(name: str, backbone: nn.Module | None, terms: dict[str, Tensor], metrics: dict[str, Tensor]) -> None:
    """Add the entropy that a backbone measured in a step: a metric per layer, and its loss where it is controlled."""
    measured = backbone.take_entropy() if hasattr(backbone, "take_entropy") else None
    if measured is None:
        return
    entropy, loss = measured
    if loss is not None:
        terms[f"{name}/entropy"] = loss
    width = len(str(len(entropy) - 1))
    for layer, value in enumerate(entropy.unbind()):
        metrics[f"{name}/attention_entropy_{layer:0{width}d}"] = value


def check_observation(obs: Observation, expected: ObservationConfig) -> None:
    """UsageError where an observation is not what the policy was built for: cameras, resolution, instruction."""
    for camera in expected.cameras:
        if camera not in obs.images:
            raise UsageError(f"The observation lacks the camera '{camera}', which this policy was built for.")
        height, width = obs.images[camera].shape[-2:]
        if (height, width) != (expected.image_size, expected.image_size):
            raise UsageError(
                f"The camera '{camera}' gives {width} x {height} pixels, and this policy was built for "
                f"{expected.image_size} x {expected.image_size}: render the data again or set observation.image_size."
            )
    for camera in obs.images:
        if camera not in expected.cameras:
            raise UsageError(f"This policy was not built for the camera '{camera}': name it in observation.cameras.")
    if (obs.instruction is not None) != expected.instruction:
        difference = "lacks the instruction that" if expected.instruction else "has an instruction, and not for that"
        raise UsageError(f"The observation {difference} this policy was built for; observation.instruction decides.")


def _check_options(config: BackboneConfig, observation: ObservationConfig) -> None:
    fields = BackboneConfig.model_fields
    for name in ("stem", "patch"):
        if not observation.cameras and getattr(config, name) != fields[name].default:
            raise UsageError(f"backbone.{name} does nothing without cameras: leave it out or set observation.cameras.")


def depth_of(size: str) -> int:
    """The depth of a size by its name; "d52" is a depth of 52. UsageError for an unknown name."""
    depth = re.fullmatch(r"d([1-9]\d*)", size)
    if depth:
        return int(depth[1])
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    return SIZES[size]


def parameters_of_size(size: str, spec: dict[str, int] | None = None) -> int:
    """The exact number of parameters on low-dim keys; without `spec`, those that do not depend on the observation."""
    return parameters_of(BackboneConfig(size=size), spec or {}, LOW_DIM_ONLY)


def parameters_of(config: BackboneConfig, spec: dict[str, int], observation: ObservationConfig) -> int:
    """The exact number of parameters."""
    depth = depth_of(config.size)
    width = WIDTH_PER_DEPTH * depth
    count = LowDimTokens.parameters_for(spec, width) + depth * parameters_of_block(width) + width
    if observation.cameras:
        count += ImageTokens.parameters_for(width, config, observation)
    if observation.instruction:
        count += InstructionTokens.parameters_for(width)
    if observation.history > 1:
        count += observation.history * width
    if config.entropy == "control":
        count += depth
    return count
