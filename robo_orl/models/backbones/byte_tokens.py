"""The native backbone's tokeniser: a sentence is its UTF-8 bytes, so that nothing has to be downloaded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robo_orl.base.errors import UsageError

PADDING = 0
VOCABULARY = 257  # padding and 256 bytes
MAX_BYTES = 128


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
