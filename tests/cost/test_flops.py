"""FLOPs are counted where the textbook counts them, and where torch's own counter gives up."""

import pytest
import torch
import torch.nn.functional as F

from robo_orl.cost.flops import count_flops


def test_a_matrix_product_and_its_backward():
    weight = torch.randn(30, 50, requires_grad=True)
    x = torch.randn(20, 30, requires_grad=True)
    assert count_flops(lambda: x @ weight) == 2 * 20 * 30 * 50
    assert count_flops(lambda: (x @ weight).sum().backward()) == 3 * 2 * 20 * 30 * 50


def test_attention_on_the_cpu_counts_in_both_directions():
    q, k, v = (torch.randn(2, 4, 8, 16, requires_grad=True) for _ in range(3))
    product = 2 * 2 * 4 * 8 * 8 * 16  # one of B x H products (S, d) x (d, S)
    assert count_flops(lambda: F.scaled_dot_product_attention(q, k, v)) == 2 * product
    both = count_flops(lambda: F.scaled_dot_product_attention(q, k, v).sum().backward())
    assert both == (2 + 5) * product  # the backward recomputes the scores


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_work_without_gradient_counts_too(context):
    linear = torch.nn.Linear(30, 50)
    features = torch.randn(20, 30, requires_grad=True) * 1

    def target():
        with context():
            linear(features)

    assert count_flops(target) == 2 * 20 * 30 * 50
