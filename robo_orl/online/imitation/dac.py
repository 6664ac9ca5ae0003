"""Discriminator actor-critic (Kostrikov et al. 2019, arXiv:1809.02925): a discriminator against the whole replay.

    r(s, a) = log D - log(1 - D),  the logit, cut at `clip` and divided by it

The replay is not corrected for being off-policy (section 4.1). A terminal leads to an absorbing state (section 4.2),
which has its own point and its own reward, for ever: without it a positive reward would keep episodes from ending, and
a negative one would end them. Its value r_absorbing / (1 - gamma) is written out; the authors learn it as a state like
any other. As in their code an episode that ended has one absorbing state in the discriminator's batches.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from robo_orl.online.imitation.discriminator import Discriminator, DiscriminatorParams


class DiscriminatorActorCritic(Discriminator):
    """A discriminator against the replay, with absorbing states and a gradient penalty."""

    absorbing = True

    class Params(DiscriminatorParams):
        """The authors' penalty."""

        penalty: float = Field(10.0, ge=0, description="of the gradient's distance from 1, between the two sides")

    def reward(self, points: Tensor) -> Tensor:
        """Between -1 and 1."""
        top = self.params.clip
        return self.logits(points).clamp(-top, top) / top
