"""On-policy losses against numpy, the parameters that each term trains, and what every objective promises."""

import numpy as np
import pytest
import torch
import toy_agents as toy
import toy_rounds as rounds

from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation
from robo_orl.objectives import step as step_module
from robo_orl.objectives.step import Step

TOPOLOGIES = ("shared", "shared_detached", "frozen", "separate_small", "separate")


def drifted(learner, seed=1):
    """A round whose old likelihoods are off by random numbers, so that ratios lie inside and outside of the clip."""
    window = rounds.window(learner)
    g = torch.Generator().manual_seed(seed)
    for name in {"log_prob", "loss"} & window.kept.keys():
        window.kept[name] += 0.3 * torch.randn(window.kept[name].shape, generator=g)
    return window


# ------------------------------------------------------------------------------------------------------------ equations


@pytest.mark.parametrize("name", rounds.HEADS)
def test_losses_are_their_equations_in_numpy(name):
    params = {"entropy": 0.01} if name != "fpo" else {}
    params |= {"clip": 0.2, "value_weight": 0.7} if name in rounds.WITH_CRITIC else {}
    learner = toy.agent(rounds.policy(name, **params))
    window = drifted(learner)
    step = Step(learner, window, Draws(0, 0))
    terms, metrics = learner.objective.losses(step)
    with torch.no_grad():
        log_ratio = learner.objective.likelihood.log_ratio(step).numpy()
        entropy = learner.objective.likelihood.entropy(step)
    advantage, ratio = window.kept["advantage"].numpy(), np.exp(log_ratio)
    high = 1.28 if name == "grpo" else 1.2
    gain = np.minimum(ratio * advantage, np.clip(ratio, 0.8, high) * advantage)
    if name == "reinforce":
        gain = log_ratio * advantage
    else:
        assert ((ratio < 0.8) | (ratio > high)).any() and ((ratio > 0.8) & (ratio < high)).any()
    bonus = 0.01 * entropy.mean().item() if name != "fpo" else 0.0
    assert terms["actor"].item() == pytest.approx(-gain.mean() - bonus, rel=1e-4, abs=1e-6)
    assert metrics["actor/kl"].item() == pytest.approx((ratio - 1 - log_ratio).mean(), rel=1e-4)
    if name in rounds.WITH_CRITIC:
        with torch.no_grad():
            v = step.v("both").value.squeeze(0).numpy()
        expected = 0.7 * ((v - window.kept["target"].numpy()) ** 2).mean()
        assert terms["value"].item() == pytest.approx(expected, rel=1e-4)
        outside = (np.abs(ratio - 1) > 0.2).mean()
        assert metrics["actor/clipped"].item() == pytest.approx(outside)


def test_beyond_the_clip_a_ratio_has_no_gradient_where_it_would_go_further():
    """Four decisions: far above and below the clip, with a good and a bad advantage each."""
    learner = toy.agent(rounds.policy("ppo"))
    log_ratio = torch.tensor([1.0, 1.0, -1.0, -1.0], requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    (gradient,) = torch.autograd.grad(learner.objective.surrogate(log_ratio, advantage).sum(), log_ratio)
    torch.testing.assert_close(gradient, torch.tensor([0.0, -1.0, 1.0, 0.0]) * log_ratio.detach().exp())


# --------------------------------------------------------------------------------------------------------------- routes


def of_topologies():
    for i, name in enumerate(rounds.HEADS):
        for j, topology in enumerate(TOPOLOGIES if name in rounds.WITH_CRITIC else ("",)):
            fast = name in ("ppo", "grpo") or (i + j) % 5 == 0
            yield pytest.param(name, topology, marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize("name, topology", of_topologies())
def test_every_term_reaches_what_it_declares(name, topology):
    learner = toy.agent(rounds.policy(name, topology=topology or "shared"))
    groups = learner.parameter_groups()
    terms, _ = learner.objective.losses(Step(learner, rounds.window(learner), Draws(0, 0)))
    assert terms.keys() == learner.objective.routes.keys()
    reached = {}
    for term, loss in terms.items():
        reached[term] = set()
        for group, parameters in groups.items():
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            if any(g is not None and g.abs().sum() > 0 for g in gradients):
                reached[term].add(group)
        assert reached[term] == learner.objective.reaches(term, learner.topology), term
    assert ("backbone" in reached.get("value", ())) == (topology == "shared")
    assert ("noise" in reached["actor"]) == (name == "reinflow")


# ------------------------------------------------------------------------------------------------------------- promises


@pytest.mark.parametrize("name", rounds.HEADS)
def test_every_trained_parameter_takes_part_and_is_counted_once(name):
    learner = toy.agent(rounds.policy(name, topology="separate_small"))
    loss, metrics = learner(rounds.window(learner), Draws(0, 0))
    loss.backward()
    assert torch.isfinite(loss) and all(m.dim() == 0 and not m.requires_grad for m in metrics.values())
    trained = [id(p) for group in learner.parameter_groups().values() for p in group]
    for parameter_name, p in learner.named_parameters():
        assert (p.grad is not None) == (id(p) in trained) == p.requires_grad, parameter_name
    counts = learner.parameter_counts()
    assert counts.pop("total") == sum(counts.values())


@pytest.mark.parametrize("name", rounds.HEADS)
def test_two_processes_see_the_loss_of_one(name, monkeypatch):
    learner = toy.agent(rounds.policy(name, entropy=0.0))
    window = drifted(learner)
    monkeypatch.setattr(step_module, "mean_over_processes", lambda value: value)
    whole = learner(window, Draws(0, 0))[0]
    halves = []
    for rank in range(2):
        share = slice(3 * rank, 3 * rank + 3)
        of_both = torch.cat((torch.arange(12)[:6][share], torch.arange(12)[6:][share]))
        rows = lambda t, share=share, of_both=of_both: t[share] if len(t) == 6 else t[of_both]  # noqa: E731
        halves.append(learner(window.map(rows), Draws(0, 0, rank, world=2))[0])
    torch.testing.assert_close(torch.stack(halves).mean(), whole)


@pytest.mark.parametrize("name", rounds.HEADS)
def test_it_acts_as_the_head_does_when_it_is_judged_and_by_samples_when_it_collects(name):
    learner, obs = toy.agent(rounds.policy(name)), toy.observation(4)
    judged = learner.act(obs, Draws(0, 0))
    with torch.no_grad():
        tokens = learner.backbone(learner.normaliser.observation(obs))
        plain = learner.normaliser.raw_actions(learner.action_head.act(tokens, 1, Draws(0, 0), "act")[:, 0])
    assert torch.equal(judged, plain) and judged.abs().max() <= 1
    learner.objective.collects = True
    learner.action_head.act_by("sample")
    first, second = (learner.act(obs, Draws(0, step)) for step in range(2))
    assert not torch.equal(first, second) and first.abs().max() <= 1
    assert torch.equal(first, learner.act(obs, Draws(0, 0)))


@pytest.mark.parametrize("name", ["ppo", "reinflow"])
def test_it_learns_in_bfloat16_and_with_a_history(name):
    config = rounds.policy(name)
    learner = toy.agent(config)
    window = rounds.window(learner)
    reference = learner(window, Draws(0, 0))[0].item()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = learner(window, Draws(0, 0))[0]
    assert mixed.item() == pytest.approx(reference, rel=0.5, abs=0.3)
    behind = config.model_copy(update={"observation": config.observation.model_copy(update={"history": 2})})
    learner = toy.agent(behind)
    obs = {key: torch.randn(3, 2, size) for key, size in toy.SPEC.items()}
    assert learner.act(Observation(obs, {}), Draws(0, 0)).shape == (3, toy.CHUNK, toy.ACTION_DIM)
