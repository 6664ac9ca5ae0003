import pytest
import torch
import torch.nn.functional as F

from robo_orl.config import CriticConfig
from robo_orl.models.critics import Critic, Estimate, Logistic


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 3.0)])
def test_the_loss_is_least_at_its_target(bounds):
    support, logits = Logistic(bounds), torch.linspace(-6, 6, 2401, dtype=torch.float64).unsqueeze(-1)
    low, high = bounds
    for share in (0.1, 0.5, 0.8):
        target = torch.tensor(low + share * (high - low), dtype=torch.float64)
        losses = Estimate(logits, support).loss(target)
        assert support.mean(logits)[losses.argmin()].item() == pytest.approx(target.item(), abs=3e-3 * (high - low))


def test_the_loss_is_the_cross_entropy_of_two_outcomes():
    logits = torch.randn(5, 1, generator=torch.Generator().manual_seed(0))
    target = torch.rand(5, generator=torch.Generator().manual_seed(1))
    p = logits.squeeze(-1).sigmoid()
    expected = -(target * p.log() + (1 - target) * (1 - p).log())
    torch.testing.assert_close(Estimate(logits, Logistic((0.0, 1.0))).loss(target), expected)
    torch.testing.assert_close(expected, F.binary_cross_entropy(p, target, reduction="none"))


def test_values_stay_within_the_bounds_and_targets_are_cut_to_them():
    support = Logistic((-1.0, 1.0))
    value = support.mean(torch.tensor([[-50.0], [50.0]]))
    assert value.tolist() == pytest.approx([-1.0, 1.0])
    estimate = Estimate(torch.zeros(1, 1), support)
    assert estimate.loss(torch.tensor([7.0])) == estimate.loss(torch.tensor([1.0]))


def test_the_height_of_a_value_is_its_logit():
    support, logits = Logistic((0.0, 2.0)), torch.randn(4, 1, generator=torch.Generator().manual_seed(0))
    estimate = Estimate(logits, support)
    torch.testing.assert_close(estimate.height_of(estimate.value), estimate.height, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(support.logit(torch.tensor([0.0, 2.0]))).all()


def test_a_critic_with_bce_has_one_output_per_member():
    critic = Critic(96, 6, ("q", "v"), CriticConfig(loss="bce", ensemble=3))
    features = critic.readout(torch.randn(5, 4, 96))
    q = critic.q(features, torch.rand(5, 7, 3, 2))
    assert q.value.shape == (3, 5, 7) and q.loss(torch.rand(5, 7)).shape == (3, 5, 7)
    assert ((q.value > 0) & (q.value < 1)).all()
