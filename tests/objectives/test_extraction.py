"""The parts of extracting a policy: the gradient through Q, the indicator, the guided flow, and the refusals."""

import numpy as np
import pytest
import torch
import toy_agents as toy

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.objectives.conditioned import Threshold
from robo_orl.objectives.step import Step


def doubled(config):
    """A trained agent and a window in float64."""
    learner = toy.agent(config)
    toy.train(learner, 2)
    window = toy.window(6).map(lambda t: t.double() if t.is_floating_point() else t)
    return learner.double(), window


CLIMBERS = {
    "fql": (toy.shipped("fql"), "one_step", "one_step"),
    "cql": (toy.shipped("cql"), "actor", "action_head"),
    "dqc_ddpg_bc": (
        toy.shipped(
            "dqc", objective={"extraction": "ddpg_bc"}, action_head={"kind": "l1"}, selection={"num_samples": 1}
        ),
        "actor",
        "action_head",
    ),
}


@pytest.mark.parametrize(("config", "term", "group"), CLIMBERS.values(), ids=CLIMBERS)
def test_the_gradient_through_q_is_that_of_finite_differences(config, term, group, monkeypatch):
    learner, window = doubled(config)
    monkeypatch.setattr(Step, "batch_mean", lambda self, values: torch.tensor(0.7))  # the scale is not differentiated
    parameters = learner.parameter_groups()[group]
    generator = torch.Generator().manual_seed(0)
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]

    def value() -> torch.Tensor:
        return learner.objective.losses(Step(learner, window, Draws(0, 0)))[0][term]

    def shifted(by: float) -> float:
        for p, d in zip(parameters, direction, strict=True):
            p.data += by * d
        result = value().item()
        for p, d in zip(parameters, direction, strict=True):
            p.data -= by * d
        return result

    gradients = torch.autograd.grad(value(), parameters)
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True)).item()
    assert slope == pytest.approx((shifted(1e-6) - shifted(-1e-6)) / 2e-6, rel=1e-4)
    assert slope != 0


def test_climbing_reaches_the_actions_and_nothing_else():
    learner, window = doubled(toy.shipped("td3_bc"))
    step = Step(learner, window, Draws(0, 0))
    actions = torch.zeros(6, toy.CHUNK, toy.ACTION_DIM, dtype=torch.float64, requires_grad=True)
    height = step.climb("now", actions)
    torch.testing.assert_close(height, step.aggregate(step.q("now", actions.detach()).value))
    gradients = torch.autograd.grad(height.sum(), [actions, *learner.parameters()], allow_unused=True)
    (expected,) = torch.autograd.grad(step.aggregate(step.q("now", actions).value).sum(), actions)
    torch.testing.assert_close(gradients[0], expected)
    assert all(g is None for g in gradients[1:])


@pytest.mark.parametrize("name", ["td3_bc", "iql_ddpg_bc"])
def test_what_lies_outside_of_the_box_is_brought_back_by_cloning_and_not_by_q(name):
    learner, window = doubled(toy.shipped(name, action_head={"kind": "l1"}))
    step = Step(learner, window, Draws(0, 0))
    outside = torch.full((12, toy.CHUNK, toy.ACTION_DIM), 1.5, dtype=torch.float64, requires_grad=True)
    step.agent.action_head.predict = lambda tokens: outside
    (of_actor,) = torch.autograd.grad(learner.objective.losses(step)[0]["actor"], outside)
    assert (of_actor[step.mask] > 0).all()  # downhill leads back inside, whatever Q says


def test_climbing_a_critic_that_says_zero_everywhere_is_cloning():
    learner, window = toy.agent(toy.shipped("iql_ddpg_bc")), toy.window()
    with torch.no_grad():
        for parameter in learner.critic.parameters():
            parameter.zero_()
    loss, metrics = learner(window, Draws(0, 0))
    assert metrics["actor/q"] == 0 and torch.isfinite(loss)


def test_cql_clones_first_and_climbs_afterwards():
    learner, window = doubled(toy.shipped("cql", objective={"params": {"bc_steps": 3}}))

    def actor(draws):
        step = Step(learner, window, draws)
        terms, metrics = learner.objective.losses(step)
        return step, terms["actor"] + learner.extra["temperature"]().exp() * metrics["actor/entropy"]

    step, cloning = actor(Draws(0, 2))
    torch.testing.assert_close(cloning.item(), step.policy_loss().mean().item())
    _, climbing = actor(Draws(0, 3))
    fresh = Step(learner, window, Draws(0, 3))
    chunks = torch.cat([fresh.sample_with_log_prob(frames, 10)[0][:, 0] for frames in ("now", "next")])
    torch.testing.assert_close(climbing.item(), -fresh.climb("both", chunks).mean().item())


def test_the_slow_policy_follows_at_the_rate_of_the_critic_s_copy():
    learner = toy.agent(toy.shipped("td3_bc", critic={"tau": 0.25}))
    start = {name: p.detach().clone() for name, p in learner.action_head.named_parameters()}
    toy.train(learner, 1)
    slow = dict(learner.slow_head.named_buffers())
    for name, p in learner.action_head.named_parameters():
        assert not torch.equal(p, start[name])
        torch.testing.assert_close(slow[name], start[name] + 0.25 * (p.detach() - start[name]))


def test_with_bce_a_policy_climbs_the_logit():
    learner, window = doubled(toy.shipped("td3_bc", critic={"loss": "bce"}))
    step = Step(learner, window, Draws(0, 0))
    q = step.q("now")
    torch.testing.assert_close(step.climb("now", step.actions[:6], member=1), q.value[1].logit())


@pytest.mark.parametrize("fraction", [0.3, 0.4])
def test_the_threshold_finds_the_quantile_of_the_advantages(fraction):
    advantages = torch.from_numpy(np.random.default_rng(0).normal(0.05, 0.2, 4000)).float()
    threshold = Threshold(fraction)
    optimiser = torch.optim.AdamW(threshold.parameters(), lr=2e-3)
    for _ in range(400):
        optimiser.zero_grad()
        threshold(advantages)[0].mean().backward()
        optimiser.step()
    assert threshold(advantages)[1].float().mean().item() == pytest.approx(fraction, abs=0.02)


def flow_head():
    learner = toy.agent(toy.policy("bc"))
    toy.train(learner, 2)
    tokens = [torch.randn(3, 4, learner.backbone.width, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    noise = torch.randn(3, 2, toy.CHUNK, toy.ACTION_DIM, generator=torch.Generator().manual_seed(2))
    return learner.action_head, *tokens, noise


def test_guidance_scales_what_the_condition_changes_in_the_velocity():
    head, conditioned, plain, noise = flow_head()
    with torch.no_grad():
        one_step = {w: head.integrate(conditioned, noise, 1, guide=(plain, w)) for w in (0.0, 1.0, 2.5)}
        torch.testing.assert_close(one_step[1.0], head.integrate(conditioned, noise, 1))
        torch.testing.assert_close(one_step[0.0], head.integrate(plain, noise, 1))
        expected = one_step[0.0] + 2.5 * (one_step[1.0] - one_step[0.0])
        torch.testing.assert_close(one_step[2.5], expected)


def test_guidance_changes_how_recap_acts_and_not_how_it_learns():
    plain, guided = (toy.agent(toy.shipped("recap", objective={"params": {"guidance": g}})) for g in (1.0, 2.0))
    assert toy.train(plain, 3) == toy.train(guided, 3)
    obs = toy.observation(4)
    assert (plain.act(obs, Draws(0, 0)) != guided.act(obs, Draws(0, 0))).any()


def test_a_conditioned_policy_acts_on_what_it_is_asked_for():
    config = toy.shipped("return_conditioned")
    good, bad = (toy.agent(toy.shipped(config.name, objective={"params": {"target": t}})) for t in (1.0, 0.0))
    for learner in (good, bad):
        toy.train(learner, 3)
    obs = toy.observation(4)
    assert (good.act(obs, Draws(0, 0)) != bad.act(obs, Draws(0, 0))).any()


def test_a_distilled_policy_acts_in_the_flow_s_place():
    learner, obs = toy.agent(toy.shipped("qc_fql")), toy.observation(3)
    before = learner.act(obs, Draws(0, 0))
    with torch.no_grad():
        learner.action_head.expert.out.weight.zero_()
    assert torch.equal(learner.act(obs, Draws(0, 0)), before)
    with torch.no_grad():
        learner.extra["one_step"].expert.out.weight.zero_()
    assert not torch.equal(learner.act(obs, Draws(0, 0)), before)


def test_sharsa_acts_towards_the_subgoal_of_the_highest_value():
    learner, obs = toy.agent(toy.shipped("sharsa", selection={"num_samples": 6})), toy.observation(4)
    toy.train(learner, 2)
    tokens = learner.policy_tokens(learner.normaliser.observation(obs))
    candidates = learner.objective.candidates(learner, tokens, 6, Draws(0, 0))  # (B, N, 1, G)
    assert candidates.shape == (4, 6, 1, sum(toy.SPEC.values()) + 1)
    features = learner.critic.readout(tokens)
    best = learner.aggregate(learner.critic.q(features, candidates).value).argmax(-1)
    draws = Draws(0, 0)
    chosen = learner.objective.realise(learner, tokens, candidates[range(4), best], draws)
    torch.testing.assert_close(learner.act(obs, Draws(0, 0)), learner.normaliser.raw_actions(chosen))
    chunk = torch.zeros(4, toy.CHUNK, toy.ACTION_DIM)
    assert torch.equal(learner.value(obs, chunk), learner.value(obs, chunk + 1))  # V: its Q values no chunks


REFUSED = {
    "extraction of an objective that has its own": (
        toy.shipped("td3_bc", objective={"extraction": "awr"}),
        "remove objective.extraction",
    ),
    "an extraction that does not fit": (toy.shipped("qc", objective={"extraction": "awr"}), "best_of_n or ddpg_bc or"),
    "a parameter of the extraction that was left": (
        toy.policy("iql", objective={"params": {"beta": 3.0}, "extraction": "best_of_n"}),
        "beta belongs to extraction awr",
    ),
    "parameters in two places": (
        toy.policy("iql", objective={"extraction": {"kind": "awr", "params": {"beta": 3.0}}}),
        "set objective.params instead",
    ),
    "an unknown parameter of an extraction": (
        toy.policy("iql", objective={"extraction": {"kind": "distil", "params": {"alfa": 3.0}}}),
        "Did you mean 'alpha'",
    ),
    "a gradient through a flow": (toy.policy("iql", objective={"extraction": "ddpg_bc"}), "set action_head.kind to l1"),
    "distilling what is no flow": (toy.policy("iql", head="l1", objective={"extraction": "distil"}), "kind to flow"),
    "an extraction that reads a Q nobody trains": (
        toy.policy("mc_awr", objective={"extraction": "best_of_n"}),
        "trains no Q here",
    ),
    "best of N of a deterministic policy": (
        toy.policy("iql", head="l1", objective={"extraction": "best_of_n"}),
        "is deterministic",
    ),
    "guidance of a head without velocities": (
        toy.shipped("recap", action_head={"kind": "l1"}, objective={"params": {"guidance": 2.0}}),
        "guidance mixes velocities",
    ),
    "guidance without the plain policy": (
        toy.shipped("recap", objective={"params": {"guidance": 2.0, "dropout": 0.0}}),
        "set dropout above 0",
    ),
    "td3_bc with a flow": (toy.shipped("td3_bc", action_head={"kind": "flow"}), "set action_head.kind to l1"),
    "cql without a density": (toy.shipped("cql", action_head={"kind": "flow", "min_std": None}), "kind to gaussian"),
    "cql on half a chunk": (toy.shipped("cql", n_step=2), "set action_head.chunk to 2"),
    "averaging samples that are one": (
        toy.shipped("awac", action_head={"kind": "l1"}, objective={"params": {"num_samples": 4}}),
        "set it to 1",
    ),
    "a temperature of a binary weight": (
        toy.shipped("crr", objective={"params": {"weight": "binary"}}),
        "belong to weight exp",
    ),
    "q-chunking on half a chunk": (toy.shipped("qc_fql", n_step=2), "use objective fql"),
    "decoupled chunks of another backup": (toy.shipped("dqc", n_step=2), "action_head.execute is the short chunk"),
    "an ensemble without Q": (toy.policy("mc_awr", critic={"ensemble": 5}), "critic.ensemble does nothing"),
    "a rate without a slow copy": (toy.policy("mc_awr", critic={"tau": 0.1}), "critic.tau does nothing"),
    "bins of a squared error": (toy.policy("iql", critic={"bins": 51}), "critic.bins does nothing"),
    "bounds of a squared error": (toy.policy("iql", critic={"value_range": [0, 2]}), "value_range does nothing"),
    "a soft minimum of one critic": (
        toy.shipped("bcq", critic={"ensemble": 1}, objective={"params": {"min_weight": 0.5}}),
        "min_weight does nothing here, critic.ensemble is 1",
    ),
    "a weight between networks that share nothing": (
        toy.shipped("mpo_separate", objective={"params": {"critic_weight": 0.5}}),
        "topology is separate: remove it",
    ),
    "a cut of no noise": (
        toy.shipped("td3_bc", objective={"params": {"policy_noise": 0.0, "noise_clip": 0.3}}),
        "'noise_clip' does nothing where 'policy_noise' is 0",
    ),
    "a temperature of mere cloning": (
        toy.shipped("mpo", objective={"params": {"alpha": 1.0, "eta": 0.3}}),
        "'eta' does nothing where 'alpha' is 1",
    ),
    "a cut of weights that are one": (
        toy.shipped("iql", objective={"params": {"beta": 0.0, "max_weight": 5.0}}),
        "'max_weight' does nothing where 'beta' is 0",
    ),
    "a cut of weights that are one, of an extraction": (
        toy.shipped(
            "dqc",
            objective={"extraction": {"kind": "awr", "params": {"beta": 0.0, "max_weight": 5.0}}},
            selection={"num_samples": 1},
        ),
        "'max_weight' does nothing where 'beta' is 0",
    ),
    "a critic's rate without a critic": (
        toy.shipped("bc_flow", optim={"critic_lr": 1e-4}),
        "trains no critic: remove optim.critic_lr",
    ),
    "subgoals of pictures": (
        toy.shipped("sharsa", observation={"cameras": ["agentview"]}),
        "set observation.cameras to",
    ),
    "the size of a backbone that is not there": (
        toy.policy("iql", critic={"small_size": "s"}),
        "small_size does nothing",
    ),
}


@pytest.mark.parametrize(("config", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_would_do_nothing_or_does_not_fit_is_refused_by_name(config, sentence):
    with pytest.raises(UsageError, match=sentence) as error:
        toy.agent(config)
    assert "\n" not in str(error.value)
