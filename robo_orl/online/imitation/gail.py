"""GAIL's reward (Ho and Ermon 2016, arXiv:1606.03476), with D the probability that a frame is a demonstration's.

    D = argmax E_demonstrations[ log D ] + E_newest episodes[ log(1 - D) ]
    r = -log(1 - D),  cut at the logit `clip` and divided by its largest value

D is compared with the newest episodes alone, as close to on-policy as a replay gets. The authors climb r with TRPO,
here a critic does. r is never negative: whoever ends an episode early loses what would follow, a success too.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from robo_orl.online.imitation.discriminator import Discriminator, DiscriminatorParams


class Gail(Discriminator):
    """A discriminator against the newest episodes."""

    class Params(DiscriminatorParams):
        """Without a gradient penalty, as the authors have it."""

        recent: int = Field(16, ge=1, description="newest episodes that it is compared with")

    def reward(self, points: Tensor) -> Tensor:
        """Between 0 and 1."""
        top = self.params.clip
        return F.softplus(self.logits(points).clamp(-top, top)) / math.log1p(math.exp(top))

    def newest(self, episodes: int) -> int:
        """The first of the newest `recent` ones."""
        return max(0, episodes - self.params.recent)
