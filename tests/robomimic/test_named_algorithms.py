"""A reference is the algorithm that it is called after, and acts on observations as its training saw them."""

import h5py
import numpy as np
import pytest
import synthetic
import torch
from tiny_references import settings

from robo_orl.robomimic.algorithms import ALGORITHMS, resolve, robomimic_config
from robo_orl.robomimic.evaluation import load_run, make_actor
from robo_orl.robomimic.train import train_reference
from robo_orl.rollout.episodes import PolicyQuery

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
    from robo_orl.robomimic.algo import build_algo

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
    actor, spy = make_actor(load_run(trained(name, *more), None), seed=0), Spy()
    actor.policy.policy = spy
    shown = np.array([-1.5, 0.25, 2.0], np.float32)
    for decision, position in enumerate(shown):
        actor([PolicyQuery(0, decision, {"position": np.array([position])})])
    data = positions(line)
    expected = (shown - data.mean()) / (data.std() + 1e-3) if is_normalised else shown  # 1e-3: robomimic's own
    np.testing.assert_allclose(np.concatenate(spy.seen), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def learned(monkeypatch):
    """A function of an algorithm's name: what its training learns from in every step, once it has trained."""
    import robomimic.algo as algorithms

    def of(name):
        kind, batches = getattr(algorithms, CLASSES[name]), []
        real = kind.train_on_batch

        def noted(self, batch, *rest, **options):
            batches.append(batch)
            return real(self, batch, *rest, **options)

        monkeypatch.setattr(kind, "train_on_batch", noted)
        return batches

    return of


def of_key(batches, key="position"):
    return np.concatenate([batch["obs"][key].numpy().ravel() for batch in batches])


@pytest.mark.parametrize(("name", "more", "is_normalised"), NORMALISED.values(), ids=NORMALISED)
def test_a_reference_learns_from_observations_that_are_normalised_once(
    name, more, is_normalised, trained, line, learned
):
    batches = learned(name)
    trained(name, *more)
    data = positions(line)
    known = (data - data.mean()) / (data.std() + 1e-3) if is_normalised else data
    seen = of_key(batches)
    assert len(seen) == 16  # two steps of eight
    assert np.abs(seen[:, None] - known).min(1).max() < 1e-4


def test_a_reference_learns_from_the_episodes_of_its_filter_alone(trained, line, learned):
    batches = learned("iql")
    trained("iql", "train.hdf5_filter_key=success", "train.batch_size=32")
    with h5py.File(line) as held:
        won = [name.decode() for name in held["mask/success"][:]]
        frames = {name: demo["obs/position"][:].ravel() for name, demo in held["data"].items()}
    assert 0 < len(won) < len(frames)
    allowed = set(np.concatenate([frames[name] for name in won]).tolist())
    assert set(of_key(batches).tolist()) <= allowed


def test_a_reference_sees_the_keys_that_it_was_told_and_no_others(tmp_path, learned):
    file = synthetic.write(tmp_path / "two.hdf5", [synthetic.episode(16, True, i) for i in range(3)], next_obs=True)
    for told, keys in (([], {"object": 5, "robot0_eef_pos": 3}), (["low_dim=[object]"], {"object": 5})):
        batches, run = learned("iql"), tmp_path / f"run{len(told)}"
        train_reference(resolve("iql", settings("iql", *told)), synthetic.TASK, file, run, progress=False)
        assert load_run(run, None).obs == keys and batches[0]["obs"].keys() == keys.keys()


def test_a_run_acts_by_its_newest_checkpoint_and_with_as_many_frames_as_it_learned_from(trained):
    trained("bc_transformer", stop_at=1)
    run = trained("bc_transformer")
    first, last = (
        torch.load(run / "checkpoints" / f"epoch_0000{epoch}" / "model.pth", weights_only=True)["model"]
        for epoch in (1, 2)
    )
    judged = load_run(run, None)
    acting = make_actor(judged, seed=0)
    assert judged.step == 2 and acting.frame_stack == 10
    networks = acting.policy.policy.serialize()
    assert all(torch.equal(networks[name], value) for name, value in last.items())
    assert any(not torch.equal(first[name], value) for name, value in last.items())
