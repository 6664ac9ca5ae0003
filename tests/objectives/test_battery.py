"""The tests that every objective passes, by the policy file of its name: a new one is picked up from the registry."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy_agents as toy
from policy_files import FROM_DATA

from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation
from robo_orl.objectives import step as step_module

CONFIGS = {name: toy.shipped(name) for name in FROM_DATA} | {
    "iql_advantage_condition": toy.shipped("iql", objective={"extraction": "advantage_condition"}),
    "recap_guided": toy.shipped("recap", objective={"params": {"guidance": 2.0}}),
    "iql_averaged_distil": toy.shipped("iql", objective={"extraction": "distil"}, optim={"policy_ema": 0.9}),
}
every_objective = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


@every_objective
def test_every_trained_parameter_takes_part_and_is_counted_once(config):
    learner = toy.agent(config)
    loss, metrics = learner(toy.window(), Draws(0, 0))
    loss.backward()
    assert loss.dim() == 0 and torch.isfinite(loss)
    assert all(m.dim() == 0 and not m.requires_grad for m in metrics.values())
    trained = [id(p) for group in learner.parameter_groups().values() for p in group]
    assert len(trained) == len(set(trained))
    for name, p in learner.named_parameters():
        assert (p.grad is not None) == (id(p) in trained) == p.requires_grad, name
        assert p.dim() > 0, name
    counts = learner.parameter_counts()
    assert counts.pop("total") == sum(counts.values())


@every_objective
def test_saved_after_two_steps_and_loaded_it_goes_on_the_same_to_four(config):
    first, resumed = toy.agent(config), toy.agent(config, seed=7)
    toy.train(first, 2)
    resumed.load_state_dict(first.state_dict())
    for learner in (first, resumed):
        toy.train(learner, 2, start=2)  # AdamW starts again in both: its state is the engine's to save
    for (name, a), b in zip(first.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    obs = toy.observation(3)
    acted = first.act(obs, Draws(0, 0))
    assert torch.equal(acted, resumed.act(obs, Draws(0, 0)))
    assert acted.shape == (3, toy.CHUNK, toy.ACTION_DIM) and acted.abs().max() <= 1 and not acted.requires_grad


@every_objective
def test_it_learns_and_acts_with_a_history_of_frames(config):
    learner = toy.agent(config.model_copy(update={"observation": config.observation.model_copy(update={"history": 3})}))

    def windows(step):
        made = [toy.window(seed=step + 10 * k) for k in range(3)]
        seen = {}
        for name in ("obs", "next_obs"):
            frames = [getattr(window, name).low_dim for window in made]
            seen[name] = Observation({key: torch.stack([f[key] for f in frames], 1) for key in toy.SPEC}, {})
        return replace(made[0], **seen)

    assert all(np.isfinite(loss) for loss in toy.train(learner, 2, windows=windows))
    assert learner.act(windows(5).obs, Draws(0, 0)).shape == (8, toy.CHUNK, toy.ACTION_DIM)


@every_objective
def test_two_processes_see_the_loss_of_one(config, monkeypatch):
    learner, window = toy.agent(config), toy.window(8)
    means = []  # of the whole batch, as a collective would return them
    monkeypatch.setattr(step_module, "mean_over_processes", lambda value: means.append(value) or value)
    whole = learner(window, Draws(0, 0))[0]
    halves = []
    for rank in range(2):
        of_all = iter(means)
        monkeypatch.setattr(step_module, "mean_over_processes", lambda value, of_all=of_all: next(of_all))
        half = window.map(lambda t, rank=rank: t[4 * rank : 4 * rank + 4])
        halves.append(learner(half, Draws(0, 0, rank, world=2))[0])
    torch.testing.assert_close(torch.stack(halves).mean(), whole)


@every_objective
def test_it_learns_in_bfloat16_and_acts_in_float64(config):
    learner, obs = toy.agent(config), toy.observation(3)
    reference = learner(toy.window(), Draws(0, 0))[0].item()
    single = learner.act(obs, Draws(0, 0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = learner(toy.window(), Draws(0, 0))[0]
    mixed.backward()
    assert mixed.item() == pytest.approx(reference, rel=0.1, abs=0.02)
    double = learner.double().act(obs, Draws(0, 0)).float()
    same = (double - single).abs().amax((1, 2)) < 1e-3  # where two candidates are as good, either is right
    assert same.float().mean() > 0.6
    if config.critic is not None:
        assert learner.value(obs, single).shape == (3,)
