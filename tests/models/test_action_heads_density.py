"""Likelihoods of the heads that have one: against scipy in float64, by quadrature, and against their own samples."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from robo_orl.agent.compatibility import check_action_head
from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig, SelectionConfig
from robo_orl.models.action_heads import ACTION_HEADS
from robo_orl.models.action_heads.gaussian import from_uniform, log_density

WIDTH = 96
DENSITIES = [kind for kind, head in ACTION_HEADS.items() if head.density]


def head_of(kind: str, h: int, a: int, **over) -> nn.Module:
    """A head in float64 whose outputs are spread out, as those of a trained one are."""
    torch.manual_seed(3)
    head = ACTION_HEADS[kind](WIDTH, 3, a, ActionHeadConfig(kind=kind, chunk=h, execute=1, **over)).double()
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if not name.startswith("reader"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return head


def tokens(batch: int) -> Tensor:
    return torch.randn(batch, 4, WIDTH, generator=torch.Generator().manual_seed(1)).double()


def full(batch: int, h: int) -> Tensor:
    return torch.ones(batch, h, dtype=torch.bool)


@torch.no_grad()
def density(head: nn.Module, points: np.ndarray) -> np.ndarray:
    """points (n, h, A) -> (n,), at one observation."""
    many = torch.from_numpy(points).unsqueeze(0)
    return head.log_prob(tokens(1), many, full(1, many.shape[2])).exp().squeeze(0).numpy()


@pytest.mark.parametrize("kind", DENSITIES)
def test_the_density_of_a_number_integrates_to_one(kind):
    head = head_of(kind, 1, 1, **({"bins": 32} if "bins" in kind else {}))
    if "bins" in kind:
        edges = np.concatenate(([-1.0], np.linspace(-1, 1, 32)[:-1] + 1 / 31, [1.0]))
        points, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        total = (density(head, points[:, None, None]) * widths).sum()
    else:
        reach = 40.0 if kind == "gmm" else 1.0
        total, _ = integrate.quad(lambda x: density(head, np.full((1, 1, 1), x)).item(), -reach, reach, points=[0.0])
    assert total == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("shape", [(1, 2), (2, 1)], ids=["two_numbers", "two_steps"])
@pytest.mark.parametrize("kind", DENSITIES)
def test_the_joint_density_of_two_numbers_integrates_to_one(kind, shape):
    head = head_of(kind, *shape, **({"bins": 16} if "bins" in kind else {}))
    reach, n = (8.0, 800) if kind == "gmm" else (1.0, 600)
    edges = np.linspace(-reach, reach, n + 1)
    x, y = np.meshgrid(*[(edges[1:] + edges[:-1]) / 2] * 2)
    total = density(head, np.stack((x, y), -1).reshape(-1, *shape)).sum() * (2 * reach / n) ** 2
    assert total == pytest.approx(1.0, abs=1e-4)


def chunks(batch: int, n: int, h: int, a: int) -> Tensor:
    return (torch.rand(batch, n, h, a, generator=torch.Generator().manual_seed(2)) * 2 - 1).double()


def ragged() -> Tensor:
    mask = full(3, 4)
    mask[1, 2:], mask[2, 1:] = False, False
    return mask


def test_the_gaussian_likelihood_is_that_of_truncated_normals():
    head, mask, actions = head_of("gaussian", 4, 2), ragged(), chunks(3, 5, 4, 2)
    actions[:, 0] = torch.tensor([1.0, -1.0])  # on the bounds, where a gripper's commands lie
    mean, std = (x.detach().numpy()[:, None] for x in head.parameters_of(tokens(3)))
    expected = stats.truncnorm.logpdf(actions.numpy(), (-1 - mean) / std, (1 - mean) / std, mean, std).sum(-1)
    expected = (expected * mask.numpy()[:, None]).sum(-1)
    np.testing.assert_allclose(head.log_prob(tokens(3), actions, mask).detach(), expected, rtol=1e-9)


def test_the_mixture_likelihood_is_scipys():
    head, mask, actions = head_of("gmm", 4, 2, modes=3), ragged(), chunks(3, 5, 4, 2)
    weights, mean, std = (x.detach().numpy() for x in head.parameters_of(tokens(3)))
    numbers = stats.norm.logpdf(actions.numpy()[:, :, None], mean[:, None], std[:, None]).sum(-1)  # (B, N, M, h)
    joint = (numbers * mask.numpy()[:, None, None]).sum(-1) + weights[:, None]
    expected = np.logaddexp.reduce(joint, axis=-1)
    np.testing.assert_allclose(head.log_prob(tokens(3), actions, mask).detach(), expected, rtol=1e-9)
    np.testing.assert_allclose(np.exp(weights).sum(-1), 1.0)


def test_the_bins_likelihood_is_a_histogram():
    head, mask, actions = head_of("bins", 4, 2, bins=9), ragged(), chunks(3, 5, 4, 2)
    logits = head.logits(tokens(3)).detach().numpy()
    mass = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    edges = np.concatenate(([-1.0], np.linspace(-1, 1, 9)[:-1] + 0.125, [1.0]))
    index = np.clip(np.digitize(actions.numpy(), edges) - 1, 0, 8)
    picked = np.take_along_axis(np.broadcast_to(mass[:, None], (*index.shape, 9)), index[..., None], -1)[..., 0]
    numbers = np.log(picked / np.diff(edges)[index]).sum(-1)
    expected = (numbers * mask.numpy()[:, None]).sum(-1)
    np.testing.assert_allclose(head.log_prob(tokens(3), actions, mask).detach(), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", DENSITIES)
def test_the_loss_is_the_negative_log_likelihood_per_number(kind):
    head, mask, actions = head_of(kind, 4, 2), ragged(), chunks(3, 1, 4, 2)[:, 0]
    loss = head.loss(tokens(3), actions, mask, Draws(0, 0), ("a",))
    expected = -head.log_prob(tokens(3), actions, mask) / (2 * mask.sum(-1))
    if "bins" in kind:  # a classification: the log of the bins' width is left out
        width = torch.where(head.bin_of(actions).remainder(head.bins - 1) == 0, head.width / 2, head.width)
        expected = expected - (width.log().sum(-1) * mask).sum(-1) / (2 * mask.sum(-1))
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("kind", DENSITIES)
def test_samples_follow_the_density(kind):
    head = head_of(kind, 1, 1, **({"bins": 9} if "bins" in kind else {}))
    samples = head.sample(tokens(1), 4000, Draws(0, 0), "act").flatten().detach().numpy()
    if "bins" in kind:
        counts = np.bincount(((samples + 1) * 4).round().astype(int), minlength=9)
        expected = head.logits(tokens(1)).softmax(-1).flatten().detach().numpy()
        assert stats.chisquare(counts, expected * 4000).pvalue > 0.01
        return
    x = np.linspace(-1, 1, 20001)
    cumulated = integrate.cumulative_simpson(density(head, x[:, None, None]), x=x, initial=0)
    inside = samples[np.abs(samples) < 1]  # the mixture's samples beyond the box are cut to it
    cumulated = cumulated / cumulated[-1]
    assert stats.kstest(inside, lambda s: np.interp(s, x, cumulated)).pvalue > 0.01


def test_a_gaussian_sample_carries_its_own_density():
    head = head_of("gaussian", 4, 2)
    samples, log_prob = head.sample_with_log_prob(tokens(3), 6, Draws(0, 0), "a")
    torch.testing.assert_close(log_prob, head.log_prob(tokens(3), samples, full(3, 4)))


@pytest.mark.parametrize("mean, std", [(0.0, 0.3), (0.99, 0.05), (-1.0, 1.0), (0.4, 0.007)])
def test_the_gaussian_sample_is_differentiable_in_its_parameters(mean, std):
    uniform = torch.tensor([0.0, 0.01, 0.4, 0.9, 0.999], dtype=torch.float64)
    parameters = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (mean, std)]
    assert torch.autograd.gradcheck(lambda m, s: from_uniform(uniform, m, s), parameters, eps=1e-7, atol=1e-4)
    x = from_uniform(uniform, *parameters).detach()
    assert torch.autograd.gradcheck(lambda m, s: log_density(x, m, s), parameters, eps=1e-7, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("mean", [-1.0, -0.999, 0.0, 1.0])
@pytest.mark.parametrize("std", [0.007, 0.1, 1.0])
def test_the_gaussian_is_finite_in_float32_at_every_corner(mean, std):
    uniform = torch.tensor([0.0, 1e-7, 0.5, 1 - 6e-8])
    m, s = torch.tensor(mean, requires_grad=True), torch.tensor(std, requires_grad=True)
    x = from_uniform(uniform, m, s)
    total = log_density(x, m, s).sum() + log_density(torch.tensor([-1.0, 1.0]), m, s).sum() + x.sum()
    assert total.isfinite() and x.abs().max() <= 1
    assert all(g.isfinite() for g in torch.autograd.grad(total, (m, s)))


def test_a_grippers_commands_are_bins_of_their_own():
    head = head_of("bins", 1, 1)
    commands = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    assert torch.equal(head.centre_of(head.bin_of(commands), torch.float64), commands)
    actions = chunks(64, 1, 1, 1)
    assert (head.centre_of(head.bin_of(actions), torch.float64) - actions).abs().max() <= head.width / 2 + 1e-12


def test_the_gaussian_acts_by_its_mode_and_offers_samples_to_a_critic():
    head = head_of("gaussian", 2, 2)
    acted = head.act(tokens(3), 1, Draws(0, 0), "act")
    torch.testing.assert_close(acted.squeeze(1), head.parameters_of(tokens(3))[0])
    offered = head.act(tokens(3), 4, Draws(0, 0), "act")
    assert torch.equal(offered, head.sample(tokens(3), 4, Draws(0, 0), "act"))


def test_a_mixture_acts_near_the_means_of_drawn_components():
    head = head_of("gmm", 2, 2)
    weights, means, _ = head.parameters_of(tokens(1))
    acted = head.act(tokens(1), 4000, Draws(0, 0), "act")[0].detach()
    distance = (acted.unsqueeze(1) - means[0]).abs().amax((-2, -1))  # (N, M)
    assert distance.amin(-1).max() < 6e-4
    share = np.bincount(distance.argmin(-1), minlength=5)
    assert stats.chisquare(share, weights[0].exp().detach().numpy() * 4000).pvalue > 0.01
    noisy = head_of("gmm", 2, 2, acting="sample")
    draws = [h.act(tokens(1), 4, Draws(0, 0), "act") for h in (noisy, head)]
    assert torch.equal(draws[0], head.sample(tokens(1), 4, Draws(0, 0), "act")) and not torch.equal(*draws)


def test_the_mode_of_a_mixture_is_its_heaviest_component():
    head = head_of("gmm", 2, 2, acting="mode")
    weights, means, _ = head.parameters_of(tokens(3))
    expected = torch.stack([m[w.argmax()] for w, m in zip(weights, means, strict=True)])
    assert torch.equal(head.act(tokens(3), 1, Draws(0, 0), "act").squeeze(1), expected)


def test_the_mode_of_bins_is_the_likeliest_centre():
    head = head_of("bins", 2, 2, bins=5)
    expected = torch.linspace(-1, 1, 5).double()[head.logits(tokens(3)).argmax(-1)]
    torch.testing.assert_close(head.act(tokens(3), 1, Draws(0, 0), "act").squeeze(1), expected)


@pytest.mark.parametrize(
    ("kind", "setting", "sentence"),
    [
        ("l1", {"acting": "mode"}, "'l1' has no 'acting'"),
        ("flow", {"min_std": 0.1}, "'flow' has no 'min_std'"),
        ("gaussian", {"modes": 3}, "'gaussian' has no 'modes'"),
        ("gmm", {"bins": 9}, "'gmm' has no 'bins'"),
        ("bins", {"acting": "low_noise"}, "set action_head.acting to mode or sample"),
    ],
)
def test_a_setting_of_another_head_is_refused(kind, setting, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_action_head(ActionHeadConfig(kind=kind, **setting), ACTION_HEADS[kind], SelectionConfig())


def test_one_mode_cannot_be_ranked():
    config = ActionHeadConfig(kind="gaussian", acting="mode")
    with pytest.raises(UsageError, match="gives one chunk: set action_head.acting to null"):
        check_action_head(config, ACTION_HEADS["gaussian"], SelectionConfig(num_samples=4))
