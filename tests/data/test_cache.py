"""The conversion to memory-mapped arrays: once, complete, and never of another file."""

import multiprocessing
import os

import numpy as np
import pytest
from synthetic import SPEC, TASK, episode, write

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.os_errors import CACHE_VARIABLE
from robo_orl.data import cache
from robo_orl.data.cache import open_cache
from robo_orl.data.task_check import check_task


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "a.hdf5", [episode(6, True, 1), episode(9, False, 2), episode(4, True, 3)])


def test_arrays_hold_the_episodes_end_to_end(file):
    arrays = open_cache(file)
    assert arrays.spec == SPEC and arrays.action_dim == 7 and arrays.lengths.tolist() == [6, 9, 4]
    second = episode(9, False, 2)
    np.testing.assert_array_equal(arrays.obs["object"][6:15], second.obs["object"])
    np.testing.assert_array_equal(arrays.actions[6:15], second.actions)
    np.testing.assert_array_equal(arrays.stages[6:15], second.stages)
    assert arrays.success.tolist() == [True, False, True] == arrays.terminal.tolist()
    assert arrays.masks["success"].tolist() == [True, False, True]
    assert arrays.grades == ["better", "worse", "better"] and arrays.start_state.tolist() == [1, 2, 3]
    assert arrays.task == TASK and arrays.regime == "mh" and arrays.loop == "exact"


def test_arrays_are_mapped_and_read_only(file):
    actions = open_cache(file).actions
    assert isinstance(actions.base, np.memmap) and not actions.flags.writeable


def test_a_second_call_converts_nothing(file, monkeypatch):
    open_cache(file)
    monkeypatch.setattr(cache, "_convert", lambda *_: pytest.fail("converted twice"))
    assert len(open_cache(file)) == 3


def test_a_changed_file_is_converted_again(file):
    before = open_cache(file)
    write(file, [episode(5, True, 9)])
    after = open_cache(file)
    assert len(after) == 1 and after.sha256 != before.sha256


def test_keys_choose_and_order_the_observation(file):
    assert open_cache(file, ["object"]).spec == {"object": 5}
    assert list(open_cache(file, ["object", "robot0_eef_pos"]).spec) == ["object", "robot0_eef_pos"]
    with pytest.raises(UsageError, match="Did you mean 'object'"):
        open_cache(file, ["objekt"])


def test_a_conversion_that_fails_leaves_nothing(file, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_arrays", full)
    with pytest.raises(RunError, match="disk is full"):
        open_cache(file)
    assert [path.name for path in (cache.cache_folder() / "data").iterdir() if path.suffix != ".lock"] == []


def _convert_in_process(path, folder, barrier, results):
    os.environ[CACHE_VARIABLE] = folder
    barrier.wait()
    results.put(float(open_cache(path).actions.sum()))


def test_processes_that_convert_at_once_agree(file):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    arguments = (file, os.environ[CACHE_VARIABLE], barrier, results)
    processes = [context.Process(target=_convert_in_process, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    sums = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
    assert sums == {float(open_cache(file).actions.sum())}
    assert len([path for path in (cache.cache_folder() / "data").iterdir() if path.is_dir()]) == 1


def test_data_of_another_task_are_refused_in_words(file):
    arrays = open_cache(file)
    check_task(arrays, TASK)
    with pytest.raises(UsageError, match="holds data for task toy, but lift was asked for"):
        check_task(arrays, TASK.model_copy(update={"name": "lift"}))
    with pytest.raises(UsageError, match="control_hz is 20 there and 10 here"):
        check_task(arrays, TASK.model_copy(update={"control_hz": 10}))


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        open_cache(tmp_path / "none.hdf5")


def test_a_broken_file_is_refused_before_anything_is_written(file):
    import h5py

    with h5py.File(file, "r+") as opened:
        opened["data/demo_1/actions"][3, 2] = np.nan
    with pytest.raises(UsageError, match="demo_1/actions: holds NaN"):
        open_cache(file)
    assert not [path for path in (cache.cache_folder() / "data").iterdir() if path.is_dir()]


def test_in_robomimics_own_files_a_timeout_with_done_is_no_terminal(file):
    """They set done at the end of every episode and say neither success nor task: rewards tell."""
    import h5py

    with h5py.File(file, "r+") as opened:
        for name in list(opened["data"].attrs):
            if name not in ("total", "env_args"):
                del opened["data"].attrs[name]
        for demo in opened["data"].values():
            demo["dones"][-1] = 1
            del demo["stages"], demo.attrs["success"], demo.attrs["operator"], demo.attrs["grade"], demo.attrs["start"]
    arrays = open_cache(file)
    assert arrays.success.tolist() == arrays.terminal.tolist() == [True, False, True]
    assert arrays.stages.shape == (19, 0) and arrays.start_state.tolist() == [-1, -1, -1]
    with pytest.raises(UsageError, match="recorded in the environment Toy, and the task's is Lift"):
        check_task(arrays, TASK.model_copy(update={"name": "lift", "env": "lift"}))
