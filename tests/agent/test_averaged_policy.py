"""The averaged policy: its formula, all of its parts, and the critic that ranks its samples on the online weights."""

import pytest
import torch
import toy_agents as toy

from robo_orl.base.rng import Draws

AVERAGED = {
    "cloning": toy.policy("bc", optim={"policy_ema": 0.5}),
    "one-step policy": toy.shipped("qc_fql", optim={"policy_ema": 0.5}),
    "condition": toy.shipped("recap", optim={"policy_ema": 0.5}),
}


def acting(learner) -> dict[str, torch.Tensor]:
    """The acting networks by the names in their average: the critic's own modules take no part."""
    parts = {"backbone": learner.backbone, "action_head": learner.action_head}
    parts |= {f"extra.{name}": module for name, module in learner.extra.items() if not name.startswith("critic")}
    return {f"{at}.{name}": p.detach().clone() for at, part in parts.items() for name, p in part.named_parameters()}


@pytest.mark.parametrize("config", AVERAGED.values(), ids=AVERAGED)
def test_every_part_that_acts_is_averaged_and_the_start_is_forgotten_sooner(config):
    """d = min(decay, (1 + u) / (10 + u)) after u updates: 0.1, 2/11 and 0.25 in the first three."""
    learner = toy.agent(config)
    expected = {name: value.double() for name, value in acting(learner).items()}
    for update, decay in enumerate((0.1, 2 / 11, 0.25)):
        toy.train(learner, 1, start=update, lr=1e-2)
        for name, value in acting(learner).items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    held = dict(learner.average.named_buffers())
    assert held.keys() == expected.keys() | {"updates"}
    for name, value in expected.items():
        torch.testing.assert_close(held[name].double(), value, rtol=1e-5, atol=1e-6, msg=name)


def test_the_average_never_moves_faster_than_its_decay():
    learner = toy.agent(toy.policy("bc", optim={"policy_ema": 0.5}))
    learner.average.updates.fill_(1000)
    before, online = learner.average.backbone.norm.weight.clone(), learner.backbone.norm.weight
    with torch.no_grad():
        online += 1.0
    learner.update_targets()
    torch.testing.assert_close(learner.average.backbone.norm.weight, before + 0.5)


def put(slow: torch.nn.Module, online: torch.nn.Module) -> None:
    """The numbers of one module into the averaged copy of another."""
    numbers = dict(online.named_parameters())
    for name, buffer in slow.named_buffers():
        buffer.copy_(numbers[name])


@pytest.mark.parametrize("topology", ["shared", "shared_detached", "separate"])
def test_samples_of_the_average_are_ranked_by_the_critic_on_the_tokens_that_it_learned_on(topology):
    config = toy.policy("qc", topology=topology, optim={"policy_ema": 0.9}, selection={"num_samples": 6})
    learner, other, obs = toy.agent(config), toy.agent(config, seed=7), toy.observation(16)
    put(learner.average.backbone, other.backbone)
    put(learner.average.action_head, other.action_head)
    with torch.no_grad():
        seen = learner.normaliser.observation(obs)
        samples = other.action_head.sample(other.backbone(seen), 6, Draws(0, 0), "act")  # (B, N, h, A)
        values = {}
        for name, trunk in {"online": learner.critic_backbone or learner.backbone, "average": other.backbone}.items():
            values[name] = learner.critic.q(learner.critic.readout(trunk(seen)), samples).value.mean(0)
        rows = torch.arange(16)
        chosen = {name: samples[rows, value.argmax(-1)] for name, value in values.items()}
        acted = learner.normaliser.scale_actions(learner.act(obs, Draws(0, 0)))
    torch.testing.assert_close(acted, chosen["online"])
    assert (chosen["online"] != chosen["average"]).any()  # else the test shows nothing
