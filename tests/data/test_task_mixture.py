"""Several tasks in one batch: explicit weights, the same batch on any number of processes."""

import pytest
import torch
from synthetic import TASK, episode, write

from robo_orl.base.errors import UsageError
from robo_orl.data.cache import open_cache
from robo_orl.data.statistics import joint_statistics, statistics
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.task_data import TaskMixture

TABLES = [(torch.full((1, 2), i), torch.ones(1, 2, dtype=torch.bool)) for i in range(2)]


@pytest.fixture
def arrays(tmp_path):
    files = [write(tmp_path / "a.hdf5", [episode(5, True, 0)]), write(tmp_path / "b.hdf5", [episode(50, False, 1)])]
    return [open_cache(file) for file in files]


def mixture(arrays, weights):
    windows = [PairedWindows(a, 4, 3, 0.9, instructions=t) for a, t in zip(arrays, TABLES, strict=True)]
    return TaskMixture(windows, weights)


def task_of(window):
    return window.obs.instruction[:, 0]


def test_shares_are_the_weights_whatever_the_amount_of_data(arrays):
    both = mixture(arrays, [3, 1])
    assert len(both) == 55
    tasks = torch.cat([task_of(both.batch(0, step, 0, 1, 512)) for step in range(10)])
    assert (tasks == 1).float().mean() == pytest.approx(0.25, abs=0.04)  # 2,560 draws: 0.0086 is one deviation


def test_each_row_is_a_window_of_its_own_task(arrays):
    window = mixture(arrays, [1, 1]).batch(0, 0, 0, 1, 64)
    assert window.success.tolist() == [task == 0 for task in task_of(window).tolist()]
    for row, (task, frame) in enumerate(zip(task_of(window).tolist(), window.frame.tolist(), strict=True)):
        assert window.obs.low_dim["object"][row].tolist() == arrays[task].obs["object"][frame].tolist()


def test_two_processes_draw_the_batch_of_one(arrays):
    both = mixture(arrays, [1, 2])
    whole = both.batch(3, 7, 0, 1, 64)
    halves = [both.batch(3, 7, rank, 2, 64) for rank in (0, 1)]
    for name in ("actions", "reward", "frame"):
        assert torch.equal(torch.cat([getattr(half, name) for half in halves]), getattr(whole, name))
    assert torch.equal(torch.cat([half.obs.low_dim["object"] for half in halves]), whole.obs.low_dim["object"])
    with pytest.raises(UsageError, match="does not divide"):
        both.batch(0, 0, 0, 3, 64)


def test_observations_that_differ_are_refused_by_key(tmp_path, arrays):
    only = open_cache(tmp_path / "b.hdf5", ["object"])
    with pytest.raises(UsageError, match="'robot0_eef_pos' has 3 numbers there and 0 here.*observation.low_dim"):
        mixture([arrays[0], only], [1, 1])


def test_statistics_of_several_files_are_those_of_all_their_frames(tmp_path, arrays):
    both = joint_statistics([(a, None) for a in arrays])
    together = statistics(open_cache(write(tmp_path / "c.hdf5", [episode(5, True, 0), episode(50, False, 1)])))
    assert both.obs == together.obs and both.action_low == together.action_low and both.frames == 55
    assert both.data_sha256 not in (arrays[0].sha256, arrays[1].sha256)


def test_the_data_of_one_task_have_the_statistics_they_had(arrays):
    assert joint_statistics([(arrays[0], None)]) == statistics(arrays[0])
    assert TASK.name == "toy"
