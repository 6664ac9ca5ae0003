"""What the language model reads, laid out: words, images, proprioception and action queries in one sequence.

Words and images keep the order, positions and sight that the model was trained with (causal, or two-way for PaliGemma).
What a policy adds comes after them in groups: it sees everything before it and the whole of its own group, and nothing
before it sees it. So proprioception does not change how a sentence is read, and action queries are decoded in parallel
(Kim et al. 2025, arXiv:2502.19645) without being written back into what a critic reads.
B batch, S tokens, D width, n tokens of a piece.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

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
            # A padded place shows the last word again: whoever reads the tokens needs no mask.
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
