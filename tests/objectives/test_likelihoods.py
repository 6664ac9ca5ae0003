"""Ratios of likelihoods: one before the first update, and against closed forms and products of Gaussians after it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toy_agents as toy
import toy_rounds as rounds
from scipy import stats

from robo_orl.base.rng import Draws
from robo_orl.objectives.likelihoods import FlowMatchingRatio, NoisyChain, StepNoise
from robo_orl.objectives.step import Step

CASES = [*rounds.HEADS.items(), ("ppo", "gmm"), ("ppo", "bins")]


def moved(learner, by=0.02):
    """Weights a little further on."""
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter += by * torch.randn(parameter.shape, generator=g)


@pytest.mark.parametrize("name, head", CASES)
def test_the_ratio_is_one_before_the_first_update_and_the_gradient_that_of_the_likelihood(name, head):
    learner = toy.agent(rounds.policy(name, head))
    window = rounds.window(learner)
    step = Step(learner, window, Draws(0, 0))
    ratio = learner.objective.likelihood.log_ratio(step).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-5)
    terms, metrics = learner.objective.losses(step)
    assert metrics["actor/kl"].abs() < 1e-6
    parameters = learner.parameter_groups()["action_head"]
    clipped = torch.autograd.grad(terms["actor"], parameters, retain_graph=True)
    plain = -(learner.objective.likelihood.log_ratio(step) * window.kept["advantage"]).mean()
    for a, b in zip(clipped, torch.autograd.grad(plain, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    moved(learner)
    after = learner.objective.likelihood.log_ratio(Step(learner, window, Draws(0, 0)))
    assert after.abs().min() > 1e-5 and after.shape == ratio.shape


@pytest.mark.parametrize("name, head", [("ppo", "gaussian"), ("fpo", "flow"), ("reinflow", "flow")])
def test_what_is_not_carried_out_does_not_count(name, head):
    """A chunk of 4 is carried out up to its 2nd action, and fewer where the episode ends."""
    learner = toy.agent(rounds.policy(name, head))
    window, likelihood = rounds.window(learner), learner.objective.likelihood
    step = Step(learner, window, Draws(0, 0))
    carried = likelihood.carried_out(step, "both")
    assert carried.sum(-1).tolist() == [2] * 12
    step.mask[0, 1:] = False
    assert likelihood.carried_out(step, "both").sum(-1).tolist() == [1] + [2] * 11
    moved(learner)
    before = likelihood.log_ratio(Step(learner, window, Draws(0, 0)))
    name_of = {"gaussian": "actions", "fpo": "chunk", "reinflow": "chain"}[head if name == "ppo" else name]
    for first, same in ((2, True), (1, False)):
        changed = rounds.replaced(window, kept={k: v.clone() for k, v in window.kept.items()})
        values = changed.kept.get(name_of, changed.actions)
        place = values[:, -1] if name == "reinflow" else values
        if name == "fpo":  # the rest of a chunk is seen by the network, and its error is not counted
            ratio, noise = likelihood, changed.kept
            zero = torch.zeros(12, 4, dtype=torch.bool)
            zero[:, :first] = True
            one = ratio.losses(learner.action_head, step.tokens, noise["chunk"], noise["noise"], noise["time"], zero)
            two = ratio.losses(learner.action_head, step.tokens, noise["chunk"], noise["noise"], noise["time"], carried)
            assert torch.equal(one, two) == same
            continue
        place[:, first:] = place[:, first:] * 0.5
        after = likelihood.log_ratio(Step(learner, changed, Draws(0, 0)))
        of_now = slice(0, 6)  # the actions of the other half are another field
        assert torch.allclose(after[of_now], before[of_now], atol=1e-5) == same


class LinearGaussian:
    """The expert that is optimal for chunks drawn from N(mean, std^2): E[x1 | x_t] in closed form."""

    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def memory(self, tokens):
        return []

    def __call__(self, x, t, memory):
        t = t.unsqueeze(-1)
        gain = self.std**2 * t / (t**2 * self.std**2 + (1 - t) ** 2)
        return self.mean + gain * (x - t * self.mean)


def test_the_flow_ratio_is_that_of_the_densities_for_a_linear_gaussian_flow():
    """By quadrature over t and the noise the weighted losses differ by log pi_new - log pi_old, at any chunk."""
    old, new = (0.1, 0.5), (0.3, 0.4)
    ratio = FlowMatchingRatio(1, 0, "likelihood", per_draw=False, latest=1.0)
    nodes, weights = np.polynomial.legendre.leggauss(300)
    times, of_time = (nodes + 1) / 2, weights / 2
    eps, of_eps = np.polynomial.hermite_e.hermegauss(12)
    of_eps = of_eps / of_eps.sum()
    t, noise = (torch.tensor(a.ravel()) for a in np.meshgrid(times, eps, indexing="ij"))
    weight = torch.tensor(np.outer(of_time, of_eps).ravel())
    for x in (-0.7, 0.0, 0.9):
        chunk = torch.full((1, 1, 1), x, dtype=torch.float64)
        losses = [
            ratio.losses(
                SimpleNamespace(expert=LinearGaussian(*params)), torch.zeros(1), chunk, noise[None, :, None, None],
                t[None], torch.ones(1, 1, dtype=torch.bool),
            )
            for params in (old, new)
        ]  # fmt: skip
        estimate = float(((losses[0] - losses[1]) * weight).sum())
        exact = stats.norm.logpdf(x, *new) - stats.norm.logpdf(x, *old)
        assert estimate == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("weighting", ["noise", "velocity", "likelihood"])
def test_the_flows_losses_are_those_of_a_loop_in_numpy(weighting):
    learner = toy.agent(rounds.policy("fpo", weighting=weighting))
    window = rounds.window(learner)
    head, kept, step = learner.action_head, window.kept, Step(learner, window, Draws(0, 0))
    assert kept["loss"].shape == (12, 8) and kept["time"].max() < 0.9
    for b, n in ((0, 0), (3, 5), (11, 7)):
        t, noise, chunk = (kept[name][b].numpy() for name in ("time", "noise", "chunk"))
        t, noise = float(t[n]), noise[n]
        x_t = torch.from_numpy((1 - t) * noise + t * chunk).reshape(1, 1, -1)
        with torch.no_grad():
            clean = head.expert(x_t, torch.tensor([[t]]), head.expert.memory(step.tokens[b : b + 1]))
        clean = clean.numpy().reshape(chunk.shape)
        error = {
            "noise": (x_t.numpy().reshape(chunk.shape) - t * clean) / (1 - t) - noise,
            "velocity": (clean - x_t.numpy().reshape(chunk.shape)) / (1 - t) - (chunk - noise),
            "likelihood": (clean - chunk) * np.sqrt(0.9 * t / (1 - t) ** 3),
        }[weighting][:2]
        loss = (error**2).sum() if weighting == "likelihood" else (error**2).mean()
        assert kept["loss"][b, n].item() == pytest.approx(loss, rel=2e-3)


def test_every_draw_can_have_a_ratio_of_its_own():
    learner = toy.agent(rounds.policy("fpo", per_draw=True))
    window = rounds.window(learner)
    assert learner.objective.likelihood.log_ratio(Step(learner, window, Draws(0, 0))).shape == (12, 8)
    assert torch.isfinite(learner(window, Draws(0, 0))[0])


def test_the_likelihood_of_a_chain_is_the_product_of_its_gaussians():
    learner = toy.agent(rounds.policy("reinflow"))
    window = rounds.window(learner)
    head, step = learner.action_head, Step(learner, window, Draws(0, 0))
    chain, steps = window.kept["chain"].numpy(), head.steps
    assert chain.shape == (12, steps + 1, toy.CHUNK, toy.ACTION_DIM)
    with torch.no_grad():
        std = learner.extra["noise"](step.tokens).numpy()
        total = np.zeros(12)
        for k in range(steps):
            x = torch.from_numpy(chain[:, k]).flatten(1).unsqueeze(1)
            clean = head.expert(x, torch.full((12, 1), k / steps), head.expert.memory(step.tokens)).numpy()
            velocity = (clean.reshape(chain[:, k].shape) - chain[:, k]) / (1 - k / steps)
            logs = stats.norm.logpdf(chain[:, k + 1], chain[:, k] + velocity / steps, std[:, k])
            total += (logs[:, :2] if k == steps - 1 else logs).sum((1, 2))  # 2 actions are carried out
    np.testing.assert_allclose(window.kept["log_prob"].numpy(), total, rtol=1e-4)
    assert (std > 0.05).all() and (std < 0.14).all()


def test_a_chain_with_hardly_any_noise_ends_where_the_flow_does():
    learner = toy.agent(rounds.policy("reinflow"))
    head, draws = learner.action_head, Draws(0, 0)
    tokens = learner.backbone(learner.normaliser.observation(toy.observation(5)))
    quiet = NoisyChain(2, 1e-7, 2e-7)
    noise = StepNoise(tokens.shape[-1], (head.steps, *head.shape), 1e-7, 2e-7)
    with torch.no_grad():
        end = quiet.chain(head, noise, tokens, draws)[:, -1]
        plain = head.integrate(tokens, Draws(0, 0).normal("act", 5, 1, *head.shape))[:, 0]
    torch.testing.assert_close(end, plain, rtol=0, atol=1e-5)
