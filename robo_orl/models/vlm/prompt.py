"""Instructions as token ids, and the text around images and instruction that each model was trained with.

With weights, text is cut by the model's own tokeniser, from the same folder. A model with random weights has none and
needs none: its text is UTF-8 bytes, mapped to ids of its vocabulary, beside the special tokens of the published one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.models.vlm.architectures import Architecture, Prompt, architecture

BYTE_OFFSET = 16  # ids below are padding, begin and end in every vocabulary here
LONGEST = 128  # tokens of an instruction: what is longer is a mistake and not an instruction

Encode = Callable[[str], list[int]]


def byte_encoder(model: Architecture) -> Encode:
    """Text -> ids: special tokens by name, everything else byte by byte."""
    special = model.special_tokens
    split = re.compile("(" + "|".join(re.escape(token) for token in special) + ")")

    def encode(text: str) -> list[int]:
        parts = (part for part in split.split(text) if part)
        return [i for part in parts for i in ([special[part]] if part in special else _bytes(part))]

    return encode


def _bytes(text: str) -> list[int]:
    return [BYTE_OFFSET + byte for byte in text.encode()]


@cache
def pretrained_encoder(weights: str, download: bool, size: str) -> Encode:
    """Text -> ids of the tokeniser that lies beside the weights; UsageError where there is none or another model's."""
    from transformers import AutoTokenizer

    expected_of = architecture(size)
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights, local_files_only=not download)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"backbone.weights {weights} has no tokeniser here that can be loaded ({reason}).") from None
    for token, expected in expected_of.special_tokens.items():
        number = tokenizer.convert_tokens_to_ids(token)
        if number != expected:
            raise UsageError(
                f"The tokeniser of {weights} gives '{token}' the id {number}, {size} has {expected}: "
                "weights and backbone.size are of different models."
            )
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def encoder(size: str, weights: str | None, download: bool) -> Encode:
    """Text -> ids: the model's own tokeniser where it has weights, bytes where these are random."""
    return byte_encoder(architecture(size)) if weights is None else pretrained_encoder(weights, download, size)


def tokenise(encode: Encode, texts: list[str]) -> tuple[Tensor, Tensor]:
    """N instructions -> ids (N, L) int64, padded at the end, and their mask (N, L) bool.

    Raises UsageError for an instruction of more than LONGEST tokens: nothing is cut silently.
    """
    rows = [encode(text) for text in texts]
    longest = max(rows, key=len, default=[])
    if len(longest) > LONGEST:
        text = texts[rows.index(longest)]
        raise UsageError(f"The instruction '{text[:40]}...' has {len(longest)} tokens, {LONGEST} are read: shorten it.")
    ids = torch.zeros(len(rows), len(longest), dtype=torch.int64)
    mask = torch.zeros(len(rows), len(longest), dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[i, : len(row)] = True
    return ids, mask


@dataclass(frozen=True)
class PromptIds:
    """The text around images and instruction as ids: head, (before, after) every image, middle, tail."""

    head: list[int]
    before: list[int]
    after: list[int]
    middle: list[int]
    tail: list[int]


def prompt_ids(prompt: Prompt, encode: Encode) -> PromptIds:
    """The pieces of a prompt, each cut on its own: special tokens or line ends stand at every seam."""
    before, after = (encode(text) if text else [] for text in prompt.image)
    head, middle, tail = (encode(text) if text else [] for text in (prompt.head, prompt.middle, prompt.tail))
    return PromptIds(head, before, after, middle, tail)


WORDS, STATE, QUERIES = range(3)  # groups


@dataclass
class Sequence:
    """Pieces put one after the other. `positions` count from zero and stand still over padding."""

    group: list[int] = field(default_factory=list)  # of every token
    kept: list[Tensor] = field(default_factory=list)  # (B, n) or (n,): where the tokens that are read out stand
    image: list[bool] = field(default_factory=list)
    _embeds: list[Tensor] = field(default_factory=list)
    _positions: list[Tensor] = field(default_factory=list)
    _valid: list[Tensor] = field(default_factory=list)
    _next: Tensor | int = 0  # the position of what follows: (B, 1), or one number while rows are alike

    def add(
        self,
        embeds: Tensor,
        group: int = WORDS,
        places: Tensor | None = None,
        advance: int | None = None,
        valid: Tensor | None = None,
        read: bool = True,
        image: bool = False,
    ) -> None:
        """embeds (B, n, D). places (3, n): positions from here on, default one after the other. advance: how far on the
        next piece begins. valid (B, n): False where padded, at the end of the piece. read: whether it is read out."""
        batch, n, _ = embeds.shape
        device = embeds.device
        if n == 0:
            return
        places = torch.arange(n).expand(3, -1) if places is None else places
        first = self._next if isinstance(self._next, Tensor) else torch.full((batch, 1), self._next, device=device)
        self._positions.append(first + places.to(device)[:, None])  # (3, B, n)
        if read:
            at = len(self.group) + torch.arange(n, device=device)
            # A padded place repeats the last word: readers of the tokens need no mask.
            self.kept.append(at if valid is None else torch.minimum(at, len(self.group) + valid.sum(1, True) - 1))
        self.group += [group] * n
        self.image += [image] * n
        self._embeds.append(embeds)
        self._valid.append(torch.ones(batch, n, dtype=torch.bool, device=device) if valid is None else valid)
        self._next = self._next + (valid.sum(1, True) if valid is not None else n if advance is None else advance)

    @property
    def embeds(self) -> Tensor:
        """(B, S, D)."""
        return torch.cat(self._embeds, dim=1)

    @property
    def positions(self) -> Tensor:
        """(3, B, S) int64."""
        return torch.cat(self._positions, dim=2)

    def allowed(self, two_way: bool) -> Tensor:
        """(B, 1, S, S) bool: whether a token (second last axis) sees another. two_way: words see each other too."""
        valid = torch.cat(self._valid, dim=1)  # (B, S)
        group = torch.tensor(self.group, device=valid.device)
        order = torch.arange(len(group), device=valid.device)
        same = (group[:, None] == group) & ((group >= STATE) | two_way)
        sight = (order[:, None] >= order) | same  # (S, S)
        return (sight & valid[:, None, :]).unsqueeze(1)

    def read_out(self, hidden: Tensor) -> Tensor:
        """hidden (B, S, D) -> the tokens that were marked to be read, (B, S', D)."""
        batch = len(hidden)
        index = torch.cat([at if at.dim() == 2 else at.expand(batch, -1) for at in self.kept], dim=1)
        return hidden.gather(1, index.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
