import pytest
import tiny
import torch
from torch import nn

from robo_orl.base.errors import RunError
from robo_orl.config import OptimConfig
from robo_orl.engine.optimizer import (
    learning_rate_scale,
    make_optimizer,
    set_learning_rate,
    set_moments,
    steps_taken,
    whole_moments,
)

COSINE = OptimConfig(steps=110, warmup_steps=10, lr=1e-3, critic_lr=3e-3)


def test_the_learning_rate_warms_up_and_ends_at_zero():
    scale = [learning_rate_scale(step, COSINE) for step in range(111)]
    assert scale[0] == pytest.approx(0.1) and scale[9] == 1.0
    assert scale[60] == pytest.approx(0.5) and scale[110] == pytest.approx(0.0)
    assert scale[9:] == sorted(scale[9:], reverse=True)


def test_a_constant_schedule_stays():
    flat = COSINE.model_copy(update={"schedule": "constant", "warmup_steps": 0})
    assert {learning_rate_scale(step, flat) for step in range(110)} == {1.0}


def test_the_critic_has_its_own_learning_rate():
    optimizer = make_optimizer(tiny.ForgetfulAgent(), COSINE)
    set_learning_rate(optimizer, 0, COSINE)
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {
        "backbone": pytest.approx(1e-4),
        "critic": pytest.approx(3e-4),
    }


def test_without_its_own_the_critic_takes_the_policys():
    optimizer = make_optimizer(tiny.ForgetfulAgent(), OptimConfig(lr=2e-3))
    assert {group["lr"] for group in optimizer.param_groups} == {2e-3}


def test_frozen_parameters_are_left_out():
    agent = tiny.ForgetfulAgent()
    agent.a.requires_grad_(False)
    assert [group["name"] for group in make_optimizer(agent, COSINE).param_groups] == ["critic"]


def test_a_trainable_parameter_in_no_group_is_an_error():
    agent = tiny.ForgetfulAgent()
    agent.c = nn.Linear(2, 2)
    with pytest.raises(RunError, match="c.weight"):
        make_optimizer(agent, COSINE)


def test_a_parameter_in_two_groups_is_an_error():
    agent = tiny.ForgetfulAgent()
    agent.parameter_groups = lambda: {"backbone": list(agent.parameters()), "critic": list(agent.b.parameters())}
    with pytest.raises(RunError, match="once"):
        make_optimizer(agent, COSINE)


def test_a_parameter_without_dimensions_is_an_error():
    agent = tiny.ForgetfulAgent()
    agent.alpha = nn.Parameter(torch.zeros(()))
    agent.parameter_groups = lambda: {"backbone": list(agent.parameters())}
    with pytest.raises(RunError, match=r"\['alpha'\] the shape \(1,\)"):
        make_optimizer(agent, COSINE)


def stepped(optim: OptimConfig, steps: int, stop_at: int | None = None) -> nn.Module:
    """An agent after `steps` updates on the same gradients; its moments leave and enter after `stop_at`."""
    torch.manual_seed(0)
    agent = tiny.ForgetfulAgent()
    optimizer = make_optimizer(agent, optim)
    for step in range(steps):
        if step == stop_at:
            moments = {name: moment.clone() for name, moment in whole_moments(agent, optimizer)}
            optimizer = make_optimizer(agent, optim)
            set_moments(agent, optimizer, moments, step)
        for number, parameter in enumerate(agent.parameters()):
            parameter.grad = torch.sin(torch.arange(parameter.numel()) + step + number).view_as(parameter)
        optimizer.step()
    assert steps_taken(optimizer) == steps
    return agent


def test_one_kernel_a_tensor_takes_the_steps_of_the_written_out_algorithm_and_continues_where_it_was():
    optim = OptimConfig(weight_decay=0.1)
    assert all(group["fused"] for group in make_optimizer(tiny.ForgetfulAgent(), optim).param_groups)
    agent, resumed = stepped(optim, 5), stepped(optim, 5, stop_at=3)
    for parameter, same in zip(agent.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(parameter, same)
    for number, (parameter, begun) in enumerate(zip(agent.parameters(), stepped(optim, 0).parameters(), strict=True)):
        value, m, v = begun.detach().double(), 0.0, 0.0
        for step in range(5):
            g = torch.sin(torch.arange(parameter.numel()) + step + number).view_as(parameter).double()
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            value = value * (1 - optim.lr * 0.1)
            value -= optim.lr * (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        torch.testing.assert_close(parameter.double(), value, rtol=1e-5, atol=1e-7)
