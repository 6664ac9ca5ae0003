"""The sampler's kernel run by Triton's interpreter, beside the modules that it stands for. Prints their differences.

The interpreter has to be chosen before Triton is imported: this is a process of its own.
"""

import copy
import json
import os
import sys

os.environ["TRITON_INTERPRET"] = "1"
import torch

from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads.flow import FlowHead
from robo_orl.models.action_heads.flow_layout import in_a_row


def differences(width: int, depth: int, pairs: int, samples: int, tokens: int, steps: int) -> dict[str, float]:
    """Root mean squares: of the kernel's chunks and the modules' in bf16, each against the modules' in float32."""
    torch.manual_seed(0)
    head = FlowHead(width, depth, 7, ActionHeadConfig(kind="flow"))
    for parameter in head.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter) * (parameter.dim() == 1)
    head.expert.out.weight.data *= 10  # as after training: chunks that differ
    seen, noise = torch.randn(pairs, tokens, width).bfloat16(), torch.randn(pairs, samples, *head.shape)
    narrow = copy.deepcopy(head).bfloat16()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        modules = narrow.integrate(seen, noise, steps)
        expert, layout = narrow.expert, narrow.expert.layout
        weights = dict(expert.named_parameters())
        expert.in_a_row = torch.empty(layout.total, dtype=torch.bfloat16)
        for name, part in zip(layout.names, in_a_row(expert.in_a_row, list(layout.names.values())), strict=True):
            part.copy_(weights[name].flatten())
        expert.key_values = torch.cat([block.key_value.weight for block in expert.blocks])
        kernel = expert.in_one_call(noise.flatten(2), narrow.read(seen), steps).view(noise.shape)
    with torch.no_grad():
        exact = head.integrate(seen.float(), noise, steps)
    error = {
        name: float((found - exact).square().mean().sqrt())
        for name, found in (("kernel", kernel), ("modules", modules))
    }
    return error | {"spread": float(exact.std())}


if __name__ == "__main__":
    print(json.dumps([differences(*shape) for shape in json.loads(sys.argv[1])]))
