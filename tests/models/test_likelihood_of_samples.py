"""What on-policy methods ask of a head: its entropy, and the likelihood of samples that were cut to the box."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads import ACTION_HEADS

WIDTH, B = 96, 4


def head(kind, seed=0, chunk=2, action_dim=2, **config):
    torch.manual_seed(seed)
    made = ACTION_HEADS[kind](WIDTH, 3, action_dim, ActionHeadConfig(kind=kind, chunk=chunk, execute=1, **config))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.double()


def tokens(seed=0, batch=B):
    return torch.randn(batch, 3, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_mask():
    mask = torch.ones(B, 2, dtype=torch.bool)
    mask[0, 1] = False
    return mask


def test_the_entropy_of_a_gaussian_is_that_of_scipys_truncated_normal():
    made, mask = head("gaussian"), some_mask()
    mean, std = (x.detach().numpy() for x in made.parameters_of(tokens()))
    of_number = stats.truncnorm.entropy((-1 - mean) / std, (1 - mean) / std, mean, std)
    np.testing.assert_allclose(
        made.entropy(tokens(), mask).detach(), (of_number.sum(-1) * mask.numpy()).sum(-1), rtol=1e-6
    )


def test_the_entropy_of_bins_is_that_of_scipys_distributions():
    made, mask = head("bins", bins=7), some_mask()
    of_number = stats.entropy(made.logits(tokens()).softmax(-1).detach().numpy(), axis=-1)
    np.testing.assert_allclose(
        made.entropy(tokens(), mask).detach(), (of_number.sum(-1) * mask.numpy()).sum(-1), rtol=1e-6
    )


def test_the_entropy_of_a_mixture_is_that_of_component_and_chunk_and_bounds_its_own():
    made, mask = head("gmm", modes=3), some_mask()
    weights, mean, std = (x.detach().numpy() for x in made.parameters_of(tokens()))
    weights = np.exp(weights)
    of_component = (stats.norm.entropy(mean, std).sum(-1) * mask.numpy()[:, None]).sum(-1)
    expected = (weights * of_component).sum(-1) + stats.entropy(weights, axis=-1)
    entropy = made.entropy(tokens(), mask).detach()
    np.testing.assert_allclose(entropy, expected, rtol=1e-6)
    rng = np.random.default_rng(0)
    chosen = [rng.choice(3, 4000, p=row / row.sum()) for row in weights]
    x = np.stack([m[c] + s[c] * rng.normal(size=(4000, 2, 2)) for m, s, c in zip(mean, std, chosen, strict=True)])
    of_chunk = -made.log_prob(tokens(), torch.from_numpy(x), mask).mean(1).detach()
    assert (entropy > of_chunk - 0.1).all()


@pytest.mark.parametrize(
    "kind, config", [("gaussian", {}), ("gmm", {"modes": 2, "min_std": 0.3}), ("bins", {"bins": 9})]
)
def test_the_ratio_of_two_policies_has_mean_one_over_the_samples_of_the_first(kind, config):
    """As the ratio of two distributions has it, whatever was cut off at the bounds."""
    old, new = (head(kind, seed, chunk=1, action_dim=2, acting="sample", **config) for seed in (0, 1))
    new.load_state_dict({k: v + 0.08 * (new.state_dict()[k] - v) for k, v in old.state_dict().items()})
    seen, n = tokens(batch=1), 4_000
    with torch.no_grad():
        samples = old.sample(seen, n, Draws64(), "act")[0]  # (n, 1, 2)
        many, mask = seen.expand(n, -1, -1), torch.ones(n, 1, dtype=torch.bool)
        log_ratio = new.log_prob_of_sample(many, samples, mask) - old.log_prob_of_sample(many, samples, mask)
        ratio = log_ratio.exp()
        assert ratio.mean().item() == pytest.approx(1.0, abs=5 * ratio.std().item() / math.sqrt(n))
        assert ratio.std() > 0.05
        if kind == "gmm":
            assert (samples.abs() == 1).float().mean() > 0.05
            naive = (new.log_prob(many, samples, mask) - old.log_prob(many, samples, mask)).exp()
            assert abs(naive.mean().item() - 1) > 5 * naive.std().item() / math.sqrt(n)


class Draws64(Draws):
    def __init__(self):
        super().__init__(0, 0)

    def normal(self, stream, *shape):
        return super().normal(stream, *shape).double()

    def uniform(self, stream, *shape):
        return super().uniform(stream, *shape).double()


def test_a_mixtures_likelihood_within_the_box_is_its_density():
    made = head("gmm", modes=3)
    actions = 0.5 * torch.rand(B, 2, 2, dtype=torch.float64)
    assert torch.equal(
        made.log_prob_of_sample(tokens(), actions, some_mask()), made.log_prob(tokens(), actions, some_mask())
    )
