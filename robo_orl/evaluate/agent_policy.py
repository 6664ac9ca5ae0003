"""A trained agent as the policy of an evaluation: one batched call, in which no episode depends on another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from robo_orl.base.errors import RunError
from robo_orl.base.rng import derive_seed
from robo_orl.base.types import Observation
from robo_orl.data.hdf5_schema import IMAGE
from robo_orl.rollout.episodes import PolicyQuery


class EpisodeDraws:
    """The random numbers of one decision in each of B episodes, with the interface of `rng.Draws`.

    An episode's numbers are a function of (seed, episode, decision, stream): who else is in the batch, how many
    processes simulate and which episodes a crash repeated change nothing.
    """

    def __init__(self, seed: int, queries: list[PolicyQuery], device: torch.device | str, dtype: torch.dtype):
        self.seed, self.queries, self.device, self.dtype = seed, queries, device, dtype
        self._generators: dict[str, list[torch.Generator]] = {}

    def _rows(self, draw: Callable[..., Tensor], stream: str, shape: tuple[int, ...]) -> Tensor:
        """shape[0] rows, an equal share for each episode, in the order of the batch."""
        share, rest = divmod(shape[0], len(self.queries))
        if rest:
            raise ValueError(f"{shape[0]} rows cannot be shared by {len(self.queries)} episodes")
        if stream not in self._generators:
            self._generators[stream] = [
                torch.Generator().manual_seed(derive_seed(self.seed, query.episode, query.decision, stream))
                for query in self.queries
            ]
        rows = [draw(share, *shape[1:], generator=generator) for generator in self._generators[stream]]
        return torch.cat(rows).to(self.device, self.dtype)

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal numbers of `shape`."""
        return self._rows(torch.randn, stream, shape)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of `shape`."""
        return self._rows(torch.rand, stream, shape)


# Rounding of a matrix product depends on the size of the batch, and contacts amplify a last bit into another episode.
# In float64 those differences are far below the grid on which actions are sent, so they vanish.
ACTION_GRID = 2.0**-16
FLOAT64_PARAMETERS = 300_000_000  # larger policies act in the precision they were trained in


class AgentPolicy:
    """A trained agent as the policy of `Rollouts`: `execute` actions (c, A) a decision, within [-1, 1].

    dtype: default float64, and float32 for agents of more than FLOAT64_PARAMETERS. instructions: ids and mask (N, L) of
    the sentences that the policy reads, in episode i the one number i modulo N.
    """

    def __init__(
        self,
        agent: nn.Module,
        execute: int,
        seed: int,
        dtype: torch.dtype | None = None,
        instructions: tuple[Tensor, Tensor] | None = None,
    ):
        self.device = next(agent.parameters()).device
        small = sum(p.numel() for p in agent.parameters()) <= FLOAT64_PARAMETERS
        self.dtype = dtype or (torch.float64 if small else torch.float32)
        self.agent = agent.to(self.dtype).eval()
        self.execute, self.seed, self.instructions = execute, seed, instructions

    def __call__(self, queries: list[PolicyQuery]) -> np.ndarray:
        """(B, c, A) for B episodes. Raises RunError where an action is not finite."""
        observation = self._observation(queries)
        draws = EpisodeDraws(self.seed, queries, self.device, self.dtype)
        with torch.inference_mode():
            chunks = self.agent.act(observation, draws)  # (B, h, A)
        actions = chunks[:, : self.execute].double().cpu().numpy()
        if not np.isfinite(actions).all():
            raise RunError("The policy's actions are not finite: training has diverged.")
        return np.clip(np.round(actions / ACTION_GRID) * ACTION_GRID, -1.0, 1.0)

    def _observation(self, queries: list[PolicyQuery]) -> Observation:
        """The observations of B episodes, per key one tensor: vectors in `dtype`, pictures (B, ..., 3, H, W) uint8."""
        low_dim, images = {}, {}
        for key in queries[0].obs:
            values = torch.from_numpy(np.stack([query.obs[key] for query in queries])).to(self.device)
            if values.dtype == torch.uint8:
                images[key.removesuffix(IMAGE)] = rearrange(values, "... h w c -> ... c h w")
            else:
                low_dim[key] = values.to(self.dtype)
        if self.instructions is None:
            return Observation(low_dim, images)
        rows = torch.tensor([query.episode % len(self.instructions[0]) for query in queries])
        return Observation(low_dim, images, *(table[rows].to(self.device) for table in self.instructions))
