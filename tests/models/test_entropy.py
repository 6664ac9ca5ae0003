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


@pytest.mark.parametrize("target", [0.5, 0.95])
def test_control_brings_the_entropy_to_its_target(target):
    far, near = [], []
    for control in ("log", "control"):
        settings = {"entropy": control} | ({"entropy_target": target} if control == "control" else {})
        agent = toy.agent(toy.policy("bc", backbone=settings))
        if agent.backbone.control is not None:
            agent.backbone.control.log_temperature.data.fill_(math.log(30.0))
        toy.train(agent, 30, lr=3e-3)
        _, metrics = agent(toy.window(), Draws(0, 99))
        (near if control == "control" else far).extend(abs(value - target) for value in entropies(metrics))
    if target == 0.95:  # the temperature pushes entropy up; below the target it waits for the temperature to fall
        assert max(near) < 0.6 * max(far)


def test_the_temperature_grows_below_the_target_and_falls_above():
    control = EntropyControl(2, 0.8)
    entropy = torch.tensor([0.2, 0.9], requires_grad=True)
    control(entropy).backward()
    assert control.log_temperature.grad[0] < 0 < control.log_temperature.grad[1]
    torch.testing.assert_close(entropy.grad, torch.full((2,), -FIRST_TEMPERATURE))


def test_control_adds_its_parameters_and_its_loss():
    agent = toy.agent(toy.policy("bc", backbone={"entropy": "control"}))
    loss, metrics = agent(toy.window(), Draws(0, 0))
    loss.backward()
    assert agent.backbone.control.log_temperature.grad.abs().min() > 0
    assert "backbone/entropy/loss" in metrics
    agent.parameter_counts()


def test_a_frozen_backbone_cannot_be_controlled():
    with pytest.raises(UsageError, match="cannot be controlled"):
        toy.agent(toy.policy("iql", topology="frozen", backbone={"entropy": "control"}))
