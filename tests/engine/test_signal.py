"""Data that teach a policy nothing, or more than its value head can hold, end a training before its first step."""

import pytest
import synthetic
import tiny

from robo_orl.base.errors import UsageError
from robo_orl.config import DataReading, GammaConfig, PolicyConfig, RunConfig, TaskConfig, parse
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.engine.train import train


def windows_of(run):
    return make_windows(run, open_data(run))


def test_filtered_cloning_without_a_success_is_refused(tmp_path):
    data = synthetic.write(tmp_path / "a.hdf5", [synthetic.episode(9, False, seed) for seed in range(3)])
    run = tiny.run_of(data, {"objective": {"name": "filtered_bc"}})
    with pytest.raises(UsageError, match="No episode of .* succeeds, and objective 'filtered_bc' learns"):
        train(run, tmp_path / "run", progress=False)
    windows_of(tiny.run_of(data))  # cloning learns from failures too


def test_cloning_of_the_best_draws_the_best_and_refuses_data_without_an_order(tmp_path):
    episodes = [synthetic.episode(length, success, length) for length, success in ((9, False), (14, True), (11, True))]
    best = tiny.run_of(synthetic.write(tmp_path / "a.hdf5", episodes), {"objective": {"name": "top_bc"}})
    assert set(windows_of(best).batch(0, 0, 0, 1, 64).episode.tolist()) == {2}  # the faster success
    failures = synthetic.write(tmp_path / "b.hdf5", [synthetic.episode(9, False, seed) for seed in range(3)])
    with pytest.raises(UsageError, match="All 3 episodes have the same return, and objective 'top_bc' ranks them"):
        windows_of(tiny.run_of(failures, {"objective": {"name": "top_bc"}}))


@pytest.mark.parametrize("loss", ["bce", "hl_gauss"])
def test_returns_that_a_value_head_cannot_hold_are_refused(tmp_path, loss):
    episode = synthetic.episode(9, True, 1)
    episode.rewards[-3:] = 1  # as in a file that goes on after the success
    data = synthetic.write(tmp_path / "a.hdf5", [episode])
    critic = {"critic": {"loss": loss}, "objective": {"name": "iql"}}
    with pytest.raises(UsageError, match="reach from .* to 2.97, and the value head of policy 'tiny' holds 0 to 1"):
        windows_of(tiny.run_of(data, critic))
    critic["critic"]["value_range"] = [0, 3]
    windows_of(tiny.run_of(data, critic))


def test_the_choices_of_reading_are_part_of_a_run_and_their_defaults_of_no_digest(tmp_path):
    data = synthetic.write(tmp_path / "a.hdf5", [synthetic.episode(9, True, 1)])
    plain = tiny.run_of(data)
    assert plain.digest() == tiny.run_of(data, reading=DataReading()).digest()
    clipped = tiny.run_of(data, reading=DataReading(clip_actions=True))
    assert clipped.digest() != plain.digest()
    assert RunConfig.model_validate(clipped.model_dump(mode="json")) == clipped


def test_a_discount_below_zero_is_refused():
    with pytest.raises(UsageError, match="gamma.matched is 1000, and the task has 160 decisions"):
        GammaConfig(matched=1000).value(160)
    assert GammaConfig(matched=2).value(160) == 1 - 2 / 160


@pytest.mark.parametrize("ends", [[1, 0], [0, 0], [0, float("inf")]])
def test_a_range_of_values_is_ordered(ends):
    with pytest.raises(UsageError, match="value_range is .low, high. with low below high|finite number"):
        parse(PolicyConfig, {"name": "a", "critic": {"value_range": ends}}, "policy")


@pytest.mark.parametrize(("seconds", "said"), [(0.01, "is no decision: set max_seconds"), (float("inf"), "finite")])
def test_a_task_has_a_decision_and_an_end(seconds, said):
    with pytest.raises(UsageError, match=said):
        parse(TaskConfig, {"name": "a", "env": "lift", "stages": ["lifted"], "max_seconds": seconds}, "task")
