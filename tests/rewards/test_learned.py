"""Learned rewards on a process with a known answer, and that a fault put in on purpose is seen."""

import numpy as np
import pytest
import torch
from processes import walks

from robo_orl.base.errors import UsageError
from robo_orl.config import RewardConfig
from robo_orl.data.cache import open_cache
from robo_orl.rewards.labels import true_marks
from robo_orl.rewards.preferences import bradley_terry
from robo_orl.rewards.progress import rewound, targets
from robo_orl.rewards.relabel import relabel, reward_of

SMALL = {"steps": 120, "batch": 32}
ALONE = {"history": 1}


def judged(tmp_path, source, labels=12, params=None, **values):
    """The quality of a source on held-out walks."""
    path, out = tmp_path / "a.hdf5", tmp_path / "out.hdf5"
    if not path.exists():
        walks(path)
    out.unlink(missing_ok=True)
    config = RewardConfig(name=source, source=source, labels=labels, params=SMALL | (params or {}), **values)
    relabel(path, config, out)
    return reward_of(out)["quality"], open_cache(out)


def test_a_classifier_knows_successes_that_nobody_labelled_and_labels_by_chance_teach_it_nothing(tmp_path):
    found, arrays = judged(tmp_path, "classifier", params=ALONE)
    assert found["episodes"] == 4 and found["auc"] == 1.0 and found["brier"] < 0.1
    assert found["hacked"]["k"] == 0 and found["false_successes"]["k"] == 0
    wrong, _ = judged(tmp_path, "classifier", params=ALONE, noise={"flip": 0.5})
    assert wrong["brier"] > 2 * found["brier"]


def test_progress_follows_the_place_and_marks_by_chance_do_not(tmp_path):
    params = {"history": 3, "gap": 1}
    found, arrays = judged(tmp_path, "progress", params=params)
    assert found["tau_stage"] > 0.6 and found["tau_distance"] > 0.9 and found["auc"] == 1.0
    assert found["hacked"]["k"] == 0
    wrong, _ = judged(tmp_path, "progress", params=params, noise={"flip": 0.5})
    assert wrong["tau_distance"] < found["tau_distance"] and wrong["auc"] < found["auc"]


def test_strides_are_longer_where_the_task_moves_on(tmp_path):
    found, arrays = judged(tmp_path, "stride", labels=None, params={"reach": 8, "bins": 9, "networks": 1})
    assert found["tau_distance"] > 0.9, "whoever walks on gets further"


@pytest.mark.slow
def test_preferences_reward_the_window_in_which_more_is_done(tmp_path):
    params = {"window": 8, "seen": 2, "batch": 16, "history": 2, "gap": 2}
    found, arrays = judged(tmp_path, "preferences", labels=100, params=params)
    assert found["auc"] == 1.0


def test_bradley_terry_has_its_closed_form():
    """Of two windows, one is preferred in 8 of 10 answers: the difference of their rewards is ln 4."""
    rewards = torch.zeros(2, requires_grad=True)
    answers = torch.tensor([1.0] * 8 + [0.0] * 2)
    optimiser = torch.optim.LBFGS([rewards], max_iter=50)

    def closure():
        optimiser.zero_grad()
        loss = bradley_terry(rewards.expand(10, 2), answers)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert float((rewards[0] - rewards[1]).detach()) == pytest.approx(np.log(4), abs=1e-3)


def test_targets_are_known_up_to_the_last_mark_and_an_interval_after_it(tmp_path):
    arrays = open_cache(walks(tmp_path / "a.hdf5", many=2))
    low, high = targets(arrays, true_marks(arrays))
    failure, success = slice(0, arrays.starts[1]), slice(arrays.starts[1], None)
    np.testing.assert_array_equal(low[success], high[success])
    assert low[-1] == 1.0 and (np.diff(low[success]) > 0).all()
    assert (low[failure][-1], high[failure][-1]) == (0.5, 1.0)


def test_a_rewound_window_ends_in_frames_going_back(tmp_path):
    from robo_orl.rewards.model import Frames

    frames = Frames(open_cache(walks(tmp_path / "a.hdf5", many=2)), 4, 1)
    at = np.full(50, 10)
    windows = rewound(frames, at, 1.0, np.random.default_rng(0))
    assert {tuple(row) for row in windows} == {(8, 9, 10, 9), (9, 10, 9, 8)}
    np.testing.assert_array_equal(rewound(frames, at, 0.0, np.random.default_rng(0)), frames.windows(at))


def test_a_model_is_its_seeds_and_a_killed_call_keeps_its_finished_parts(tmp_path):
    params = {"reach": 4, "bins": 5, "networks": 2, "steps": 3}
    _, first = judged(tmp_path, "stride", None, params)
    state = torch.random.get_rng_state()
    _, again = judged(tmp_path, "stride", None, params)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(first.rewards, again.rewards)
    assert not list(tmp_path.glob(".*parts"))


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"source": "classifier", "params": {"low_dim": ["eye"]}}, "Unknown observation key of .* 'eye'"),
        ({"source": "classifier", "params": {"cameras": ["agentview"]}}, "Unknown camera of .* 'agentview'"),
        ({"source": "preferences"}, "learns from pairs: say how many with --labels"),
        (
            {"source": "preferences", "labels": 5, "params": {"window": 500}},
            "longer than a window: lower params.window",
        ),
        ({"source": "stride", "params": {"history": 2}}, "history"),
        ({"source": "classifier", "rest": "drop"}, "judges every episode, so that `rest` does nothing"),
    ],
)
def test_models_that_do_not_fit_the_file_are_refused(values, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        relabel(walks(tmp_path / "a.hdf5", many=4), RewardConfig(name="r", **values), tmp_path / "out.hdf5")
    assert not (tmp_path / "out.hdf5").exists()
