"""The kernel of flow_sampler.py, in Triton: a program takes ROWS samples through all Euler steps.

Activations stay in registers; weights come from the card's cache. It rounds to bf16 where the modules of flow.py do
under autocast. Letters as in flow_sampler.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from robo_orl.models.action_heads.flow_layout import HIDDEN, TURNS, Layout, aligned, offsets
from robo_orl.models.layers import EPS

ROWS = 16  # the fewest that a matrix unit takes


def run(noise: Tensor, keys: Tensor, values: Tensor, weights: Tensor, turns: Tensor, hidden: int, steps: int) -> Tensor:
    """As `flow_samples`."""
    batch, samples, numbers = noise.shape
    tokens, blocks, heads, dim = keys.shape[1:]
    noise, chunks = noise.contiguous(), torch.empty(noise.shape, dtype=noise.dtype, device=noise.device)
    keys, values = (x if x.stride()[3:] == (dim, 1) else x.contiguous() for x in (keys, values))  # a compiler's choice
    layout = Layout(numbers, heads * dim, heads, hidden, blocks)
    rows = batch * samples
    kind = tl.float32 if triton.knobs.runtime.interpret else tl.bfloat16
    _flow[(triton.cdiv(rows, ROWS),)](
        noise, keys, values, weights, turns, chunks,
        rows, samples, tokens, steps, blocks, *keys.stride()[:3], *values.stride()[:3], EPS, *places(layout),
        **constants(layout), KIND=kind, num_warps=warps(layout.width), num_stages=1,
    )  # fmt: skip
    return chunks


def constants(layout: Layout) -> dict[str, int]:
    """What the kernel is compiled for."""
    return {
        "M": layout.numbers,
        "W": layout.width,
        "H": layout.heads,
        "D": layout.width // layout.heads,
        "F": layout.hidden,
        "M_PAD": _padded(layout.numbers),
        "W_PAD": _padded(layout.width),
        "ROWS": ROWS,
        "HIDDEN": HIDDEN,
        "TURNS": TURNS,
    }


def warps(width: int) -> int:
    """Warps of a program: as many as keep its activations in registers."""
    return 4 if width <= 128 else 8


def places(layout: Layout) -> list[int]:
    """Where the kernel finds the weights: those outside of the blocks, the first block, its size, those inside."""
    outside, inside = offsets(layout.outside), offsets(layout.inside)
    first, size = (sum(map(aligned, sizes.values())) for sizes in (layout.outside, layout.inside))
    names = ("time_in.weight", "time_in.bias", "norm.weight", "out.weight", "out.bias")
    inner = ("query.weight", "out.weight", "mlp_norm.weight", "mlp.gate_up.weight", "mlp.down.weight")
    return [*(outside[name] for name in names), first, size, *(inside[name] for name in inner)]


def _padded(count: int) -> int:
    return max(16, triton.next_power_of_2(count))


@triton.jit
def _rounded(x):  # noqa: ANN001, ANN202
    return x.to(tl.bfloat16).to(tl.float32)


@triton.jit
def _dot(a, b, KIND: tl.constexpr):  # noqa: ANN001, ANN202, N803
    """The product of bf16 numbers, summed in float32. KIND: the type of the operands; the interpreter wants float32."""
    return tl.dot(a.to(KIND), b.to(KIND))


@triton.jit
def _norm(x, count, eps):  # noqa: ANN001, ANN202
    """RMSNorm over the columns, of which `count` are not padding, (ROWS, C)."""
    return x * tl.rsqrt(tl.sum(x * x, 1) / count + eps)[:, None]


@triton.jit
def _normed(y, gain, columns, W: tl.constexpr, eps):  # noqa: ANN001, ANN202, N803
    weight = tl.load(gain + columns, mask=columns < W, other=0.0).to(tl.float32)
    return _rounded(_norm(y, W, eps) * weight[None, :])


@triton.jit
def _flow(  # noqa: ANN202
    noise, keys, values, weights, turns, out,  # noqa: ANN001
    rows, samples, tokens, steps, blocks, key_row, key_token, key_block, value_row, value_token, value_block, eps,  # noqa: ANN001
    time_in, time_bias, last_norm, out_weight, out_bias, first_block, block_size,  # noqa: ANN001
    at_query, at_out, at_mlp_norm, at_gate_up, at_down,  # noqa: ANN001
    M: tl.constexpr, W: tl.constexpr, H: tl.constexpr, D: tl.constexpr, F: tl.constexpr,  # noqa: N803
    M_PAD: tl.constexpr, W_PAD: tl.constexpr, ROWS: tl.constexpr, HIDDEN: tl.constexpr, TURNS: tl.constexpr,  # noqa: N803
    KIND: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Chunks (rows, M) of `noise` (rows, M), a row per sample; the samples of an observation one after the other."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    there = row < rows
    batch = (row // samples).to(tl.int64)
    number, column = tl.arange(0, M_PAD), tl.arange(0, W_PAD)
    of_chunk = there[:, None] & (number < M)[None, :]
    of_width, inner = (column < W)[None, :], (column < W)[:, None]
    head, hidden, turn = tl.arange(0, D), tl.arange(0, HIDDEN), tl.arange(0, TURNS)
    x = tl.load(noise + row[:, None] * M + number[None, :], mask=of_chunk, other=0.0)
    for step in range(steps):
        t = step / (steps * 1.0)
        angle = t * tl.load(turns + turn)
        sine, cosine = _rounded(tl.sin(angle)), _rounded(tl.cos(angle))  # (TURNS,)
        at_time = weights + time_in + column[:, None] * 2 * TURNS + turn[None, :]
        time = tl.sum(tl.load(at_time, mask=inner, other=0.0).to(tl.float32) * sine[None, :], 1)
        time += tl.sum(tl.load(at_time + TURNS, mask=inner, other=0.0).to(tl.float32) * cosine[None, :], 1)
        time += tl.load(weights + time_bias + column, mask=column < W, other=0.0).to(tl.float32)
        into = tl.load(
            weights + column[None, :] * M + number[:, None], mask=of_width & (number < M)[:, None], other=0.0
        )
        y = _rounded(_rounded(_dot(_rounded(x), into, KIND)) + _rounded(time)[None, :])  # (ROWS, W)
        for block in range(blocks):
            own = weights + first_block + block * block_size
            h = _normed(y, own, column, W, eps)
            attended = tl.zeros((ROWS, W_PAD), tl.float32)
            for i in range(H):
                query = own + at_query + (i * D + head)[None, :] * W + column[:, None]
                q = _rounded(_dot(h, tl.load(query, mask=inner, other=0.0), KIND))  # (ROWS, D)
                q = _rounded(_norm(q, D, eps))
                most = tl.full((ROWS,), float("-inf"), tl.float32)
                total = tl.zeros((ROWS,), tl.float32)
                read = tl.zeros((ROWS, D), tl.float32)
                for token in range(tokens):
                    at_key = batch[:, None] * key_row + token * key_token + block * key_block + i * D + head[None, :]
                    k = tl.load(keys + at_key, mask=there[:, None], other=0.0).to(tl.float32)
                    at_value = batch[:, None] * value_row + token * value_token + block * value_block + i * D
                    v = tl.load(values + at_value + head[None, :], mask=there[:, None], other=0.0).to(tl.float32)
                    score = tl.sum(q * k, 1) * (D**-0.5)
                    above = tl.maximum(most, score)
                    kept, weight = tl.exp(most - above), tl.exp(score - above)
                    total, most = total * kept + weight, above
                    read = read * kept[:, None] + weight[:, None] * v
                onward = own + at_out + column[None, :] * W + (i * D + head)[:, None]
                part = tl.load(onward, mask=of_width, other=0.0)  # (D, W)
                attended += _dot(_rounded(read / total[:, None]), part, KIND)
            y = _rounded(y + _rounded(attended))
            h = _normed(y, own + at_mlp_norm, column, W, eps)
            gained = tl.zeros((ROWS, W_PAD), tl.float32)
            for first in range(0, F, HIDDEN):
                gate_up = own + at_gate_up + (first + hidden)[None, :] * W + column[:, None]
                gate = _rounded(_dot(h, tl.load(gate_up, mask=inner, other=0.0), KIND))
                up = _dot(h, tl.load(gate_up + F * W, mask=inner, other=0.0), KIND)
                gated = _rounded(_rounded(gate * tl.sigmoid(gate)) * _rounded(up))
                down = own + at_down + column[None, :] * F + (first + hidden)[:, None]
                gained += _dot(gated, tl.load(down, mask=of_width, other=0.0), KIND)
            y = _rounded(y + _rounded(gained))
        h = _normed(y, weights + last_norm, column, W, eps)
        last = weights + out_weight + number[None, :] * W + column[:, None]
        final = tl.load(last, mask=inner & (number < M)[None, :], other=0.0)
        bias = tl.load(weights + out_bias + number, mask=number < M, other=0.0).to(tl.float32)
        clean = _rounded(_dot(h, final, KIND) + bias[None, :])
        x += (clean - x) * (1.0 / ((1.0 - t) * steps))
    tl.store(out + row[:, None] * M + number[None, :], x, mask=of_chunk)
