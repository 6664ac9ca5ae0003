"""Rectified flow over action chunks (Liu et al. 2023, arXiv:2209.03003) with an expert of two sizes.

`flow` has a small one. That of `flow_expert` reads the layers of a vision-language model (Black et al. 2024,
arXiv:2410.24164, pi0; Shukor et al. 2025, arXiv:2506.01844, SmolVLA). Both predict the clean chunk x1 and the velocity
follows, v = (x1_hat - x_t) / (1 - t): a small network that predicts the velocity itself underfits (it has to carry the
noise through its width).
B batch, L layers read, S tokens, N samples, h chunk, A action dim, W expert width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads.action_head import ActionHead, masked_mean
from robo_orl.models.action_heads.flow_layout import TURNS, Layout
from robo_orl.models.action_heads.flow_sampler import flow_samples
from robo_orl.models.layers import (
    RMSNorm,
    SelfAttention,
    SwiGLU,
    attend_normalised,
    half_width,
    heads_of,
    last_layer,
    linear,
    split_heads,
    unit_scale,
    wide,
)

Memory = list[tuple[Tensor, Tensor]]  # keys and values of every block
Read = tuple[Tensor, Tensor]  # the same of all blocks together


class FlowHead(ActionHead):
    """x_t = (1-t) x0 + t x1 with x0 normal; loss |x1_hat(x_t, t, tokens) - x1|^2; Euler steps from noise to chunk."""

    integrates = True

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        super().__init__()
        self.shape = (config.chunk, action_dim)
        self.steps = config.flow_steps
        self.expert = Expert(token_width, depth, config.chunk * action_dim)

    @property
    def samples_in_one_call(self) -> bool:
        """Whether the weights for one call of the sampler are here now."""
        return self.expert.in_a_row is not None

    def read(self, tokens: Tensor) -> Read:
        """Keys and values of the tokens for every block, (B, S, n, H, d), for `loss` and for `sample` in one call."""
        return self.expert.keys_and_values(last_layer(tokens))

    def loss(
        self,
        tokens: Tensor,
        actions: Tensor,
        mask: Tensor,
        draws: Draws,
        streams: Sequence[str],
        read: Read | None = None,
    ) -> Tensor:
        """Mean squared error of the clean chunk over the valid steps, (B,). read: of these tokens, if it is there."""
        part = len(actions) // len(streams)
        noise = torch.cat([draws.normal(stream, part, *self.shape) for stream in streams])
        t = torch.cat([draws.uniform(stream, part) for stream in streams])[:, None, None]
        x_t = (1 - t) * noise + t * actions if bit_by_bit(noise) else noise.lerp(actions, t)
        memory = self.expert.memory(tokens) if read is None else per_block(*read)
        clean = self.expert(rearrange(x_t, "B h A -> B 1 (h A)"), t.squeeze(-1), memory)
        clean = rearrange(clean, "B 1 (h A) -> B h A", h=self.shape[0])
        return masked_mean((wide(clean) - actions).square(), mask)

    def sample(
        self,
        tokens: Tensor,
        num_samples: int,
        draws: Draws,
        stream: str,
        steps: int | None = None,
        read: Read | None = None,
    ) -> Tensor:
        """Chunks (B, N, h, A) in [-1, 1] after `steps` Euler steps (default: flow_steps); one reading of the tokens.

        read: of these tokens, for one call that samples without gradient.
        """
        noise = draws.normal(stream, len(tokens), num_samples, *self.shape)
        if read is None:
            return self.integrate(tokens, noise, steps).clamp(-1, 1)
        x = self.expert.in_one_call(rearrange(noise, "B N h A -> B N (h A)"), read, steps or self.steps)
        return rearrange(x, "B N (h A) -> B N h A", h=self.shape[0]).clamp(-1, 1)

    def integrate(
        self, tokens: Tensor, noise: Tensor, steps: int | None = None, guide: tuple[Tensor, float] | None = None
    ) -> Tensor:
        """Integrate the flow from noise (B, N, h, A) to chunks (B, N, h, A), not cut to [-1, 1].

        guide: tokens without the condition that `tokens` carry, and the weight of the condition's effect on the
        velocity: 1 is none, above 1 exaggerates it (Ho and Salimans 2022, arXiv:2207.12598, equation 6).
        """
        steps = steps or self.steps
        memory = self.expert.memory(tokens)
        plain, weight = (self.expert.memory(guide[0]), guide[1]) if guide else (None, 1.0)
        x = rearrange(noise, "B N h A -> B N (h A)")
        for k, time in enumerate(self.expert.times(steps, x)):
            clean = wide(self.expert.at(x, time, memory))
            if plain is not None:
                clean = clean.lerp(wide(self.expert.at(x, time, plain)), 1 - weight)
            x = _advanced(x, clean, k / steps, steps)
        return rearrange(x, "B N (h A) -> B N h A", h=self.shape[0])


def _advanced(x: Tensor, clean: Tensor, t: float, steps: int) -> Tensor:
    """The Euler step from t to t + 1/steps along (clean - x) / (1 - t)."""
    if bit_by_bit(x):
        return x + (clean - x) / ((1 - t) * steps)
    return x.lerp(clean, 1 / ((1 - t) * steps))


def bit_by_bit(x: Tensor) -> bool:
    """True where results are stored to the last bit: on a CPU in full precision. Elsewhere fewer kernels do the same
    within rounding."""
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def per_block(keys: Tensor, values: Tensor) -> Memory:
    """(B, S, n, H, d) of all blocks -> (B, H, S, d) of each."""
    pairs = zip(keys.unbind(2), values.unbind(2), strict=True)
    return [(k.transpose(1, 2), v.transpose(1, 2)) for k, v in pairs]


class AnyExpert(nn.Module):
    """What both experts do with the time of the flow. Subclasses have `time_in`, a linear map to their width."""

    time_in: nn.Linear

    def __init__(self) -> None:
        super().__init__()
        self.turns: Tensor | None = None  # of the time features, on the device that they were last computed on
        self.in_a_row: Tensor | None = None  # all weights, where an engine keeps them so for one call of the sampler

    def forward(self, x: Tensor, t: Tensor, memory: Memory) -> Tensor:
        """x (B, N, h*A), t (B, N) in [0, 1) -> predicted clean chunk (B, N, h*A)."""
        return self.at(x, self.time(t), memory)

    def at(self, x: Tensor, time: Tensor, memory: Memory) -> Tensor:
        """`forward` with the embedding of t, (B, N, W), or (1, 1, W) where all times are equal."""
        raise NotImplementedError

    def time(self, t: Tensor) -> Tensor:
        """t (B, N) in [0, 1) -> (B, N, W)."""
        if self.turns is None or self.turns.device != t.device:
            self.turns = time_turns(t.device)
        return self.time_in(time_features(t, self.turns).to(self.time_in.weight.dtype))

    def times(self, steps: int, x: Tensor) -> list[Tensor]:
        """Of each of the Euler steps of x (B, N, h*A), (B, N, W) or (1, 1, W): no step computes its features again."""
        if bit_by_bit(x):  # rows of one product may differ in the last bit from those of another with fewer rows
            return [self.time(x.new_full(x.shape[:2], k / steps)) for k in range(steps)]
        t = torch.arange(steps, device=x.device, dtype=x.dtype) / steps
        return list(self.time(t[:, None, None]).unbind())


class Expert(AnyExpert):
    """A chunk is one token: it reads the observation tokens by cross-attention in every block and never writes back.

    It is half as wide as the backbone, since it runs once per sample and Euler step.
    """

    def __init__(self, token_width: int, depth: int, numbers: int):
        super().__init__()
        width = half_width(token_width)
        self.chunk_in = linear(numbers, width)
        self.time_in = linear(2 * TURNS, width, bias=True)
        self.blocks = nn.ModuleList(ExpertBlock(token_width, width) for _ in range(max(2, depth // 4)))
        self.norm = RMSNorm(width)
        self.out = linear(width, numbers, bias=True, scale=0.1)
        self.key_values: Tensor | None = None  # of all blocks, one under the other, where an engine keeps them so

    def memory(self, tokens: Tensor) -> Memory:
        """Keys and values of the tokens for every block, computed once for any number of samples and steps."""
        tokens = last_layer(tokens)
        if self.key_values is None:
            return [block.memory(tokens) for block in self.blocks]
        return per_block(*self.keys_and_values(tokens))

    def keys_and_values(self, tokens: Tensor) -> Read:
        """Both of all n blocks by one product, (B, S, n, H, d)."""
        heads = self.blocks[0].heads
        both = F.linear(tokens, self.key_values).unflatten(-1, (len(self.blocks), 2, heads, -1))  # (B, S, n, 2, H, d)
        keys, values = both.unbind(3)
        return unit_scale(keys), values

    @property
    def layout(self) -> Layout:
        """The order of the weights in `in_a_row`."""
        numbers, block = self.chunk_in.in_features, self.blocks[0]
        width, hidden = self.chunk_in.out_features, block.mlp.down.in_features
        return Layout(numbers, width, block.heads, hidden, len(self.blocks))

    def in_one_call(self, noise: Tensor, read: Read, steps: int) -> Tensor:
        """noise (B, N, h*A) -> chunks (B, N, h*A) after all Euler steps, without gradient."""
        keys, values = read
        turns = time_turns(noise.device) if self.turns is None else self.turns
        return flow_samples(noise, keys, values, self.in_a_row, turns, self.layout.hidden, steps)

    def at(self, x: Tensor, time: Tensor, memory: Memory) -> Tensor:
        """x (B, N, h*A), its `time` (B, N, W) or (1, 1, W) -> predicted clean chunk (B, N, h*A)."""
        y = self.chunk_in(x.to(self.chunk_in.weight.dtype)) + time
        for block, (k, v) in zip(self.blocks, memory, strict=True):
            y = block(y, k, v)
        return self.out(self.norm(y))


class ExpertBlock(nn.Module):
    """y + cross-attention(norm(y), tokens), then y + mlp(norm(y)); samples do not see each other."""

    def __init__(self, token_width: int, width: int):
        super().__init__()
        self.heads = heads_of(width)
        self.key_value = linear(token_width, 2 * width)
        self.attention_norm, self.mlp_norm = RMSNorm(width), RMSNorm(width)
        self.query, self.out = linear(width, width), linear(width, width)
        self.mlp = SwiGLU(width)

    def memory(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, S, D) -> keys of unit scale and values (B, H, S, d)."""
        k, v = self.key_value(tokens).chunk(2, dim=-1)
        return unit_scale(split_heads(k, self.heads)), split_heads(v, self.heads)

    def forward(self, y: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, N, W) -> (B, N, W)."""
        of_heads = self.query(self.attention_norm(y)).unflatten(-1, (self.heads, -1))  # (B, N, H, d)
        q = unit_scale(of_heads).transpose(1, 2)  # after the norm: its result stays in the order that `out` reads
        y = y + self.out(attend_normalised(q, k, v))
        return y + self.mlp(self.mlp_norm(y))


def time_turns(device: torch.device) -> Tensor:
    """(F,) radians of 1/2 to 2^5 turns, evenly in the logarithm."""
    return torch.logspace(-1, 5, TURNS, base=2.0, device=device) * (2 * torch.pi)


def time_features(t: Tensor, turns: Tensor) -> Tensor:
    """t (...) in [0, 1], turns (F,) -> (..., 2F): sines and cosines of as many turns."""
    angles = t.unsqueeze(-1) * turns
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


# ------------------------------------------------------------------------------------------ an expert that reads layers


class FlowExpertHead(FlowHead):
    """FlowHead's loss and integration with a larger expert."""

    reads_layers = True
    options = frozenset({"blocks"})

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        ActionHead.__init__(self)
        self.shape = (config.chunk, action_dim)
        self.steps = config.flow_steps
        self.expert = LayeredExpert(token_width, config.blocks or max(2, depth // 4), *self.shape)


class LayeredExpert(AnyExpert):
    """h tokens per chunk; samples do not see each other and nothing is written back.

    In every block the h tokens attend to each other, then to the hidden states of one layer of the backbone: the first
    block to an early layer, the last block to the last. pi0's expert shares the attention of the language model layer
    by layer; here it has attention of its own, narrower, so that a critic, other heads and N samples need one pass of
    the backbone and no cache of it.
    """

    def __init__(self, token_width: int, blocks: int, chunk: int, action_dim: int):
        super().__init__()
        width = half_width(token_width)
        self.shape = (chunk, action_dim)
        self.action_in = linear(action_dim, width)
        self.time_in = linear(2 * TURNS, width, bias=True)
        self.place = nn.Parameter(torch.randn(chunk, width) * 0.5)
        self.blocks = nn.ModuleList(LayeredBlock(token_width, width) for _ in range(blocks))
        self.norm = RMSNorm(width)
        self.out = linear(width, action_dim, bias=True, scale=0.1)

    def memory(self, tokens: Tensor) -> Memory:
        """Keys and values for every block: of tokens (B, L, S, D) a layer each, of (B, S, D) the same for all."""
        if tokens.dim() == 3:
            return [block.memory(tokens) for block in self.blocks]
        total, layers = len(self.blocks), tokens.shape[1]
        return [block.memory(tokens[:, -(-layers * (i + 1) // total) - 1]) for i, block in enumerate(self.blocks)]

    def at(self, x: Tensor, time: Tensor, memory: Memory) -> Tensor:
        """x (B, N, h*A), its `time` (B, N, W) or (1, 1, W) -> predicted clean chunk (B, N, h*A)."""
        dtype = self.action_in.weight.dtype
        y = self.action_in(rearrange(x.to(dtype), "B N (h A) -> B N h A", h=self.shape[0]))  # (B, N, h, W)
        y = y + time.unsqueeze(2) + self.place.to(dtype)
        for block, (k, v) in zip(self.blocks, memory, strict=True):
            y = block(y, k, v)
        return rearrange(self.out(self.norm(y)), "B N h A -> B N (h A)")


class LayeredBlock(nn.Module):
    """Self-attention over the steps of a chunk, then a block of the small expert (cross-attention to tokens, MLP)."""

    def __init__(self, token_width: int, width: int):
        super().__init__()
        self.token_norm, self.own_norm = RMSNorm(token_width), RMSNorm(width)
        self.own = SelfAttention(width)
        self.block = ExpertBlock(token_width, width)

    def memory(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, S, D) -> keys and values (B, H, S, d). Inner layers of a language model are not normalised."""
        return self.block.memory(self.token_norm(tokens))

    def forward(self, y: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, N, h, W) -> (B, N, h, W)."""
        batch, n, _, _ = y.shape
        chunks = rearrange(y, "B N h W -> (B N) h W")
        chunks = chunks + self.own(self.own_norm(chunks))[0]
        steps = self.block(rearrange(chunks, "(B N) h W -> B (N h) W", B=batch), k, v)
        return rearrange(steps, "B (N h) W -> B N h W", N=n)
