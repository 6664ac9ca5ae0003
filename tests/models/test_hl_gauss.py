import numpy as np
import pytest
import torch
from scipy import stats

from robo_orl.models.critics import SIGMA, HLGauss

TARGETS = torch.tensor([0.0, 0.01, 0.25, 0.3333, 0.5, 0.987, 1.0])


@pytest.mark.parametrize(("bins", "value_range"), [(101, (0.0, 1.0)), (51, (-5.0, 2.0)), (9, (0.0, 1.0))])
def test_the_projection_is_the_mass_of_a_truncated_gaussian(bins, value_range):
    support = HLGauss(bins, value_range)
    low, high = value_range
    targets = low + TARGETS * (high - low)
    edges = support.edges.double().numpy()
    for target, probabilities in zip(targets.double().numpy(), support.project(targets).double().numpy(), strict=True):
        mass = np.diff(stats.norm.cdf(edges, loc=target, scale=SIGMA * support.width))
        np.testing.assert_allclose(probabilities, mass / mass.sum(), atol=2e-6)


@pytest.mark.parametrize("bins", [9, 51, 101])
def test_the_mean_is_recovered_at_the_ends_of_the_range_too(bins):
    support = HLGauss(bins, (0.0, 1.0))
    mean = support.mean(support.project(TARGETS).log())
    torch.testing.assert_close(mean, TARGETS, atol=1e-3 * 100 / bins, rtol=0)


def test_targets_outside_the_range_count_as_its_ends():
    support = HLGauss(101, (0.0, 1.0))
    torch.testing.assert_close(support.project(torch.tensor([-3.0, 7.0])), support.project(torch.tensor([0.0, 1.0])))


def test_the_cross_entropy_is_least_where_the_histogram_is_the_projection():
    support = HLGauss(31, (0.0, 1.0))
    target = torch.tensor([0.3])
    logits = support.project(target).clamp(min=1e-12).log().requires_grad_()
    (gradient,) = torch.autograd.grad(support.cross_entropy(logits, target).sum(), logits)
    assert gradient.abs().max() < 1e-6
    assert support.cross_entropy(torch.zeros(1, 31), target) > support.cross_entropy(logits, target)


@pytest.mark.parametrize("bins", [3, 4, 8])
def test_few_bins_still_cover_the_range(bins):
    support = HLGauss(bins, (0.0, 1.0))
    assert support.centres.min() <= 0.0 + support.width / 2
    assert support.centres.max() >= 1.0 - support.width / 2
    torch.testing.assert_close(support.project(TARGETS).sum(-1), torch.ones(len(TARGETS)))
