"""Copies of the weights are judged from the start states for tuning, one after the other, whatever happens to one."""

import shutil

import pytest
import toy_run
from scripted_scene import LineScene

from robo_orl.config import OnTheWay
from robo_orl.engine import on_the_way as engine
from robo_orl.engine.checkpoint import checkpoints
from robo_orl.engine.run_folder import read_run, read_spec, write_run
from robo_orl.evaluate import success
from robo_orl.evaluate.on_the_way import judge_copies
from robo_orl.results.curves import curve_of, points_file, read_points


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trained")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        return toy_run.trained(folder, toy_run.IQL)


@pytest.fixture
def run(trained_run, tmp_path, monkeypatch):
    """A run with two copies that wait, on the scripted scene."""
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    folder = shutil.copytree(trained_run, tmp_path / "run")
    seen = []

    def scene(task, loop, view, history, bank, keys):
        seen.append(bank)
        return LineScene(tmp_path, bank=bank)

    monkeypatch.setattr(success, "TaskEnvSpec", scene)
    config = read_run(folder).model_copy(update={"evaluation": OnTheWay(every=2, episodes=3)})
    write_run(folder, config, read_spec(folder))
    for step in (2, 4):
        shutil.copytree(checkpoints(folder)[-1], folder / "curve" / f"step_{step:08d}")
    yield folder
    assert set(seen) <= {"tuning"}, "points are never judged from the start states of results"


def test_points_hold_counts_losses_and_value_errors(run):
    judge_copies(run)
    curve = curve_of(run, "line")
    assert [point.step for point in curve.points] == [2, 4] and curve.starts_sha256 == "c" * 64
    assert all(point.success.n == 3 and point.losses is None for point in curve.points)
    assert curve.points[0].value_errors.n > 0 and curve.points[0].success == curve.points[1].success  # one checkpoint
    assert engine.copies(run) == [] and not (run / "eval").exists()


def test_a_copy_that_fails_is_a_reason_and_the_next_one_is_judged(run):
    (engine.copies(run)[0] / "agent.safetensors").write_bytes(b"cut")
    judge_copies(run)
    failed, whole = read_points(run)
    assert "cannot be read" in failed.failed and failed.point is None and whole.point.success.n == 3
    assert engine.copies(run) == [] and [point.step for point in curve_of(run, "line").points] == [4]


def test_a_point_that_is_there_is_not_made_again(run):
    judge_copies(run)
    before = points_file(run).read_text()
    shutil.copytree(checkpoints(run)[-1], run / "curve" / "step_00000004")
    judge_copies(run)
    assert points_file(run).read_text() == before and engine.copies(run) == []


def test_a_damaged_line_of_the_points_is_left_out(run):
    judge_copies(run)
    with points_file(run).open("a") as file:
        file.write('{"step": 9, "ta')
    assert [point.step for point in read_points(run)] == [2, 4]
