"""A discriminator of demonstrations (1) and collected episodes (0), one update at a time.

Its optimum is D = p / (p + q), with p and q the densities of the two: the logit is the log of their ratio.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from robo_orl.base.seeds import derive_seed, raw_bits
from robo_orl.config import ImitationConfig, Strict
from robo_orl.online.imitation.points import PointScale, Side
from robo_orl.online.imitation.reward import ImitationReward
from robo_orl.rewards.discriminator import cross_entropy, point_network, steepness

MOMENTS = ("exp_avg", "exp_avg_sq")


class DiscriminatorParams(Strict):
    """The network and its training."""

    hidden: int = Field(256, ge=1)
    lr: float = Field(3e-4, gt=0)
    batch: int = Field(256, ge=2, description="half of it from the demonstrations")
    penalty: float = Field(0.0, ge=0, description="of the gradient's distance from 1, between the two sides")
    clip: float = Field(5.0, gt=0, description="the log ratio is cut here")
    actions: bool = Field(True, description="false: the discriminator sees observations alone")


class Discriminator(ImitationReward):
    """A network of points with its own Adam, whose moments are buffers: its state dict is all of it."""

    class Params(DiscriminatorParams):
        """As given."""

    def __init__(self, config: ImitationConfig, scale: PointScale, seed: int):
        super().__init__(config, scale, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "online discriminator"))
            self.network = point_network(scale.width, self.params.hidden)
        for number, parameter in enumerate(self.network.parameters()):
            for moment in MOMENTS:
                self.register_buffer(f"{moment}_{number}", torch.zeros_like(parameter))
        self.register_buffer("updates", torch.zeros(1))

    def begin(self, shown: Side) -> None:
        """The control at random has logits of mean 0 and standard deviation 1 on the demonstrations: it says something
        of every frame, and nothing of the task."""
        if self.config.learns:
            return
        with torch.no_grad():
            logits = self.logits(self.scale.points(shown.arrays, shown.frames))
            last = self.network[-1]
            last.weight /= logits.std()
            last.bias.copy_((last.bias - logits.mean()) / logits.std())

    def learn(self, shown: Side, collected: Side, seed: int, step: int) -> dict[str, Tensor]:
        """One step of Adam on the cross entropy and the gradient's penalty."""
        half = self.params.batch // 2
        bits = raw_bits(3 * half, seed, step, "imitation")
        good = self.scale.points(shown.arrays, shown.draw(bits[:half]))
        own = self.scale.points(collected.arrays, collected.draw(bits[half : 2 * half]))
        logits = self.logits(torch.cat((good, own)))
        loss = cross_entropy(logits[:half], logits[half:])
        if self.params.penalty:
            share = torch.from_numpy(fractions(bits[2 * half :]))[:, None]
            loss = loss + self.params.penalty * steepness(self.logits, share * good + (1 - share) * own)
        parameters = list(self.network.parameters())
        self._step(parameters, torch.autograd.grad(loss, parameters))
        right = 0.5 * ((logits[:half] > 0).float().mean() + (logits[half:] < 0).float().mean())
        return {"imitation/loss": loss.detach(), "imitation/accuracy": right}

    def logits(self, points: Tensor) -> Tensor:
        """(M, W) -> (M,)."""
        return self.network(self._seen(points))[:, 0]

    def _seen(self, points: Tensor) -> Tensor:
        """The points (M, W), without their actions where it sees none."""
        if self.params.actions:
            return points
        seen = points.clone()
        seen[:, -1 - self.scale.action_dim : -1] = 0.0
        return seen

    @torch.no_grad()
    def _step(self, parameters: list[nn.Parameter], gradients: tuple[Tensor, ...]) -> None:
        """Adam (Kingma and Ba 2015, algorithm 1), with betas 0.9 and 0.999."""
        self.updates += 1
        count = float(self.updates)
        for number, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
            first, second = (getattr(self, f"{moment}_{number}") for moment in MOMENTS)
            first.lerp_(gradient, 0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            scale = (second / (1 - 0.999**count)).sqrt_().add_(1e-8)
            parameter.addcdiv_(first, scale, value=-self.params.lr / (1 - 0.9**count))


def fractions(bits: np.ndarray) -> np.ndarray:
    """(M,) float32 in [0, 1) by raw random bits (M,) uint64: their first 24."""
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
