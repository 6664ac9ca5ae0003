import pytest
import torch
import toy_agents as toy

from robo_orl.base.errors import UsageError
from robo_orl.base.types import Observation
from robo_orl.config import SIZES, BackboneConfig
from robo_orl.models.backbones.transformer import Transformer, parameters_of_size

TINY = BackboneConfig(size="tiny")
MILLIONS = {"tiny": 0.3, "xs": 0.8, "s": 6.3, "m": 34, "l": 98, "xl": 332, "1b": 1050, "3b": 2930, "7b": 7280}


@pytest.mark.parametrize("size", MILLIONS)
def test_a_size_has_the_parameters_that_its_name_promises(size):
    with torch.device("meta"):  # no memory: the largest is built in a second on any machine
        model = Transformer(toy.SPEC, BackboneConfig(size=size))
    counted = sum(p.numel() for p in model.parameters())
    assert counted == parameters_of_size(size, toy.SPEC)
    assert counted == pytest.approx(MILLIONS[size] * 1e6, rel=0.15)
    assert model.width == 32 * SIZES[size] == model.blocks[0].attention.heads * (64 if model.width >= 640 else 32)


def test_every_size_is_tested():
    assert list(MILLIONS) == list(SIZES)


def test_an_agent_of_7b_is_built_on_the_meta_device():
    policy = toy.policy("iql", backbone={"size": "7b"})
    with torch.device("meta"):
        agent = toy.agent(policy)
    assert {p.device.type for p in agent.parameters()} == {"meta"}
    assert agent.parameter_counts()["backbone"] == parameters_of_size("7b", toy.SPEC)


def test_one_token_per_key_and_each_sees_every_key():
    torch.manual_seed(0)
    model, obs = Transformer(toy.SPEC, TINY), toy.observation(2)
    tokens = model(obs)
    assert tokens.shape == (2, len(toy.SPEC), 96)
    for key in toy.SPEC:
        moved = Observation({**obs.low_dim, key: obs.low_dim[key] + 1}, {})
        assert ((model(moved) - tokens).abs().amax(-1) > 1e-4).all(), f"a token does not see {key}"


def test_rows_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    model, obs = Transformer(toy.SPEC, TINY), toy.observation(4)
    torch.testing.assert_close(model(obs)[:2], model(obs.map(lambda t: t[:2])), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"images": {"front": torch.zeros(2, 3, 8, 8)}}, "not built for the camera 'front'"),
        ({"instruction": torch.zeros(2, 4, dtype=torch.int64)}, "has an instruction"),
    ],
)
def test_what_it_was_not_built_for_is_refused(extra, says):
    low_dim = toy.observation(2).low_dim
    with pytest.raises(UsageError, match=says):
        Transformer(toy.SPEC, TINY)(Observation(low_dim, extra.get("images", {}), extra.get("instruction")))


def test_an_unknown_size_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'tiny'"):
        Transformer(toy.SPEC, BackboneConfig(size="tinny"))
