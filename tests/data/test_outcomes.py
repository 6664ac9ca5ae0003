"""Other outcomes of the same episodes: permuted among them, and failures that end in terminals."""

import h5py
import numpy as np
import pytest
from foreign import as_robomimic, changed, lift_file
from synthetic import episode, write

from robo_orl.base.errors import UsageError
from robo_orl.config import TaskConfig
from robo_orl.data.cache import open_cache
from robo_orl.data.edit import Edit, edit
from robo_orl.data.validate import faults
from robo_orl.data.windows import PairedWindows


def edited(path, change, name="edited.hdf5"):
    out = path.with_name(name)
    edit([path], out, change)
    return out


def file_of(tmp_path, many=10):
    """Every third episode succeeds; all stop before the time limit of 40 decisions, at different lengths."""
    lengths = [8 + 3 * i for i in range(many)]
    return write(tmp_path / "a.hdf5", [episode(n, i % 3 == 0, seed=i) for i, n in enumerate(lengths)])


def test_permuted_outcomes_are_those_of_other_episodes_and_all_else_stays(tmp_path):
    path = file_of(tmp_path)
    before, after = open_cache(path), open_cache(edited(path, Edit(permute_outcomes=0)))
    np.testing.assert_array_equal(after.observations, before.observations)
    np.testing.assert_array_equal(after.actions, before.actions)
    np.testing.assert_array_equal(after.lengths, before.lengths)
    assert after.success.sum() == before.success.sum() == 4 and (after.success != before.success).any()
    np.testing.assert_array_equal(after.terminal, after.success)
    np.testing.assert_array_equal(after.masks["success"], after.success)
    for e in range(len(after)):
        frames = slice(after.starts[e], after.starts[e + 1])
        rewards, stages = after.rewards[frames], after.stages[frames]
        assert rewards.sum() == after.success[e] and (not after.success[e] or rewards[-1] == 1)
        half = stages[:, 0].argmax() / (len(stages) - 1)
        assert 0.4 <= half <= 0.6, "the first stage came half way"


def test_the_permutation_is_the_seeds_and_no_episode_keeps_its_outcome(tmp_path):
    path = write(tmp_path / "a.hdf5", [episode(20, True, seed=i) for i in range(8)])
    with h5py.File(path, "r+") as file:
        for i in range(8):
            file[f"data/demo_{i}/rewards"][:] = 0
            file[f"data/demo_{i}/rewards"][i] = 1

    def rewarded_at(name, seed):
        return open_cache(edited(path, Edit(permute_outcomes=seed), name)).rewards.reshape(8, 20).argmax(1)

    first, again, other = rewarded_at("b.hdf5", 0), rewarded_at("c.hdf5", 0), rewarded_at("d.hdf5", 1)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != np.arange(8)).all() and sorted(first) == list(range(8))


def test_ended_failures_are_terminals_to_which_backups_reach_and_timeouts_are_none(tmp_path):
    task = TaskConfig(name="toy", env="toy", stages=["grasped", "placed"], max_seconds=1.0)  # 20 decisions
    path = write(tmp_path / "a.hdf5", [episode(12, True), episode(12, False), episode(20, False)], task=task)
    before, after = open_cache(path), open_cache(edited(path, Edit(end_failures=True)))
    assert before.terminal.tolist() == [True, False, False] and after.terminal.tolist() == [True, True, False]
    assert after.success.tolist() == before.success.tolist() == [True, False, False]
    for arrays, reached in ((before, False), (after, True)):
        window = PairedWindows(arrays, chunk=5, n=5, gamma=0.9).gather(np.array([12 + 10]))  # near the walking off
        assert window.td_valid.tolist() == [reached] and window.discount.tolist() == [0.0]
    assert faults(tmp_path / "edited.hdf5") == []


def test_ends_are_permuted_with_the_outcomes(tmp_path):
    after = open_cache(edited(file_of(tmp_path), Edit(end_failures=True, permute_outcomes=2)))
    assert after.terminal.all() and after.success.sum() == 4


def test_a_copy_says_which_regime_it_is_and_what_it_was_made_of(tmp_path):
    path = file_of(tmp_path)
    out = edited(path, Edit(permute_outcomes=0, end_failures=True))
    assert open_cache(out).regime == "mh+ended+permuted"
    assert edit([path], out, Edit(permute_outcomes=0, end_failures=True)).regime == "mh+ended+permuted"
    with pytest.raises(UsageError, match="exists; choose another --out"):
        edit([path], out, Edit(permute_outcomes=1, end_failures=True))


def test_files_of_other_software_take_part_by_their_rewards(tmp_path):
    path = changed(tmp_path / "a.hdf5", as_robomimic)
    permuted = open_cache(edited(path, Edit(permute_outcomes=0)))
    assert permuted.success.sum() == 3 and (permuted.success != open_cache(path).success).any()
    ended = open_cache(edited(path, Edit(end_failures=True), "ended.hdf5"))
    assert ended.terminal.all() and ended.success.sum() == 3


def test_what_cannot_be_permuted_is_refused(tmp_path):
    path = lift_file(tmp_path / "a.hdf5")
    with pytest.raises(UsageError, match="needs two episodes, and 1 is left"):
        edit([path], tmp_path / "b.hdf5", Edit(select=["demo_0"], permute_outcomes=0))

    def without_rewards(file):
        del file["data/demo_1/rewards"]

    bare = changed(tmp_path / "c.hdf5", without_rewards)
    with pytest.raises(UsageError, match="demo_1: the dataset rewards is missing, and cannot be permuted"):
        edit([bare], tmp_path / "d.hdf5", Edit(permute_outcomes=0))
    assert not (tmp_path / "b.hdf5").exists() and not (tmp_path / "d.hdf5").exists()
