"""Decoding as an axis: what acting does with the noise and the samples of a trained policy, without a new training."""

import pytest
import torch
import toy_agents as toy

from robo_orl.agent.agent import check_agent
from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws, ScaledDraws, derive_seed
from robo_orl.config import PolicyConfig, SelectionConfig
from robo_orl.config.presets import load_policy

OBS = toy.observation(5)
FLOWS = {
    "bc": toy.policy("bc"),
    "flow_expert": toy.policy("bc", head="flow_expert"),
    "averaged": toy.policy("bc", optim={"policy_ema": 0.9}),
    "return_conditioned": toy.shipped("return_conditioned+flow"),
    "guided": toy.shipped("recap", objective={"params": {"guidance": 2.0}}),
    "distilled": toy.shipped("fql"),
}
flows = pytest.mark.parametrize("config", FLOWS.values(), ids=FLOWS)


def acted(config: PolicyConfig, decision: int = 0, **selection: object) -> torch.Tensor:
    learner = toy.agent(config)
    learner.select_by(SelectionConfig(**selection))
    return learner.act(OBS, Draws(0, decision))


class Noise(Draws):
    """Draws whose normal numbers of the stream "act" are given: those of the whole scale, times a number."""

    def __init__(self, times: float):
        super().__init__(0, 0)
        self.times = times

    def normal(self, stream: str, *shape: int) -> torch.Tensor:
        return super().normal(stream, *shape) * (self.times if stream == "act" else 1)


@flows
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_the_noise_that_a_flow_starts_from_is_scaled_and_nothing_else(config, scale):
    by_hand = toy.agent(config).act(OBS, Noise(scale))
    assert torch.equal(acted(config, noise_scale=scale), by_hand)


@flows
def test_zero_noise_is_one_chunk_in_every_decision_and_a_scale_of_one_is_what_it_was(config):
    assert torch.equal(acted(config, 0, noise_scale=0), acted(config, 7, noise_scale=0))
    assert not torch.equal(acted(config, 0), acted(config, 7))
    assert torch.equal(acted(config, 0, noise_scale=1), toy.agent(config).act(OBS, Draws(0, 0)))


@flows
def test_a_fixed_noise_is_one_vector_in_every_decision_and_episode_and_another_one_with_another_seed(config):
    class Given(Draws):
        def normal(self, stream, *shape):
            own = torch.Generator().manual_seed(derive_seed(3, "fixed noise"))
            return (
                torch.randn(*shape[1:], generator=own).expand(shape)
                if stream == "act"
                else super().normal(stream, *shape)
            )

    fixed = acted(config, 0, noise_seed=3)
    assert torch.equal(fixed, toy.agent(config).act(OBS, Given(0, 0)))
    assert torch.equal(fixed, acted(config, 7, noise_seed=3)) and not torch.equal(fixed, acted(config, 0, noise_seed=4))
    alone = toy.agent(config)
    alone.select_by(SelectionConfig(noise_seed=3))
    row = alone.act(OBS.map(lambda values: values[2:3]), Draws(5, 5))
    torch.testing.assert_close(row[0], fixed[2])


def test_fixed_noises_can_be_ranked_too():
    learner = toy.agent(toy.policy("qc", selection={"num_samples": 4, "noise_seed": 1}))
    chunks, _ = learner.proposals(OBS, Draws(0, 0))
    assert (chunks.std(1) > 0).all() and torch.equal(chunks, learner.proposals(OBS, Draws(0, 9))[0])


def test_training_draws_what_it_drew_whatever_acting_does():
    config = toy.policy("qc", selection={"num_samples": 2})
    half = toy.policy("qc", selection={"num_samples": 2, "noise_scale": 0.5})
    assert toy.train(toy.agent(config), 3) == toy.train(toy.agent(half), 3)


def test_best_of_n_ranks_samples_of_less_noise():
    learner = toy.agent(toy.policy("qc", selection={"num_samples": 5, "noise_scale": 0.25}))
    tokens = learner.policy_tokens(learner.normaliser.observation(OBS))
    samples = learner.action_head.sample(tokens, 5, ScaledDraws(Draws(0, 0), "act", 0.25), "act")
    values = torch.stack([learner.value(OBS, learner.normaliser.raw_actions(samples[:, n])) for n in range(5)], -1)
    torch.testing.assert_close(learner.value(OBS, learner.act(OBS, Draws(0, 0))), values.amax(-1))
    assert samples.std(1).mean() < 0.5 * learner.action_head.sample(tokens, 5, Draws(0, 0), "act").std(1).mean()


def test_subgoals_keep_their_noise_so_that_there_is_something_to_rank():
    learner = toy.agent(toy.shipped("sharsa", selection={"num_samples": 3, "noise_scale": 0}))
    seen = []
    candidates = learner.objective.candidates
    learner.objective.candidates = lambda *args: seen.append(candidates(*args)) or seen[-1]
    learner.act(OBS, Draws(0, 0))
    assert (seen[0].std(1) > 0).any()


@pytest.mark.parametrize("head", ["gmm", "bins", "gaussian"])
def test_a_way_of_acting_is_chosen_after_training(head):
    config = toy.policy("bc", head=head)
    by_file = {way: toy.policy("bc", head=head, action_head={"acting": way}) for way in ("mode", "sample")}
    for way, written in by_file.items():
        assert torch.equal(acted(config, acting=way), toy.agent(written).act(OBS, Draws(0, 0)))
        assert torch.equal(acted(written), toy.agent(written).act(OBS, Draws(0, 0)))  # none chosen: the file's
    assert not torch.equal(acted(config, acting="mode"), acted(config, acting="sample"))


def test_the_averaged_policy_acts_as_chosen_too():
    config = toy.policy("bc", head="gmm", optim={"policy_ema": 0.9})
    assert torch.equal(acted(config, 0, acting="mode"), acted(config, 3, acting="mode"))
    assert not torch.equal(acted(config, 0), acted(config, 3))


def test_random_actions_are_uniform_and_the_same_for_every_policy():
    many = toy.observation(2000)
    actions = []
    for config in (toy.policy("bc", head="l1"), toy.policy("bc")):
        learner = toy.agent(config)
        learner.normaliser.action_centre += 3.0
        learner.select_by(SelectionConfig(acting="random"))
        actions.append(learner.act(many, Draws(0, 0)))
    assert torch.equal(*actions) and actions[0].shape == (2000, toy.CHUNK, toy.ACTION_DIM)
    assert actions[0].min() < -0.999 and actions[0].max() > 0.999
    assert abs(actions[0].mean()) < 0.02 and abs(actions[0].var() - 1 / 3) < 0.01


REFUSED = {
    "no flow": ("bc+zero_noise", "the action head has no flow: leave it out, or set action_head.kind to flow"),
    "fixing no flow": ("bc+fixed_noise", "noise_seed fixes the noise that a flow starts from"),
    "fixing what is taken away": ("bc+flow+fixed_noise+zero_noise", "noise_scale 0 takes away: leave one out"),
    "copies": ("qc+zero_noise", "noise_scale 0 gives copies of one chunk: set selection.num_samples to 1"),
    "copies for no critic": ("bc+flow+best_of_n_untrained+zero_noise", "gives copies of one chunk"),
    "copies of the mode": ("qc+gmm+mode", "selection.acting 'mode' gives copies of one chunk"),
    "the mode of a flow": ("bc+flow+mode", "cannot act by 'mode': set selection.noise_scale to 0"),
    "the mode of one chunk": ("bc+mode", "cannot act by 'mode': leave selection.acting out"),
    "looking ahead of one": (
        "bc+flow",
        "look_ahead ranks samples: set selection.num_samples above 1",
        {"look_ahead": 9},
    ),
    "searching at times for nothing": (
        "qc",
        "look_every says how often selection.look_ahead searches",
        {"look_every": 3},
    ),
    "two ways of ranking": (
        "bc+flow+best_of_n_untrained",
        "selection.untrained_critic by a critic: leave one of them out",
        {"look_ahead": 9},
    ),
    "looking ahead of copies": ("bc+oracle_best_of_n", "needs a head that samples"),
    "choosing at random": ("qc+random", "'random' reads no network: leave everything else of selection out"),
}


@pytest.mark.parametrize(("name", "sentence", "more"), [(*c, {})[:3] for c in REFUSED.values()], ids=REFUSED)
def test_a_decoding_that_does_nothing_is_refused_in_one_sentence(name, sentence, more):
    policy = load_policy(name)
    policy = policy.model_copy(update={"selection": policy.selection.model_copy(update=more)})
    with pytest.raises(UsageError, match=sentence) as error:
        check_agent(policy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["bc+flow+zero_noise", "bc+flow+half_noise", "return_conditioned+flow+zero_noise", "recap+zero_noise",
     "qc+half_noise", "vla_flow+zero_noise", "bc+gmm+mode", "bc+gmm+sample", "bc+bins+sample", "bc+random",
     "bc+flow+fixed_noise", "return_conditioned+flow+fixed_noise",
     "bc+flow+oracle_best_of_n", "qc+oracle_best_of_n", "bc+gmm+oracle_best_of_n"],
)  # fmt: skip
def test_variants_of_decoding_compose_and_share_the_training(name):
    policy, base = load_policy(name), load_policy(name.rpartition("+")[0])
    check_agent(policy)
    assert policy.identity(exclude={"name", "selection"}) == base.identity(exclude={"name", "selection"})
    assert policy.selection != base.selection
