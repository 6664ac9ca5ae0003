"""The mathematics under the losses, each against numpy or scipy in float64: flow, HL-Gauss, expectile, bce.

Likelihoods of the action heads are in tests/models/test_action_heads_density.py.
"""

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, special, stats
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads.flow import AnyExpert, FlowHead
from robo_orl.models.critics import Estimate, HLGauss, Logistic
from robo_orl.objectives.iql import expectile_weight

# -------------------------------------------------------------------------------------------------------------- flow

MODES, SPREAD, WEIGHTS = np.array([-0.6, 0.5]), 0.1, np.array([0.3, 0.7])


def posterior_mean(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """E[x1 | x_t] for x1 from a mixture of two normals, x_t = (1-t) x0 + t x1 and x0 standard normal; elementwise."""
    x, t = np.asarray(x)[..., None], np.asarray(t)[..., None]
    variance = t**2 * SPREAD**2 + (1 - t) ** 2
    mean = MODES + t * SPREAD**2 / variance * (x - t * MODES)
    weight = WEIGHTS * np.exp(-0.5 * (x - t * MODES) ** 2 / variance)
    return (weight * mean).sum(-1) / weight.sum(-1)


class Posterior(AnyExpert):
    """The perfect expert."""

    def memory(self, tokens: Tensor) -> None:
        return None

    def time(self, t: Tensor) -> Tensor:
        return t

    def at(self, x: Tensor, t: Tensor, memory: None) -> Tensor:
        return torch.from_numpy(posterior_mean(x.numpy(), t.unsqueeze(-1).expand_as(x).numpy()))


def perfect_flow() -> FlowHead:
    head = FlowHead(96, 3, 1, ActionHeadConfig(kind="flow", chunk=1, execute=1))
    head.expert = Posterior()
    return head


class FixedDraws(Draws):
    """The same numbers every time, in float64."""

    def normal(self, stream: str, *shape: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng(0).normal(size=shape))

    def uniform(self, stream: str, *shape: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng(1).uniform(size=shape))


def test_euler_steps_follow_the_ordinary_differential_equation():
    noise = FixedDraws(0, 0).normal("act", 1, 7, 1, 1).flatten().numpy()
    velocity = lambda t, x: (posterior_mean(x, np.full_like(x, t)) - x) / (1 - t)  # noqa: E731
    exact = integrate.solve_ivp(velocity, (0, 1 - 1e-6), noise, rtol=1e-8, atol=1e-10).y[:, -1]
    tokens, errors = torch.zeros(1, 1, 96), []
    for steps in (50, 100, 1600):
        samples = perfect_flow().sample(tokens, 7, FixedDraws(0, 0), "act", steps).flatten().numpy()
        errors.append(np.abs(samples - exact).max())
    assert errors[2] < 2e-3
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.2)  # a method of first order


def test_a_perfect_flow_turns_noise_into_the_data():
    draws = Draws(0, 0)
    samples = perfect_flow().sample(torch.zeros(1, 1, 96), 3000, draws, "act", 200).flatten().numpy()
    cumulated = lambda x: (WEIGHTS * stats.norm.cdf(np.asarray(x)[..., None], MODES, SPREAD)).sum(-1)  # noqa: E731
    assert stats.kstest(samples, cumulated).pvalue > 0.01


def test_the_flow_loss_is_its_equation():
    actions = torch.from_numpy(np.random.default_rng(2).uniform(-1, 1, (6, 1, 1)))
    draws, mask = FixedDraws(0, 0), torch.ones(6, 1, dtype=torch.bool)
    loss = perfect_flow().loss(torch.zeros(6, 1, 96), actions, mask, draws, ("a",)).numpy()
    noise, t = draws.normal("a", 6, 1, 1).flatten().numpy(), draws.uniform("a", 6).numpy()
    x1 = actions.flatten().numpy()
    x_t = (1 - t) * noise + t * x1
    np.testing.assert_allclose(loss, (posterior_mean(x_t, t) - x1) ** 2, rtol=1e-9)


# ---------------------------------------------------------------------------------------------------------- HL-Gauss


@pytest.mark.parametrize(("bins", "value_range"), [(101, (0.0, 1.0)), (21, (-2.0, 1.0)), (23, (-1.0, 3.0))])
def test_the_mean_of_a_projection_on_the_grid_is_exact_up_to_the_tail_that_is_cut_off(bins, value_range):
    """At an end of the range three bins of margin are left: the tail beyond them, 1.5e-6 of the mass, is missing on
    that side alone, and its centre lies four bins away. That is 6.1e-6 of a bin, and all there is."""
    support, (low, high) = HLGauss(bins, value_range).double(), value_range
    width = (high - low) / (bins - 7)
    inside = torch.from_numpy(low + np.arange(bins - 6) * width)
    probabilities = support.project(inside)
    middle = probabilities[len(inside) // 2].numpy()
    at = middle.argmax()
    reach = min(at, len(middle) - 1 - at)
    np.testing.assert_allclose(middle[at - reach : at], middle[at + reach : at : -1], atol=1e-6)  # symmetric
    cut = 3.5 / 0.75  # standard deviations
    tail = 0.75 * stats.norm.pdf(cut)  # its mass times its distance, in bins
    assert tail < 7e-6
    exact = 1e-7 * max(abs(low), abs(high))  # the centres are kept in float32
    for mean in (
        support.mean(probabilities.log()).numpy(),
        probabilities.numpy() @ (low + (np.arange(bins) - 3) * width),
    ):
        np.testing.assert_allclose(mean, inside, atol=1.05 * tail * width + exact)
        np.testing.assert_allclose(mean[-1] - inside[-1].item(), -tail * width, atol=0.05 * tail * width + exact)


def test_gradient_descent_on_the_cross_entropy_recovers_the_mean_of_its_targets():
    support, targets = HLGauss(51, (0.0, 1.0)), np.random.default_rng(0).uniform(0.2, 0.7, 30)
    projected = support.project(torch.from_numpy(targets)).mean(0)
    loss_of = lambda z: -(projected.numpy() @ (z - special.logsumexp(z)))  # noqa: E731
    slope = lambda z: special.softmax(z) - projected.numpy()  # noqa: E731
    solution = optimize.minimize(loss_of, np.zeros(51), jac=slope, method="BFGS", options={"gtol": 1e-9}).x
    assert support.mean(torch.from_numpy(solution)).item() == pytest.approx(targets.mean(), abs=1e-3)
    loss = Estimate(torch.from_numpy(solution).expand(1, 30, -1), support).loss(torch.from_numpy(targets))
    assert loss.mean().item() == pytest.approx(-(projected.numpy() * np.log(special.softmax(solution))).sum(), rel=1e-5)


# -------------------------------------------------------------------------------------------------- expectile and bce


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_the_expectile_loss_is_least_at_scipys_expectile(tau):
    sample = stats.expon.rvs(size=400, random_state=0)
    values = torch.from_numpy(sample)

    def loss(m: float) -> float:
        return (expectile_weight(values - m, tau) * (values - m).square()).mean().item()

    solution = optimize.minimize_scalar(loss, bounds=(0, 5), method="bounded", options={"xatol": 1e-10}).x
    assert solution == pytest.approx(stats.expectile(sample, alpha=tau), abs=2e-4)


def test_bce_is_least_at_the_mean_and_its_value_lies_in_the_range():
    support, targets = Logistic((-1.0, 3.0)), np.random.default_rng(0).uniform(-1, 3, 50)
    loss = lambda z: support.cross_entropy(torch.full((50, 1), z).double(), torch.from_numpy(targets)).mean().item()  # noqa: E731
    solution = optimize.minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10}).x
    assert support.mean(torch.tensor([solution])).item() == pytest.approx(targets.mean(), abs=1e-4)
    p = (targets + 1) / 4
    expected = -(p * np.log(special.expit(0.3)) + (1 - p) * np.log(special.expit(-0.3))).mean()
    assert loss(0.3) == pytest.approx(expected, rel=1e-6)
