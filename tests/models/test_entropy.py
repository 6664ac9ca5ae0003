"""The entropy of the attention is measured as it is, and held where a policy configures it."""

import math

import pytest
import torch
import toy_agents as toy

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.models.backbones.transformer import FIRST_TEMPERATURE, EntropyControl
from robo_orl.models.layers import attention_entropy


def entropies(metrics, name="backbone"):
    return [value.item() for key, value in metrics.items() if key.startswith(f"{name}/attention_entropy")]


def test_entropy_is_that_of_the_softmax():
    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8)
    unit = [x * 8**0.5 / x.norm(dim=-1, keepdim=True) for x in (q, k)]
    weights = (unit[0] @ unit[1].transpose(-1, -2) / 8**0.5).softmax(-1)
    expected = -(weights * weights.log()).sum(-1).mean() / math.log(5)
    torch.testing.assert_close(attention_entropy(q, k), expected, rtol=1e-4, atol=1e-5)
    alike = torch.ones(1, 1, 6, 8)
    assert attention_entropy(alike, alike).item() == pytest.approx(1)


def test_looking_changes_nothing_that_is_learned():
    plain, looked = toy.agent(toy.policy("iql")), toy.agent(toy.policy("iql", backbone={"entropy": "log"}))
    assert toy.train(plain, 3) == toy.train(looked, 3)
    ours, theirs = plain.state_dict(), looked.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("topology", ["shared", "separate"])
def test_every_layer_of_every_trained_backbone_is_told(topology):
    agent = toy.agent(toy.policy("iql", topology=topology, backbone={"entropy": "log"}))
    _, metrics = agent(toy.window(), Draws(0, 0))
    assert len(entropies(metrics)) == 3 and all(0 < value < 1 for value in entropies(metrics))
    assert len(entropies(metrics, "critic_backbone")) == (3 if topology == "separate" else 0)
    _, metrics = agent(toy.window(), Draws(0, 1))
    assert len(entropies(metrics)) == 3


def test_acting_measures_nothing():
    agent = toy.agent(toy.policy("bc", backbone={"entropy": "log"})).eval()
    agent.act(toy.observation(2), Draws(0, 0))
    assert agent.backbone.take_entropy() is None


def test_control_holds_an_attention_that_falls_without_it():
    fallen, held = (toy.agent(toy.policy("bc", backbone=settings)) for settings in (
        {"entropy": "log"}, {"entropy": "control", "entropy_target": 0.9}))  # fmt: skip
    for agent in (fallen, held):
        toy.train(agent, 200, lr=3e-3)
    found = [entropies(agent(toy.window(), Draws(0, 99))[1]) for agent in (fallen, held)]
    assert max(found[0]) < 0.5 and min(found[1]) > 0.85


@pytest.mark.parametrize(("entropy", "factor"), [(0.5, 7.0), (0.9, 1 / 3)])
def test_the_temperature_gets_anywhere_in_the_steps_that_a_training_has(entropy, factor):
    control = EntropyControl(1, 0.8)
    optimiser = torch.optim.Adam(control.parameters(), lr=1e-3)
    for _ in range(200):
        optimiser.zero_grad()
        control(torch.tensor([entropy])).backward()
        optimiser.step()
    moved = control.temperature.item() / FIRST_TEMPERATURE
    assert moved > factor if factor > 1 else moved < factor


def test_the_temperature_grows_below_the_target_and_falls_above():
    control = EntropyControl(2, 0.8)
    entropy = torch.tensor([0.2, 0.9], requires_grad=True)
    control(entropy).backward()
    assert control.slow_log_temperature.grad[0] < 0 < control.slow_log_temperature.grad[1]
    torch.testing.assert_close(entropy.grad, torch.full((2,), -FIRST_TEMPERATURE))


def test_control_adds_its_parameters_and_its_loss():
    agent = toy.agent(toy.policy("bc", backbone={"entropy": "control"}))
    loss, metrics = agent(toy.window(), Draws(0, 0))
    loss.backward()
    assert agent.backbone.control.slow_log_temperature.grad.abs().min() > 0
    assert "backbone/entropy/loss" in metrics
    agent.parameter_counts()


def test_a_frozen_backbone_cannot_be_controlled():
    with pytest.raises(UsageError, match="cannot be controlled"):
        toy.agent(toy.policy("iql", topology="frozen", backbone={"entropy": "control"}))
