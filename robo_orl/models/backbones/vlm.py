"""A vision-language model of `transformers` as backbone: SmolVLM2, PaliGemma 2, Qwen2.5-VL and Qwen3-VL.

`size` names the model (models/vlm/architectures), `weights` a checkpoint of it; without one the weights are random, so
that memory and speed can be measured anywhere. Images and instruction are prepared as each model's own processor does;
proprioception follows as one token per key and frame, then, where configured, one query per action of the chunk.
B batch, k history, C cameras, S tokens, D width, L layers read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from robo_orl.base.errors import UsageError
from robo_orl.base.types import Observation
from robo_orl.config import BackboneConfig, ObservationConfig
from robo_orl.models.backbones.embedding import LowDimTokens
from robo_orl.models.backbones.transformer import check_observation
from robo_orl.models.layers import RMSNorm
from robo_orl.models.vlm.architectures import architecture
from robo_orl.models.vlm.loading import add_lora, build, freeze, save_activations
from robo_orl.models.vlm.prompt import QUERIES, STATE, Sequence, encoder, prompt_ids, tokenise
from robo_orl.models.vlm.towers import VisionOutput, family_of


class VLM(nn.Module):
    """Observation -> tokens (B, S, D), or (B, L, S, D) where `layers` is above one: the last layer last.

    Tokens are the images', the instruction's and the end of the prompt, proprioception, and last the action queries.
    """

    options = (
        "weights",
        "download",
        "frozen",
        "cache",
        "lora",
        "layers",
        "action_queries",
        "stop_expert_gradient",
        "checkpointing",
    )

    def __init__(self, spec: dict[str, int], config: BackboneConfig, observation: ObservationConfig):
        super().__init__()
        self.config, self.observation = config, observation
        self.architecture = architecture(config.size)
        self.width, self.layers = self.architecture.width, config.layers
        check_config(config, observation)
        self.family = family_of(self.architecture)
        self.model = build(self.architecture, config.weights, config.download)
        self.family.prepare(self.model)
        self.prompt = prompt_ids(self.architecture.prompt, _encoder(config))
        scale = 1.0 if config.frozen else rms(self.model.get_input_embeddings().weight)
        self.state = StateTokens(spec, self.width, scale) if spec else None
        self.queries = ActionQueries(config.action_queries, self.width, scale) if config.action_queries else None
        if config.frozen:
            freeze(self.model)
        if config.lora is not None:
            add_lora(self.family.language(self.model), self.model, config.lora)
        if config.checkpointing:
            save_activations(self.model)

    @staticmethod
    def tokeniser(config: BackboneConfig) -> Callable[[list[str]], tuple[Tensor, Tensor]]:
        """Sentences -> ids (N, L) and mask (N, L): the model's own tokeniser, or bytes where its weights are random."""
        return partial(tokenise, _encoder(config))

    @staticmethod
    def depth(config: BackboneConfig) -> int:
        """Layers of the language model."""
        return architecture(config.size).depth

    def forward(self, obs: Observation) -> Tensor:
        """obs: normalised low-dim values, uint8 images. Returns (B, S, D) or (B, L, S, D)."""
        if not self.config.frozen:
            check_observation(obs, self.observation)
            return self._read(obs, self.state(obs.low_dim) if self.state is not None else None)
        tokens = self.features(obs) if obs.features is None else obs.features
        if self.state is None:
            return tokens
        state = self.state(obs.low_dim).to(tokens.dtype)
        if tokens.dim() == 4:
            state = repeat(state, "B S D -> B L S D", L=self.layers)
        return torch.cat((tokens, state), dim=-2)

    @torch.no_grad()
    def features(self, obs: Observation) -> Tensor:
        """The tokens of images and instruction by a frozen model, (B, S, D) or (B, L, S, D), without gradient."""
        check_observation(obs, self.observation)
        return self._read(obs, None)

    def _read(self, obs: Observation, state: Tensor | None) -> Tensor:
        sequence, deep = self._lay_out(obs, state)
        several = self.layers > 1
        more = {"output_hidden_states": True} if several else {}
        if deep:
            image = [place for place, is_image in enumerate(sequence.image) if is_image]
            places = torch.tensor(image, device=sequence.embeds.device)
            more |= {"visual_pos_masks": places, "deepstack_visual_embeds": deep}
        allowed = sequence.allowed(self.family.two_way)
        output = self.family.run(self.model, sequence.embeds, sequence.positions, allowed, **more)
        if not several:
            return sequence.read_out(output.last_hidden_state)
        total = self.architecture.depth
        inner = [-(-total * i // self.layers) for i in range(1, self.layers)]
        hidden = [output.hidden_states[i] for i in inner] + [output.last_hidden_state]
        return torch.stack([sequence.read_out(h) for h in hidden], dim=1)

    def _lay_out(self, obs: Observation, state: Tensor | None) -> tuple[Sequence, list[Tensor]]:
        """The sequence, and DeepStack's addition at its images: per layer (B * images * P, D)."""
        pictures = self._pictures(obs)  # (C*k, B, 3, H, W)
        vision = self.family.encode_images(self.model, rearrange(pictures, "n B rgb H W -> (n B) rgb H W"))
        tokens = rearrange(vision.tokens, "(n B) P D -> n B P D", n=len(pictures))
        sequence = Sequence()
        self._add_words(sequence, self.prompt.head, tokens, read=False)
        for image in tokens:
            self._add_words(sequence, self.prompt.before, tokens, read=False)
            self._add_image(sequence, image, vision)
            self._add_words(sequence, self.prompt.after, tokens, read=False)
        self._add_words(sequence, self.prompt.middle, tokens, read=False)
        if obs.instruction is not None:
            words = self._embed(obs.instruction).to(tokens.dtype)
            sequence.add(words, valid=obs.instruction_mask)
        self._add_words(sequence, self.prompt.tail, tokens)
        if state is not None:
            sequence.add(state.to(tokens.dtype), group=STATE)
        if self.queries is not None:
            sequence.add(self.queries(len(obs)).to(tokens.dtype), group=QUERIES)
        return sequence, [rearrange(deep, "(n B) P D -> (B n P) D", n=len(pictures)) for deep in vision.deep]

    def _pictures(self, obs: Observation) -> Tensor:
        """(C*k, B, 3, H, W): oldest frame first, cameras in the order of the configuration."""
        cameras = [obs.images[camera] for camera in self.observation.cameras]
        frames = [c.unsqueeze(1) if c.dim() == 4 else c for c in cameras]  # (B, k, 3, H, W)
        return rearrange(frames, "C B k rgb H W -> (k C) B rgb H W")

    def _add_image(self, sequence: Sequence, tokens: Tensor, vision: VisionOutput) -> None:
        sequence.add(tokens, places=self.family.places(vision), advance=self.family.advance(vision), image=True)

    def _add_words(self, sequence: Sequence, ids: list[int], like: Tensor, read: bool = True) -> None:
        """Words that are the same in every row; `like` (C*k, B, P, D)."""
        if ids:
            embeds = self._embed(torch.tensor(ids, device=like.device)).to(like.dtype)
            sequence.add(embeds.expand(like.shape[1], -1, -1), read=read)

    def _embed(self, ids: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(ids)


class StateTokens(nn.Module):
    """One token per low-dim key and frame, oldest frame first, at the scale of the words beside them."""

    def __init__(self, spec: dict[str, int], width: int, scale: float):
        super().__init__()
        self.embedding, self.norm = LowDimTokens(spec, width), RMSNorm(width)
        nn.init.constant_(self.norm.weight, scale)

    def forward(self, low_dim: dict[str, Tensor]) -> Tensor:
        """per key (B, D_key) or (B, k, D_key) -> (B, keys, D) or (B, k * keys, D)."""
        tokens = self.norm(self.embedding(low_dim))
        return tokens if tokens.dim() == 3 else rearrange(tokens, "B k keys D -> B (k keys) D")


class ActionQueries(nn.Module):
    """Learned tokens in the places of actions (Kim et al. 2025, OpenVLA-OFT: empty action embeddings)."""

    def __init__(self, count: int, width: int, scale: float):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(count, width) * scale)

    def forward(self, batch: int) -> Tensor:
        """(B, count, D)."""
        return repeat(self.tokens, "n D -> B n D", B=batch)


def check_config(config: BackboneConfig, observation: ObservationConfig) -> None:
    """UsageError where settings of a vlm backbone contradict each other, or one of them would do nothing."""
    depth = architecture(config.size).depth
    if not observation.cameras:
        raise UsageError("A vlm backbone reads images: name its observation.cameras.")
    if config.layers > depth:
        raise UsageError(f"backbone.layers is {config.layers}, and {config.size} has {depth} layers.")
    if config.cache and not config.frozen:
        raise UsageError("backbone.cache keeps a frozen vlm's tokens: set backbone.frozen to true, or cache to false.")
    if config.cache and (observation.shift or observation.jitter):
        raise UsageError(
            "backbone.cache computes every frame once, and augmentation changes it in every step: set "
            "observation.shift and observation.jitter to 0, or backbone.cache to false."
        )
    if config.download and config.weights is None:
        raise UsageError("backbone.download does nothing without backbone.weights: name the weights to download.")
    for name, is_set in (
        ("lora", config.lora is not None),
        ("action_queries", config.action_queries > 0),
        ("stop_expert_gradient", config.stop_expert_gradient),
        ("checkpointing", config.checkpointing),
    ):
        if config.frozen and is_set:
            raise UsageError(f"A frozen vlm has no gradient: leave backbone.{name} out, or backbone.frozen.")


def rms(weight: Tensor) -> float:
    """Root mean square of a tensor; 1 for one without values (meta device)."""
    return 1.0 if weight.is_meta else weight.detach().float().square().mean().sqrt().item()


def _encoder(config: BackboneConfig) -> Callable[[str], list[int]]:
    return encoder(config.size, config.weights, config.download)
