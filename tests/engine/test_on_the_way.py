"""Points on the way: learning goes on, no point is made twice, and nothing that happens to them ends the training."""

import signal
import sys
from pathlib import Path

import pytest
import tiny
from pydantic import ValidationError
from test_train import assert_equal_runs

import robo_orl.engine.train as engine
from robo_orl.base.errors import Interrupted, UsageError
from robo_orl.config import OnTheWay
from robo_orl.engine import on_the_way
from robo_orl.engine.train import train
from robo_orl.results.curves import points_file, read_points

FAKE = (sys.executable, str(Path(__file__).with_name("fake_judge.py")))


@pytest.fixture
def held_out(tmp_path):
    """A file of other episodes."""
    return tiny.synthetic.write(tmp_path / "held.hdf5", [tiny.synthetic.episode(12, True, 50 + i) for i in range(3)])


def wanted(held_out, every=5, **more):
    return {"every": every, "episodes": 0, "held_out": str(held_out)} | more


def lines(run):
    return points_file(run).read_text().splitlines()


def test_a_real_process_judges_and_the_weights_are_those_without_points(data, held_out, tmp_path):
    short = {"optim": {"steps": 6}}
    train(tiny.run_of(data, short, evaluation=wanted(held_out, 4)), tmp_path / "with", progress=False)
    train(tiny.run_of(data, short), tmp_path / "without", progress=False)
    assert_equal_runs(tmp_path / "with", tmp_path / "without")
    stored = read_points(tmp_path / "with")
    assert [point.step for point in stored] == [4, 6] and not any(point.failed for point in stored)
    first, last = (point.point for point in stored)
    assert set(first.losses) == {"loss", "actor/loss"} and first.losses != last.losses
    assert 0 < first.wall_s < last.wall_s and first.success is None and first.value_errors is None
    assert on_the_way.copies(tmp_path / "with") == [] and not (tmp_path / "without" / "curve").exists()


def test_a_resumed_run_makes_no_point_twice(data, held_out, tmp_path, monkeypatch):
    monkeypatch.setattr(on_the_way, "COMMAND", FAKE)
    run = tiny.run_of(data, evaluation=wanted(held_out), checkpoint_every=6)
    own = engine._train_step

    def killed(training, step, monitor):
        if step == 11:
            raise RuntimeError("killed")
        return own(training, step, monitor)

    monkeypatch.setattr(engine, "_train_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        train(run, tmp_path / "run", progress=False)
    monkeypatch.setattr(engine, "_train_step", own)
    train(run, tmp_path / "run", progress=False)  # from step 6: step 10 comes once more
    assert [point.step for point in read_points(tmp_path / "run")] == [5, 10, 15, 20] and len(
        lines(tmp_path / "run")
    ) == 4


def test_a_process_that_dies_costs_its_points_and_no_more(data, held_out, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(on_the_way, "COMMAND", FAKE)
    monkeypatch.setenv("JUDGE", "die")
    run = tiny.run_of(data, evaluation=wanted(held_out, 10))
    assert train(run, tmp_path / "run", progress=False).finished
    assert [point.failed[:28] for point in read_points(tmp_path / "run")] == ["its process ended with code "] * 2
    assert capsys.readouterr().err.count("no point of the learning curve at step") == 2


def test_copies_that_cannot_be_written_are_a_sentence(data, held_out, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(on_the_way, "COMMAND", FAKE)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "curve").write_text("a file where the folder should be")
    assert train(tiny.run_of(data, evaluation=wanted(held_out, 10)), tmp_path / "run", progress=False).finished
    assert "no point of the learning curve at step 10" in capsys.readouterr().err


def test_an_interruption_while_points_are_left_goes_on_with_them(data, held_out, tmp_path, monkeypatch):
    monkeypatch.setattr(on_the_way, "COMMAND", FAKE)
    monkeypatch.setenv("JUDGE", "hang")
    run = tiny.run_of(data, evaluation=wanted(held_out, 20))
    own = on_the_way.Evaluations._all_done

    def interrupted_once(evaluations, interrupted):
        signal.raise_signal(signal.SIGINT)
        return own(evaluations, interrupted)

    monkeypatch.setattr(on_the_way.Evaluations, "_all_done", interrupted_once)
    with pytest.raises(Interrupted, match="goes on from step_00000020"):
        train(run, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "train.json").exists() and len(on_the_way.copies(tmp_path / "run")) == 1
    monkeypatch.undo()
    monkeypatch.setattr(on_the_way, "COMMAND", FAKE)
    assert train(run, tmp_path / "run", progress=False).finished
    assert [point.step for point in read_points(tmp_path / "run")] == [20]


def test_a_run_may_be_resumed_with_other_points(data, held_out, tmp_path, monkeypatch):
    monkeypatch.setattr(on_the_way, "COMMAND", FAKE)
    train(tiny.run_of(data), tmp_path / "run", progress=False, stop_at=10)
    train(tiny.run_of(data, evaluation=wanted(held_out)), tmp_path / "run", progress=False)
    assert [point.step for point in read_points(tmp_path / "run")] == [15, 20]
    assert tiny.run_of(data).digest() == tiny.run_of(data, evaluation={}).digest()


def test_data_that_are_trained_on_are_not_held_out(data, tmp_path):
    with pytest.raises(UsageError, match="6 episodes of .*toy.hdf5 are held out and trained on: give --filter"):
        train(tiny.run_of(data, evaluation=wanted(data)), tmp_path / "run", progress=False)
    run = tiny.run_of(data, evaluation={"every": 5, "episodes": 0, "held_out_filter": "success"})
    with pytest.raises(UsageError, match="held out and trained on"):
        train(run, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "config.json").exists()


def test_points_that_measure_nothing_are_refused():
    with pytest.raises(ValidationError, match="needs held_out"):
        OnTheWay(every=5, episodes=0)


def test_the_process_is_part_of_no_launch():
    variables = {"RANK": "1", "WORLD_SIZE": "2", "ACCELERATE_USE_DEEPSPEED": "true", "MASTER_ADDR": "a", "HOME": "/h"}
    assert on_the_way._environment(variables).items() >= {("HOME", "/h"), ("CUDA_VISIBLE_DEVICES", "")}
    assert not {"RANK", "WORLD_SIZE", "ACCELERATE_USE_DEEPSPEED", "MASTER_ADDR"} & set(
        on_the_way._environment(variables)
    )
