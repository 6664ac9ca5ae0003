"""Instructions as token ids, and the text around images and instruction that each model was trained with.

With weights, text is cut by the model's own tokeniser, from the same folder. A model with random weights has none and
needs none: its text is UTF-8 bytes, mapped to ids of its vocabulary, beside the special tokens of the published one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from robo_orl.errors import UsageError
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
        found = tokenizer.convert_tokens_to_ids(token)
        if found != expected:
            raise UsageError(
                f"The tokeniser of {weights} gives '{token}' the id {found}, {size} has {expected}: "
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
