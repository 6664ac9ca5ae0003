"""What `data info` tells, and what statistics hold."""

import json

import numpy as np
import pytest
from synthetic import SPEC, TASK, episode, write

from robo_orl.data.cache import open_cache
from robo_orl.data.info import describe
from robo_orl.data.statistics import STD_FLOOR, Statistics, statistics


@pytest.fixture
def file(tmp_path):
    episodes = [episode(6, True, 1), episode(9, False, 2, operator="hasty"), episode(4, True, 3)]
    for item in episodes:
        item.obs["object"][:, 4] = 0.25  # a padding dimension
    return write(tmp_path / "a.hdf5", episodes)


def test_the_table_counts_by_mask_and_by_operator(file):
    summary = describe(file).to_json()
    json.dumps(summary)
    assert (summary["all"]["success_k"], summary["all"]["success_n"], summary["all"]["frames"]) == (2, 3, 19)
    assert summary["masks"]["success"]["episodes"] == 2 and summary["masks"]["worse"]["success_k"] == 0
    assert summary["operators"]["hasty"]["length_max"] == 9 and summary["operators"]["better_1"]["length_median"] == 5.0
    assert summary["obs"] == SPEC and list(summary["obs"]) == list(SPEC) and summary["action_dim"] == 7
    assert summary["task"] == "toy" and summary["task_digest"] == TASK.digest() and not summary["stored_next_obs"]


def test_statistics_are_those_of_the_frames(file):
    arrays = open_cache(file)
    found = statistics(arrays)
    wide = arrays.obs["robot0_eef_pos"].astype(np.float64)
    np.testing.assert_allclose(found.obs["robot0_eef_pos"].mean, wide.mean(0))
    np.testing.assert_allclose(found.obs["robot0_eef_pos"].std, wide.std(0))
    np.testing.assert_allclose(found.action_high, arrays.actions.max(0))
    assert found.frames == 19 and found.data_sha256 == arrays.sha256 and list(found.obs) == list(SPEC)


def test_a_constant_dimension_gets_the_floor(file):
    found = statistics(open_cache(file)).obs["object"]
    assert found.std[4] == STD_FLOOR and found.mean[4] == 0.25 and found.std[0] > STD_FLOOR


def test_a_mask_restricts_the_frames(file):
    found = statistics(open_cache(file), "success")
    assert found.frames == 10 and found.mask == "success"


def test_statistics_survive_json_exactly(file):
    found = statistics(open_cache(file))
    assert Statistics.model_validate_json(found.model_dump_json()) == found
