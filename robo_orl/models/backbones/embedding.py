"""The input of the native Transformer as tokens: vectors, pictures and a sentence.

On a CPU the cost of an observation is the number of its tokens times the backbone's parameters. Each picture therefore
becomes few tokens (3 x 3 of 84 pixels by default) after convolutions that do the fine work on small channels, and a
sentence becomes four, however long it is. A sentence is read as its UTF-8 bytes: nothing has to be downloaded.
B batch, k history, C cameras, n tokens per picture, S tokens, D width, L bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from robo_orl.base.errors import UsageError
from robo_orl.config import BackboneConfig, ObservationConfig
from robo_orl.models.cpu_kernels import stands_for_a_gpu
from robo_orl.models.layers import Block, Readout, RMSNorm, linear, parameters_of_block

INSTRUCTION_TOKENS = 4
KERNEL = 3
PADDING = 0
VOCABULARY = 257  # padding and 256 bytes
MAX_BYTES = 128


class LowDimTokens(nn.Module):
    """One token per low-dim key: a linear map of its vector, whose bias identifies the key."""

    def __init__(self, spec: dict[str, int], width: int):
        super().__init__()
        self.embed = nn.ModuleDict({key: linear(size, width, bias=True) for key, size in spec.items()})
        for layer in self.embed.values():
            nn.init.normal_(layer.bias, std=0.5)

    def forward(self, low_dim: dict[str, Tensor]) -> Tensor:
        """per key (..., D_key) -> (..., keys, D), keys in the order of the specification."""
        values = [low_dim[key] for key in self.embed]
        dtype = next(iter(self.embed.values())).weight.dtype
        if values[0].dtype != dtype:  # all keys by one cast
            values = torch.cat(values, dim=-1).to(dtype).split([value.shape[-1] for value in values], dim=-1)
        tokens = [layer(value) for layer, value in zip(self.embed.values(), values, strict=True)]
        return torch.stack(tokens, dim=-2)

    @staticmethod
    def parameters_for(spec: dict[str, int], width: int) -> int:
        """Parameters held."""
        return sum((values + 1) * width for values in spec.values())


class ImageTokens(nn.Module):
    """A stem per camera; a learned place for each token of a picture, and one for each camera."""

    def __init__(self, width: int, backbone: BackboneConfig, observation: ObservationConfig):
        super().__init__()
        self.size = observation.image_size
        side = grid_side(backbone, self.size)
        make = ConvStem if backbone.stem == "conv" else PatchStem
        self.stems = nn.ModuleDict({camera: make(width, backbone.patch) for camera in observation.cameras})
        self.place = nn.Parameter(torch.randn(side**2, width) * 0.5)
        self.camera = nn.Parameter(torch.randn(len(observation.cameras), width) * 0.5)

    def forward(self, images: dict[str, Tensor]) -> Tensor:
        """per camera (..., 3, H, W) uint8 -> (..., C * n, D)."""
        tokens = [self._tokens(stem, images[camera]) for camera, stem in self.stems.items()]
        placed = torch.stack(tokens, dim=-3) + (self.place + self.camera[:, None]).to(tokens[0].dtype)  # (..., C, n, D)
        return rearrange(placed, "... C n D -> ... (C n) D")

    def _tokens(self, stem: nn.Module, pictures: Tensor) -> Tensor:
        """(..., 3, H, W) -> (..., n, D)."""
        x = rearrange(pictures, "... rgb H W -> (...) rgb H W")
        x = x.to(next(stem.parameters()).dtype) / 127.5 - 1.0
        return stem(x).unflatten(0, pictures.shape[:-3])

    @staticmethod
    def parameters_for(width: int, backbone: BackboneConfig, observation: ObservationConfig) -> int:
        """Parameters held."""
        cameras, places = len(observation.cameras), grid_side(backbone, observation.image_size) ** 2
        make = ConvStem if backbone.stem == "conv" else PatchStem
        return cameras * (make.parameters_for(width, backbone.patch) + width) + places * width


def grid_side(backbone: BackboneConfig, size: int) -> int:
    """Tokens per side of a picture; UsageError where the stem cannot make a whole grid of it."""
    if backbone.stem == "conv" and backbone.patch & (backbone.patch - 1):
        raise UsageError(f"The conv stem halves pictures: backbone.patch must be a power of two, not {backbone.patch}.")
    if backbone.stem == "patch" and size % backbone.patch:
        raise UsageError(
            f"Pictures of {size} pixels do not divide into patches of {backbone.patch}: set backbone.patch to a "
            "divisor, or backbone.stem to conv."
        )
    return -(-size // backbone.patch)


class PatchStem(nn.Module):
    """One linear map per patch (Dosovitskiy et al. 2021, ViT)."""

    def __init__(self, width: int, patch: int):
        super().__init__()
        self.project = _conv(3, width, patch, stride=patch, padding=0, gain=1.0)
        self.norm = RMSNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(M, 3, H, W) in [-1, 1] -> (M, n, D)."""
        return self.norm(rearrange(self.project(x), "M D rows columns -> M (rows columns) D"))

    @staticmethod
    def parameters_for(width: int, patch: int) -> int:
        """Parameters held."""
        return 3 * patch**2 * width + 2 * width


class ConvStem(nn.Module):
    """Stride-2 convolutions down to the grid of tokens (Xiao et al. 2021: early convolutions).

    Most of the arithmetic is on 16 and 32 channels: 10 MFLOP for a picture of 84 pixels at width 96, a fifth of what a
    patch of 14 pixels costs in the backbone (36 tokens). No batch statistics: rows of a batch do not see each other.
    """

    def __init__(self, width: int, patch: int):
        super().__init__()
        sizes = channels(width, patch)
        pairs = list(zip((3, *sizes[:-1]), sizes, strict=True))
        gains = [2.0] * (len(pairs) - 1) + [1.0]
        self.convs = nn.ModuleList(
            _conv(inputs, outputs, KERNEL, stride=2, padding=1, gain=gain)
            for (inputs, outputs), gain in zip(pairs, gains, strict=True)
        )
        self.norm = RMSNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(M, 3, H, W) in [-1, 1] -> (M, n, D)."""
        *first, last = self.convs
        for conv in first:
            x = nn.functional.relu(conv(x))
        return self.norm(rearrange(last(x), "M D rows columns -> M (rows columns) D"))

    @staticmethod
    def parameters_for(width: int, patch: int) -> int:
        """Parameters held."""
        sizes = channels(width, patch)
        convs = sum((KERNEL**2 * i + 1) * o for i, o in zip((3, *sizes[:-1]), sizes, strict=True))
        return convs + width


def channels(width: int, patch: int) -> list[int]:
    """Channels after each convolution: they double up to the width, from no less than 16 and then 32."""
    layers = patch.bit_length() - 1
    return [max(16 if i == 0 else 32, width >> (layers - 1 - i)) for i in range(layers - 1)] + [width]


def _conv(inputs: int, outputs: int, kernel: int, stride: int, padding: int, gain: float) -> nn.Conv2d:
    """A convolution with truncated-normal weights of variance gain / fan-in, and zero bias."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding)
    nn.init.trunc_normal_(layer.weight, std=(gain / (inputs * kernel**2)) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


class InstructionTokens(nn.Module):
    """A sentence of bytes -> four tokens: one masked block over the bytes, then four readouts.

    A batch holds few different sentences: each is read once, so that language costs next to nothing. `sentences` is the
    number of those that training draws from, where it is known: a GPU then reads as many rows in every step.
    """

    def __init__(self, width: int):
        super().__init__()
        self.sentences: int | None = None
        self.bytes = nn.Embedding(VOCABULARY, width)
        nn.init.normal_(self.bytes.weight, std=0.7)
        self.place = nn.Parameter(torch.randn(MAX_BYTES, width) * 0.7)
        self.block = Block(width, residual=0.5**0.5)
        self.norm = RMSNorm(width)
        self.readout = Readout(width, width, INSTRUCTION_TOKENS)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (B, L) int64, mask (B, L) bool -> (B, 4, D)."""
        different, row = self._read_once(torch.where(mask, ids, PADDING))  # (U, L), (B,)
        keys = rearrange(different != PADDING, "U L -> U 1 1 L")
        x = self.bytes(different) + self.place[: ids.shape[1]]
        x, _ = self.block(x, mask=keys)
        return self.readout(self.norm(x), mask=keys)[row]

    def _read_once(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """words (B, L) -> the rows to read (U, L) and, for each of the batch, its row among them (B,)."""
        if words.device.type == "cpu" and not (torch.compiler.is_compiling() or stands_for_a_gpu()):
            return torch.unique(words, dim=0, return_inverse=True)
        known = self.sentences if self.training and self.sentences else len(words)
        return different_rows(words, min(known, len(words)))

    @staticmethod
    def parameters_for(width: int) -> int:
        """Parameters held."""
        return (
            (VOCABULARY + MAX_BYTES) * width
            + parameters_of_block(width)
            + width
            + Readout.parameters_for(width, width, INSTRUCTION_TOKENS)
        )


def expect_sentences(agent: nn.Module, count: int) -> None:
    """Tell an agent's backbones of how many sentences the batches of its training are made."""
    for module in agent.modules():
        if isinstance(module, InstructionTokens):
            module.sentences = count


MULTIPLIER = 6364136223846793005  # Knuth's, of MMIX: odd, so that no word is lost modulo 2^64


def different_rows(words: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The different rows of words (B, L), no more than `most`, as (most, L), and where each row is among them (B,).

    `torch.unique` without its wait for the count, which a processor that goes ahead of its device must not have. Rows
    are compared by a polynomial modulo 2^64; places that are left over repeat the first row, and nothing reads them.
    """
    powers = torch.full_like(words[0], MULTIPLIER).cumprod(0)
    key = (words * powers).sum(-1)  # (B,)
    number = torch.arange(len(words), device=words.device)
    first = torch.where(key[:, None] == key, number, len(words)).amin(1)  # (B,): the first row with the same words
    place = (first == number).cumsum(0)[first] - 1
    return words[:1].repeat(most, 1).index_put((place,), words), place


def byte_tokens(sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
    """N sentences -> ids (N, L) int64, byte b as b + 1, and mask (N, L) bool, False where padded; L of the longest.

    Raises UsageError for an empty sentence and for one of more than MAX_BYTES bytes, which would have to be cut.
    """
    encoded = [sentence.encode() for sentence in sentences]
    for sentence, text in zip(sentences, encoded, strict=True):
        if not text:
            raise UsageError("The task has no instruction, and this policy reads it: give the task an 'instruction'.")
        if len(text) > MAX_BYTES:
            raise UsageError(
                f"The instruction '{sentence[:40]}...' has {len(text)} bytes, and the native tokeniser takes "
                f"{MAX_BYTES} at most: shorten it."
            )
    ids = torch.full((len(encoded), max(map(len, encoded))), PADDING, dtype=torch.int64)
    for row, text in zip(ids, encoded, strict=True):
        row[: len(text)] = torch.tensor(list(text)) + 1
    return ids, ids != PADDING
