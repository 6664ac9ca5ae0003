"""A block's elementwise parts have a backward of their own; it gives what autograd gives for the plain formula."""

import pytest
import torch
import torch.nn.functional as F

from robo_orl.cost.tensor_memory import TensorBytes
from robo_orl.models.cpu_kernels import gated, normed_beside, unit_heads
from robo_orl.models.layers import EPS, Block, RMSNorm, split_heads, swiglu_hidden

SHAPES = [(128, 10, 96), (16, 7, 128), (3, 1, 448)]


def gradients(outputs, inputs):
    """Gradients of a sum that weighs every number differently."""
    torch.manual_seed(1)
    return torch.autograd.grad(outputs, inputs, [torch.randn(out.shape) for out in outputs])


def both(plain, fused, *inputs):
    """Outputs and gradients of the two ways."""
    found = []
    for way in (plain, fused):
        leaves = [t.clone().requires_grad_() for t in inputs]
        outputs = way(*leaves)
        found.append([*outputs, *gradients(outputs, leaves)])
    return zip(*found, strict=True)


def plain_gated(gate_up):
    gate, up = gate_up.chunk(2, dim=-1)
    return (F.silu(gate) * up,)


@pytest.mark.parametrize(("batch", "tokens", "width"), SHAPES)
def test_the_gate_is_the_plain_one_bit_for_bit(batch, tokens, width):
    gate_up = torch.randn(batch, tokens, 2 * swiglu_hidden(width))
    assert all(torch.equal(a, b) for a, b in both(plain_gated, lambda x: (gated(x),), gate_up))


@pytest.mark.parametrize(("batch", "tokens", "width"), SHAPES)
def test_a_residual_branch_begins_as_the_plain_one_bit_for_bit(batch, tokens, width):
    def plain(x, weight, mix):
        x = x * 1.5  # three gradients meet at what another operation made, and their order decides the last bit
        return (x + torch.tanh(F.rms_norm(x, (width,), weight, EPS) @ mix),)

    def fused(x, weight, mix):
        stream, normed = normed_beside(x * 1.5, weight, EPS)
        return (stream + torch.tanh(normed @ mix),)

    inputs = torch.randn(batch, tokens, width), torch.randn(width), torch.randn(width, width)
    assert all(torch.equal(a, b) for a, b in both(plain, fused, *inputs))


@pytest.mark.parametrize(("batch", "tokens", "width"), SHAPES)
def test_heads_of_unit_scale_are_the_plain_ones_bit_for_bit(batch, tokens, width):
    heads = width // 32

    def plain(qkv):
        q, k, v = (split_heads(part, heads) for part in qkv.chunk(3, dim=-1))
        return (F.scaled_dot_product_attention(*(F.rms_norm(x, (32,), eps=EPS) for x in (q, k)), v),)

    def fused(qkv):
        return (F.scaled_dot_product_attention(*unit_heads(qkv, heads, EPS)),)

    assert all(torch.equal(a, b) for a, b in both(plain, fused, torch.randn(batch, tokens, 3 * width)))


def test_a_frozen_gain_gets_no_gradient():
    x, weight = torch.randn(4, 3, 96, requires_grad=True), torch.ones(96)
    stream, normed = normed_beside(x, weight, EPS)
    (stream + normed).sum().backward()
    assert x.grad is not None
    assert weight.grad is None


def plain_block(block, x):
    """A Block written out with torch's own operations."""
    attention, mlp = block.attention, block.mlp
    norm = RMSNorm.forward
    q, k, v = (split_heads(part, attention.heads) for part in attention.qkv(norm(block.attention_norm, x)).chunk(3, -1))
    q, k = (F.rms_norm(part, part.shape[-1:], eps=EPS) for part in (q, k))
    x = x + attention.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    return x + mlp.down(*plain_gated(mlp.gate_up(norm(block.mlp_norm, x))))


def test_a_block_of_half_precision_takes_the_plain_way():
    torch.manual_seed(0)
    block, x = Block(96, 0.5).bfloat16(), torch.randn(8, 4, 96, dtype=torch.bfloat16)
    assert torch.equal(block(x)[0], plain_block(block, x))


def test_a_block_keeps_a_fifth_less_for_its_backward():
    torch.manual_seed(0)
    block, x = Block(96, 0.5), torch.randn(64, 10, 96, requires_grad=True)
    kept = []
    for way in (lambda x: block(x)[0], lambda x: plain_block(block, x)):
        with TensorBytes([x, *block.parameters()]) as counter:
            before, out = counter.current, way(x)
            kept.append(counter.current - before)
        del out
    assert kept[0] < 0.8 * kept[1]
