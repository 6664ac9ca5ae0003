"""Acting by hand: a policy's parts give fixed numbers, and the action must follow from them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import toy_agents as toy
from scipy import stats
from torch import Tensor, nn

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig, ObjectiveConfig, PolicyConfig
from robo_orl.models.action_heads.flow import AnyExpert, FlowHead
from robo_orl.objectives import OBJECTIVES
from robo_orl.objectives.distil import OneStep

CONDITIONED = {
    "recap": toy.shipped("recap"),
    "iql": toy.shipped("iql", objective={"extraction": "advantage_condition"}),
    "dqc": toy.shipped("dqc", objective={"extraction": "advantage_condition"}, selection={"num_samples": 1}),
    "mc_awr": toy.shipped(
        "mc_awr", objective={"extraction": "advantage_condition"}, action_head={"kind": "flow", "flow_steps": 4}
    ),
}


class Writes(nn.Module):
    """A condition that writes its numbers over the tokens, and nothing else."""

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        return F.pad(condition.to(tokens), (0, tokens.shape[-1] - condition.shape[-1])).unsqueeze(1).expand_as(tokens)


class Says(AnyExpert):
    """An action head that does the number in the first place of its tokens, and one expert of a flow that predicts it.

    at: the clean chunk that the expert predicts where its condition is 0 and 1.
    """

    def __init__(self, at: tuple[float, float] = (0.0, 1.0)):
        super().__init__()
        self.ends, self.shape = at, (toy.CHUNK, toy.ACTION_DIM)

    def act(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str) -> Tensor:
        return tokens[:, 0, 0].view(-1, 1, 1, 1).expand(-1, num_samples, *self.shape)

    def memory(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0, 0]

    def time(self, t: Tensor) -> Tensor:
        return t

    def at(self, x: Tensor, t: Tensor, memory: Tensor) -> Tensor:
        low, high = self.ends
        return (low + (high - low) * memory)[:, None, None].expand_as(x)


def acted(config: PolicyConfig, head: nn.Module | None = None) -> Tensor:
    """The actions of an agent whose condition and action head are replaced, in four observations."""
    learner = toy.agent(config)
    learner.extra["condition"], learner.action_head = Writes(), head or Says()
    return learner.act(toy.observation(4), Draws(0, 0))


# ---------------------------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize("config", CONDITIONED.values(), ids=CONDITIONED)
def test_an_advantage_conditioned_policy_asks_for_good_actions(config):
    assert (acted(config) == 1).all()


@pytest.mark.parametrize("name", CONDITIONED)
@pytest.mark.parametrize(("guidance", "expected"), [(2.5, 0.1 + 2.5 * 0.2), (0.5, 0.1 + 0.5 * 0.2), (0.0, 0.1)])
def test_guidance_goes_beyond_the_policy_that_is_told_nothing_towards_the_one_that_is_asked_for_good(
    name, guidance, expected
):
    """A flow's last step lands on the chunk that is predicted: 0.1 without the indicator, 0.3 with it."""
    params = {"params": {"guidance": guidance}}
    objective = params if name == "recap" else {"extraction": {"kind": "advantage_condition"} | params}
    config = CONDITIONED[name].model_copy(update={"objective": ObjectiveConfig(name=name, **objective)})
    head = FlowHead(96, 3, toy.ACTION_DIM, ActionHeadConfig(kind="flow", chunk=toy.CHUNK, execute=2, flow_steps=4))
    head.expert = Says(at=(0.1, 0.3))
    actions = acted(config, head)
    torch.testing.assert_close(actions, torch.full_like(actions, expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("params", "expected"),
    [({}, 1.0), ({"target": 0.25}, 0.25), ({"outcome": "return", "target": 0.7}, 0.7)],
    ids=["success", "given", "return"],
)
def test_a_return_conditioned_policy_asks_for_its_target_and_by_default_for_success(params, expected):
    actions = acted(toy.shipped("return_conditioned", objective={"params": params}))
    torch.testing.assert_close(actions, torch.full_like(actions, expected))


# ------------------------------------------------------------------------------------------------------------ subgoals

SUBGOAL = sum(toy.SPEC.values()) + 1


class Fixed(nn.Module):
    """A flow over subgoals that ends at these, whatever the noise: their first number tells them apart."""

    shape = (1, SUBGOAL)

    def __init__(self, first: list[float]):
        super().__init__()
        self.first = torch.tensor(first)

    def integrate(self, tokens: Tensor, noise: Tensor, steps: int | None = None) -> Tensor:
        return self.first.view(1, -1, 1, 1) * torch.ones(len(tokens), 1, *self.shape)


class Near(nn.Module):
    """A critic that values a subgoal by how near its first number is to that of the best; members agree."""

    def __init__(self, best: float):
        super().__init__()
        self.best = best

    def readout(self, tokens: Tensor) -> Tensor:
        return tokens

    def q(self, features: Tensor, subgoals: Tensor):
        value = -(subgoals[:, :, 0, 0] - self.best).square()
        return type("Estimate", (), {"value": value.unsqueeze(0)})


@pytest.mark.parametrize(("best", "nearest"), [(0.4, 0.5), (-1.0, -0.3)])
def test_sharsa_does_what_leads_to_the_subgoal_that_the_critic_values_most(best, nearest):
    learner = toy.agent(toy.shipped("sharsa", selection={"num_samples": 3}))
    learner.extra["condition"], learner.action_head = Writes(), Says()
    learner.extra["subgoals"], learner.critic = Fixed([0.1, 0.5, -0.3]), Near(best)
    actions = learner.act(toy.observation(4), Draws(0, 0))
    torch.testing.assert_close(actions, torch.full_like(actions, nearest))


class Normal(AnyExpert):
    """The expert of a flow whose data are normal with this mean and spread: E[x1 | x_t], in closed form."""

    def __init__(self, mean: float, spread: float):
        super().__init__()
        self.mean, self.spread = mean, spread

    def memory(self, tokens: Tensor) -> None:
        return None

    def time(self, t: Tensor) -> Tensor:
        return t

    def at(self, x: Tensor, t: Tensor, memory: None) -> Tensor:
        t = t.unsqueeze(-1)
        variance = t**2 * self.spread**2 + (1 - t) ** 2
        return self.mean + t * self.spread**2 / variance * (x - t * self.mean)


def test_sharsas_candidates_follow_the_distribution_of_the_subgoals_that_were_learned():
    mean, spread, policy = 1.5, 0.2, toy.agent(toy.shipped("sharsa"))
    config = ActionHeadConfig(kind="flow", chunk=1, execute=1, flow_steps=100)
    policy.extra["subgoals"] = flow = FlowHead(policy.backbone.width, 3, SUBGOAL, config)
    flow.expert = Normal(mean, spread)
    tokens = torch.zeros(2, 1, policy.backbone.width)
    candidates = policy.objective.candidates(policy, tokens, 100, Draws(0, 0))
    assert candidates.shape == (2, 100, 1, SUBGOAL)
    assert stats.kstest(candidates.flatten().numpy(), stats.norm(mean, spread).cdf).statistic < 0.03  # 3000 numbers


# -------------------------------------------------------------------------------------------------- one-step policies


class Noise(nn.Module):
    """A one-step policy that does the noise it is given."""

    def forward(self, tokens: Tensor, noise: Tensor) -> Tensor:
        return noise


DISTILLED = [name for name, objective in OBJECTIVES.items() if "distil" in objective.extractions]


@pytest.mark.parametrize("name", DISTILLED)
def test_a_distilled_policy_acts_by_normal_noise_cut_to_the_box(name):
    over = {"objective": {"extraction": "distil"}, "action_head": {"kind": "flow"}, "selection": {"num_samples": 1}}
    if name == "mc_awr":
        over["objective"]["params"] = {"advantage": "q"}
    learner = toy.agent(toy.shipped(name, **over))
    learner.extra["one_step"] = Noise()
    actions = learner.act(toy.observation(256), Draws(0, 0)).flatten().numpy()
    assert np.abs(actions).max() == 1
    inside = actions[np.abs(actions) < 1]
    assert len(inside) / len(actions) == pytest.approx(stats.norm.cdf(1) - stats.norm.cdf(-1), abs=0.03)
    assert stats.kstest(inside, stats.truncnorm(-1, 1).cdf).statistic < 0.035  # 2100 numbers


def test_a_one_step_policy_turns_every_sample_of_the_noise_into_a_chunk_of_its_own():
    torch.manual_seed(0)
    policy = OneStep(96, 3, chunk=2, action_dim=1).double()
    tokens, noise = torch.randn(3, 4, 96).double(), torch.randn(3, 5, 2, 1).double().requires_grad_()
    chunks = policy(tokens, noise)
    for sample in range(5):
        (slope,) = torch.autograd.grad(chunks[:, sample].square().sum(), noise, retain_graph=True)
        assert (slope[:, sample].abs() > 1e-8).all()
        assert (slope[:, [other for other in range(5) if other != sample]] == 0).all()


def test_a_one_step_policy_can_follow_a_map_of_the_noise():
    torch.manual_seed(0)
    policy, tokens = OneStep(96, 3, chunk=1, action_dim=1), torch.zeros(1, 1, 96)
    noise = torch.linspace(-2, 2, 32).view(1, -1, 1, 1)
    optimiser = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for _ in range(60):
        error = (policy(tokens, noise) - torch.sin(2 * noise)).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    assert error < 0.05  # a policy deaf to its noise is left with the variance, 0.5
