"""The gate of SwiGLU has a backward of its own; it gives what autograd gives for the plain formula."""

import pytest
import torch
import torch.nn.functional as F

from robo_orl.cost.tensor_memory import TensorBytes
from robo_orl.models.layers import EPS, Block, gated, split_heads, swiglu_hidden

SHAPES = [(128, 10, 96), (16, 7, 128), (3, 1, 448)]


def output_and_gradient(gate, gate_up):
    """The gate's output, and the gradient of a sum that weighs every number of it differently."""
    leaf = gate_up.clone().requires_grad_()
    output = gate(leaf)
    torch.manual_seed(1)
    return output, *torch.autograd.grad(output, leaf, torch.randn(output.shape))


def plain_gated(gate_up):
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


@pytest.mark.parametrize(("batch", "tokens", "width"), SHAPES)
def test_the_gate_is_the_plain_one_bit_for_bit(batch, tokens, width):
    gate_up = torch.randn(batch, tokens, 2 * swiglu_hidden(width))
    ours, plain = output_and_gradient(gated, gate_up), output_and_gradient(plain_gated, gate_up)
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


def plain_block(block, x):
    """A Block written out with torch's own operations."""
    attention, mlp = block.attention, block.mlp
    q, k, v = (split_heads(part, attention.heads) for part in attention.qkv(block.attention_norm(x)).chunk(3, -1))
    q, k = (F.rms_norm(part, part.shape[-1:], eps=EPS) for part in (q, k))
    x = x + attention.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    return x + mlp.down(plain_gated(mlp.gate_up(block.mlp_norm(x))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_block_is_the_one_written_out(dtype):
    torch.manual_seed(0)
    block, x = Block(96, 0.5).to(dtype), torch.randn(8, 4, 96, dtype=dtype)
    assert torch.equal(block(x)[0], plain_block(block, x))


def test_a_block_keeps_a_tenth_less_for_its_backward():
    torch.manual_seed(0)
    block, x = Block(96, 0.5), torch.randn(64, 10, 96, requires_grad=True)
    kept = []
    for way in (lambda x: block(x)[0], lambda x: plain_block(block, x)):
        with TensorBytes([x, *block.parameters()]) as counter:
            before, out = counter.current, way(x)
            kept.append(counter.current - before)
        del out
    assert kept[0] < 0.9 * kept[1]
