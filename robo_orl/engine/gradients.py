"""A watch over which parameters receive gradients.

Under ZeRO-3 a trainable parameter that gets no gradient in a step is moved by the previous step's again, silently;
under ZeRO-1 and 2 its momentum goes on, in plain torch it is skipped. One rule removes the difference: every trainable
parameter takes part in every backward (a loss that leaves one out adds 0.0 * its sum).
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from robo_orl.base.errors import RunError


class GradientWatch:
    """Counts the trainable parameters that the last backward reached."""

    def __init__(self, agent: nn.Module):
        self._names = [name for name, p in agent.named_parameters() if p.requires_grad]
        self._missing = set(self._names)
        parameters = [p for p in agent.parameters() if p.requires_grad]
        self._hooks = [
            p.register_hook(partial(self._reached, name)) for name, p in zip(self._names, parameters, strict=True)
        ]

    def _reached(self, name: str, gradient: Tensor) -> None:
        self._missing.discard(name)

    def check(self, step: int) -> None:
        """RunError where the backward since the last check left a trainable parameter out."""
        missing, self._missing = self._missing, set(self._names)
        if missing:
            first = next(name for name in self._names if name in missing)
            raise RunError(
                f"{len(missing)} trainable parameters got no gradient at step {step}, {first} among them; engines "
                "treat that differently (ZeRO-3 repeats the last one), so the objective must add 0.0 * its sum."
            )

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()
