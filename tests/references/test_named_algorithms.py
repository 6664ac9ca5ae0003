"""A reference is the algorithm that it is called after, and acts on observations as its training saw them."""

import h5py
import numpy as np
import pytest
import torch
from tiny_references import settings

from robo_orl.evaluate.rollouts import Ask
from robo_orl.references.algorithms import ALGORITHMS, resolve, robomimic_config
from robo_orl.references.evaluate import _actor, _run

pytest.importorskip("robomimic", reason="robomimic is not installed")

CLASSES = {  # robomimic 0.3.0's own
    "bc_rnn_gmm": "BC_RNN_GMM",
    "bc_transformer": "BC_Transformer_GMM",
    "iql": "IQL",
    "cql": "CQL",
    "bcq": "BCQ",
    "td3_bc": "TD3_BC",
    "hbc": "HBC",
    "iris": "IRIS",
}
HELD = {"hbc": {"planner": "GL_VAE", "actor": "RNN"}, "iris": {"planner": "ValuePlanner", "actor": "RNN"}}


def built(name, *more):
    """A freshly built algorithm that sees one number and has one action."""
    from robo_orl.references.algo import build_algo

    config = robomimic_config(resolve(name, settings(name, *more)), ["position"], "line.hdf5", 0)
    return build_algo(config, {"position": [1]}, 1)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_algorithm_that_is_built_is_the_one_that_is_named(name):
    algo = built(name)
    assert type(algo).__name__ == CLASSES[name]
    for part, kind in HELD.get(name, {}).items():
        assert kind in type(getattr(algo, part)).__name__


def test_a_description_says_what_the_settings_are():
    """The numbers that `robo-orl list` tells about the references are those that they train with."""
    told = {name: resolve(name).settings for name in ALGORITHMS}
    assert "expectile 0.9" in ALGORITHMS["iql"].description and told["iql"]["algo"]["vf_quantile"] == 0.9
    assert "best of 100" in ALGORITHMS["bcq"].description
    assert told["bcq"]["algo"]["critic"]["num_action_samples_rollout"] == 100
    assert "ten frames" in ALGORITHMS["bc_transformer"].description
    assert told["bc_transformer"]["train"]["frame_stack"] == 10
    normalised = {name for name, values in told.items() if values["train"]["hdf5_normalize_obs"]}
    assert normalised == {name for name in ALGORITHMS if "normalised observations" in ALGORITHMS[name].description}


class Spy:
    """An algorithm that notes what it is shown."""

    device = "cpu"

    def __init__(self):
        self.seen = []

    def get_action(self, obs_dict, goal_dict=None):
        self.seen.append(obs_dict["position"].numpy().ravel())
        return torch.zeros(1, 1)

    def set_eval(self): ...

    def reset(self): ...


def positions(file):
    with h5py.File(file) as held:
        return np.concatenate([demo["obs/position"][:] for demo in held["data"].values()]).ravel().astype(np.float64)


NORMALISED = {
    "its default": ("td3_bc", (), True),
    "switched off": ("td3_bc", ("train.hdf5_normalize_obs=false",), False),
    "asked for": ("iql", ("train.hdf5_normalize_obs=true",), True),
    "no default": ("iql", (), False),
}


@pytest.mark.parametrize(("name", "more", "is_normalised"), NORMALISED.values(), ids=NORMALISED)
def test_a_reference_acts_on_observations_as_its_training_saw_them(name, more, is_normalised, trained, line):
    actor, spy = _actor(_run(trained(name, *more), None), seed=0), Spy()
    actor.policy.policy = spy
    shown = np.array([-1.5, 0.25, 2.0], np.float32)
    for decision, position in enumerate(shown):
        actor([Ask(0, decision, {"position": np.array([position])})])
    data = positions(line)
    expected = (shown - data.mean()) / (data.std() + 1e-3) if is_normalised else shown  # 1e-3: robomimic's own
    np.testing.assert_allclose(np.concatenate(spy.seen), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "more", "is_normalised"), NORMALISED.values(), ids=NORMALISED)
def test_a_reference_learns_from_observations_that_are_normalised_once(
    name, more, is_normalised, trained, line, monkeypatch
):
    import robomimic.algo as algorithms

    kind, batches = getattr(algorithms, CLASSES[name]), []
    real = kind.train_on_batch

    def noted(self, batch, *rest, **options):
        batches.append(batch)
        return real(self, batch, *rest, **options)

    monkeypatch.setattr(kind, "train_on_batch", noted)
    trained(name, *more)
    data = positions(line)
    known = (data - data.mean()) / (data.std() + 1e-3) if is_normalised else data
    seen = np.concatenate([batch["obs"]["position"].numpy().ravel() for batch in batches])
    assert len(seen) == 16  # two steps of eight
    assert np.abs(seen[:, None] - known).min(1).max() < 1e-4
