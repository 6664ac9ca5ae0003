"""The whole sampler of a small flow expert as one operator: one kernel on a GPU (flow_kernel.py).

Step by step an Euler step is two dozen launches, whose arithmetic does not fill a card. It serves candidates that a
critic ranks in training, from a copy of the weights in one row that the step makes (engine/working_weights.py).

B batch, N samples, S tokens, n blocks, H heads, d head dim, W expert width, F hidden width, M numbers of a chunk (h A).
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from robo_orl.models.cpu_kernels import stands_for_a_gpu

SHARED_OF_H100 = 232_448


def shared_memory(device: torch.device) -> int:
    """Bytes of shared memory that a kernel may take; 0 where there is no Triton for the device."""
    if stands_for_a_gpu():
        return SHARED_OF_H100
    if device.type != "cuda" or torch.version.cuda is None or find_spec("triton") is None:
        return 0
    return torch.cuda.get_device_properties(device).shared_memory_per_block_optin


@torch.library.custom_op("robo_orl::flow_samples", mutates_args=())
def flow_samples(
    noise: Tensor, keys: Tensor, values: Tensor, weights: Tensor, turns: Tensor, hidden: int, steps: int
) -> Tensor:
    """Euler steps from noise (B, N, M), float32, to chunks (B, N, M), not cut to [-1, 1].

    keys of unit scale, values: (B, S, n, H, d), bf16, the last two axes dense. weights: as `Layout` has them, bf16.
    turns: (TURNS,) float32 radians. hidden: F.
    """
    from robo_orl.models.action_heads.flow_kernel import run  # here: Triton is not on every machine

    return run(noise, keys, values, weights, turns, hidden, steps)


@flow_samples.register_fake
def _shape(
    noise: Tensor, keys: Tensor, values: Tensor, weights: Tensor, turns: Tensor, hidden: int, steps: int
) -> Tensor:
    return torch.empty_like(noise)
