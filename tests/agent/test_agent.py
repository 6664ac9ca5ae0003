import pytest
import torch
import toy_agents as toy
from policy_files import policy_files

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import SelectionConfig

POLICIES = {
    "bc": toy.policy("bc", head="l1"),
    "bc_flow": toy.policy("bc"),
    "filtered_bc": toy.policy("filtered_bc"),
    "mc_awr": toy.policy("mc_awr", head="l1"),
    "mc_awr_q": toy.policy("mc_awr", objective={"params": {"advantage": "q"}}),
    "averaged": toy.policy("bc", optim={"policy_ema": 0.9}),
    "qc_hl_gauss": toy.policy("qc", critic={"loss": "hl_gauss", "ensemble": 3, "aggregate": "min"}),
    "iql_hl_gauss": toy.policy("iql", critic={"loss": "hl_gauss"}),
    "iql_n1": toy.policy("iql", n_step=1),
    "qc_full": toy.policy("qc", critic={"target": "full_ema"}),
    "iql_separate_full": toy.policy("iql", topology="separate", critic={"target": "full_ema"}),
} | {f"{o}_{t}": toy.policy(o, topology=t) for o in ("iql", "qc") for t in toy.TOPOLOGIES}

every_policy = pytest.mark.parametrize("config", POLICIES.values(), ids=POLICIES)


@every_policy
def test_a_step_gives_every_trained_parameter_a_gradient_and_no_other(config):
    learner = toy.agent(config)
    loss, metrics = learner(toy.window(), Draws(0, 0))
    loss.backward()
    assert loss.dim() == 0
    assert all(m.dim() == 0 and not m.requires_grad for m in metrics.values())
    trained = {id(p) for group in learner.parameter_groups().values() for p in group}
    for name, p in learner.named_parameters():
        assert p.dim() > 0, f"{name} has no axis"
        assert (p.grad is not None) == (id(p) in trained) == p.requires_grad, name


@every_policy
def test_components_add_up_to_the_total(config):
    counts = toy.agent(config).parameter_counts()
    total = counts.pop("total")
    assert sum(counts.values()) == total
    assert (counts["critic"] > 0) == (config.critic is not None)


@every_policy
def test_saved_and_loaded_it_acts_and_learns_as_before(config):
    learner, loaded = toy.agent(config), toy.agent(config, seed=7)
    toy.train(learner, 2)
    loaded.load_state_dict(learner.state_dict())
    obs = toy.observation(5)
    assert torch.equal(learner.act(obs, Draws(0, 0)), loaded.act(obs, Draws(0, 0)))
    assert torch.equal(learner(toy.window(), Draws(0, 5))[0], loaded(toy.window(), Draws(0, 5))[0])


@every_policy
def test_the_same_seed_trains_the_same_agent(config):
    first, second = toy.agent(config), toy.agent(config)
    assert toy.train(first, 2) == toy.train(second, 2)
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


@every_policy
def test_two_processes_see_the_loss_of_one(config):
    learner, whole = toy.agent(config), toy.window(8)
    halves = [
        learner(whole.map(lambda t, rank=rank: t[4 * rank : 4 * rank + 4]), Draws(0, 0, rank, world=2))[0]
        for rank in range(2)
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), learner(whole, Draws(0, 0))[0])


@every_policy
def test_it_acts_in_chunks_of_raw_actions(config):
    learner = toy.agent(config)
    learner.normaliser.action_centre += 3.0
    acted = learner.act(toy.observation(6), Draws(0, 0))
    assert acted.shape == (6, toy.CHUNK, toy.ACTION_DIM)
    assert not acted.requires_grad
    assert ((acted >= 2.0) & (acted <= 4.0)).all()


@pytest.mark.parametrize("name", policy_files())
def test_every_policy_file_builds_and_steps(name):
    config = toy.shipped(name)
    assert config.description
    assert all(torch.isfinite(torch.tensor(loss)) for loss in toy.train(toy.agent(config), 2))


# ------------------------------------------------------------------------------------------------------------ selection


def test_best_of_n_takes_the_sample_that_the_critic_values_most():
    learner = toy.agent(toy.policy("qc", selection={"num_samples": 5}))
    obs = toy.observation(6)
    best = learner.value(obs, learner.act(obs, Draws(0, 0)))
    tokens = learner.policy_tokens(learner.normaliser.observation(obs))
    samples = learner.action_head.sample(tokens, 5, Draws(0, 0), "act")
    values = torch.stack([learner.value(obs, learner.normaliser.raw_actions(samples[:, n])) for n in range(5)], -1)
    torch.testing.assert_close(best, values.amax(-1))
    assert (values.amax(-1) > values.amin(-1)).all()


@pytest.mark.parametrize("name", ["qc", "sharsa", "bc+flow+best_of_n_untrained", "recap", "bc"])
def test_proposals_are_the_chunks_among_which_acting_chooses(name):
    learner, obs = toy.agent(toy.shipped(name)), toy.observation(6)
    chunks, values = learner.proposals(obs, Draws(0, 0))
    assert chunks.shape == (6, learner.selection.num_samples, toy.CHUNK, toy.ACTION_DIM)
    acted = learner.act(obs, Draws(0, 0))
    ranked = name in ("qc", "sharsa", "bc+flow+best_of_n_untrained")
    assert (values is not None) == ranked
    if ranked and name != "sharsa":
        torch.testing.assert_close(chunks[range(6), values.argmax(-1)], acted)
    elif learner.selection.num_samples == 1:
        assert torch.equal(chunks[:, 0], acted)


def test_an_agent_alone_cannot_look_ahead():
    learner = toy.agent(toy.policy("qc", selection={"num_samples": 3, "look_ahead": 10}))
    assert learner.proposals(toy.observation(2), Draws(0, 0))[0].shape[1] == 3
    with pytest.raises(UsageError, match="acts without one: evaluate the policy by `robo-orl eval`"):
        learner.act(toy.observation(2), Draws(0, 0))


def test_best_of_n_costs_one_backbone_pass():
    learner, passes = toy.agent(toy.policy("qc", selection={"num_samples": 8})), []
    learner.backbone.register_forward_hook(lambda *_: passes.append(1))
    learner.act(toy.observation(3), Draws(0, 0))
    assert len(passes) == 1


def test_an_untrained_critic_can_rank_what_a_trained_one_ranked():
    learner = toy.agent(toy.policy("qc", selection={"num_samples": 8}))
    toy.train(learner, 3)
    state, obs = learner.state_dict(), toy.observation(32)
    trained = learner.act(obs, Draws(0, 0))
    learner.select_by(SelectionConfig(num_samples=8, untrained_critic=True))
    untrained = learner.act(obs, Draws(0, 0))
    assert (trained != untrained).any()
    assert learner.state_dict().keys() == state.keys()
    control = toy.agent(toy.policy("bc", selection={"num_samples": 8, "untrained_critic": True}))
    control.load_state_dict({k: v for k, v in state.items() if k in control.state_dict()})
    assert torch.equal(control.act(obs, Draws(0, 0)), untrained)


def test_an_untrained_critic_stays_untrained():
    learner = toy.agent(toy.policy("bc", selection={"num_samples": 4, "untrained_critic": True}))
    before = [b.clone() for b in learner.untrained.buffers()]
    toy.train(learner, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.untrained.buffers(), strict=True))
    assert learner.parameter_counts()["critic"] == 0


# ------------------------------------------------------------------------------------------------------ averaged policy


def test_the_averaged_policy_acts_and_the_online_one_learns():
    learner = toy.agent(toy.policy("bc", head="l1", optim={"policy_ema": 0.999}))
    toy.train(learner, 3)
    obs = toy.observation(4)
    acted = learner.act(obs, Draws(0, 0))
    average, learner.average = learner.average, None
    assert (acted != learner.act(obs, Draws(0, 0))).any()
    learner.backbone.load_state_dict(average.backbone.state_dict())
    learner.action_head.load_state_dict(average.action_head.state_dict())
    torch.testing.assert_close(acted, learner.act(obs, Draws(0, 0)))


def test_without_a_critic_there_is_no_value():
    with pytest.raises(UsageError, match="has no critic"):
        toy.agent().value(toy.observation(1), torch.zeros(1, toy.CHUNK, toy.ACTION_DIM))


def test_a_monte_carlo_critic_values_states():
    learner = toy.agent(toy.policy("mc_awr"))
    obs, chunk = toy.observation(3), torch.zeros(3, toy.CHUNK, toy.ACTION_DIM)
    assert learner.value(obs, chunk).shape == (3,)
    assert torch.equal(learner.value(obs, chunk), learner.value(obs, chunk + 1))


@every_policy
def test_it_acts_in_float64_as_in_float32(config):
    learner, obs = toy.agent(config), toy.observation(4)
    single = learner.act(obs, Draws(0, 0))
    torch.testing.assert_close(learner.double().act(obs, Draws(0, 0)).float(), single, rtol=1e-4, atol=1e-4)
    if config.critic is not None:
        assert learner.value(obs, single).shape == (4,)


@every_policy
def test_it_learns_in_bfloat16(config):
    """Under autocast, and with bfloat16 parameters beside float32 buffers, as DeepSpeed keeps them."""
    learner = toy.agent(config)
    reference = learner(toy.window(), Draws(0, 0))[0].item()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = learner(toy.window(), Draws(0, 0))[0]
    mixed.backward()
    for p in learner.parameters():
        p.data = p.data.bfloat16()
        p.grad = None
    pure = learner(toy.window(), Draws(0, 0))[0]
    pure.backward()
    learner.update_targets()
    assert [mixed.item(), pure.item()] == pytest.approx([reference, reference], rel=0.1)
