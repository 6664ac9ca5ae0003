"""One process: what a run writes, how it continues, and how it ends badly."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny
import torch
from policy_files import one_an_objective
from safetensors.torch import load_file

from robo_orl.base.errors import Interrupted, RunError, UsageError
from robo_orl.config import sha256_of
from robo_orl.engine.checkpoint import checkpoints, load_agent
from robo_orl.engine.interruption import deferred_interruption
from robo_orl.engine.train import train

IQL = tiny.CASES["iql_separate"]
FLOW = {"action_head": {"kind": "flow", "flow_steps": 2}}


def tensors(run: Path, file: str = "agent.safetensors") -> dict:
    return load_file(checkpoints(run)[-1] / file)


def assert_equal_runs(ours: Path, theirs: Path) -> None:
    for file in ("agent.safetensors", "optimizer.safetensors"):
        ours_, theirs_ = tensors(ours, file), tensors(theirs, file)
        assert ours_.keys() == theirs_.keys()
        assert all(torch.equal(ours_[name], theirs_[name]) for name in theirs_)


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


COST = ("step_s", "samples_per_s", "data_share", "memory_gb", "warm_up")


def timeless(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name not in COST} for row in rows]


def test_the_run_folder_says_everything(data, tmp_path):
    run = tiny.run_of(data, IQL)
    summary = train(run, tmp_path / "run", progress=False)
    assert summary.finished and summary.steps == 20 and summary.samples_per_s > 0
    assert summary.peak_memory_bytes > 1e8 and "RSS" in summary.peak_memory_of
    assert 0 < summary.data_share < 1
    counts = summary.parameters
    assert sum(counts[k] for k in ("backbone", "action_head", "critic", "target")) == counts["total"]
    assert json.loads((tmp_path / "run" / "train.json").read_text()) == summary.to_json()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["digest"] == run.digest()
    assert json.loads((tmp_path / "run" / "engine.json").read_text())["engine"] == "single"
    assert json.loads((tmp_path / "run" / "versions.json").read_text())["torch"]
    assert [row["step"] for row in rows(tmp_path / "run")] == [10, 20]
    assert {"loss", "actor/loss", "optim/grad_norm", "samples_per_s"} <= rows(tmp_path / "run")[0].keys()


def test_training_lowers_the_loss(data, tmp_path):
    train(tiny.run_of(data, {"optim": {"steps": 60, "lr": 1e-3}}), tmp_path / "run", progress=False)
    losses = [row["loss"] for row in rows(tmp_path / "run")]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", one_an_objective())
def test_every_shipped_policy_trains_and_every_parameter_of_it_takes_part(data, tmp_path, name):
    assert train(tiny.run_of(data, tiny.shipped()[name]), tmp_path / "run", progress=False, stop_at=2).steps == 2


@pytest.mark.parametrize("policy", [tiny.CASES["bc"], IQL], ids=["bc", "iql"])
def test_two_steps_then_resume_to_four_equal_four(data, tmp_path, policy):
    run = tiny.run_of(data, policy | {"optim": {"steps": 4, "policy_ema": 0.9}})
    train(run, tmp_path / "whole", progress=False)
    assert not train(run, tmp_path / "parts", progress=False, stop_at=2).finished
    assert train(run, tmp_path / "parts", progress=False).finished
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")


def test_a_finished_run_is_not_trained_again(data, tmp_path):
    run = tiny.run_of(data, {"optim": {"steps": 2}})
    first = train(run, tmp_path / "run", progress=False)
    assert train(run, tmp_path / "run", progress=False) == first


def test_killed_before_the_summary_it_is_written_from_what_there_is(data, tmp_path):
    run = tiny.run_of(data)
    first = train(run, tmp_path / "run", progress=False)
    (tmp_path / "run" / "train.json").unlink()
    again = train(run, tmp_path / "run", progress=False)
    assert again.finished and again.step_s == first.step_s


def test_the_last_two_checkpoints_are_kept(data, tmp_path):
    train(tiny.run_of(data, checkpoint_every=4), tmp_path / "run", progress=False)
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step_00000016", "step_00000020"]


@pytest.mark.parametrize(
    "policy",
    [
        {"objective": {"name": "iqll"}},
        {"backbone": {"size": "tny"}},
        {"selection": {"num_samples": 4}},
        {"action_head": {"flow_steps": 3}},
        IQL | {"critic": {"target": "none"}},
    ],
)
def test_what_is_refused_leaves_nothing_behind(policy, data, tmp_path):
    with pytest.raises(UsageError):
        train(tiny.run_of(data, policy), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_settings_that_changed_are_named(data, tmp_path):
    train(tiny.run_of(data), tmp_path / "run", progress=False, stop_at=2)
    with pytest.raises(UsageError, match="another policy.optim.lr"):
        train(tiny.run_of(data, {"optim": {"lr": 0.1}}), tmp_path / "run", progress=False)


def test_a_training_goes_on_under_the_name_and_decoding_of_another_row_that_shares_it(data, tmp_path):
    whole = train(tiny.run_of(data, FLOW), tmp_path / "whole", progress=False)
    train(tiny.run_of(data, FLOW), tmp_path / "run", progress=False, stop_at=2)
    other = FLOW | {"name": "quiet", "selection": {"noise_scale": 0.0}}
    assert train(tiny.run_of(data, other), tmp_path / "run", progress=False).finished and whole.finished
    one, two = (load_file(checkpoints(tmp_path / name)[-1] / "agent.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_run_that_never_reached_a_checkpoint_may_change(data, tmp_path):
    with pytest.raises(RunError, match="zero_stage 2"):
        train(tiny.run_of(data, expect={"zero_stage": 2}), tmp_path / "run", progress=False)
    assert train(tiny.run_of(data, {"optim": {"steps": 2}}), tmp_path / "run", progress=False).finished


def test_data_that_changed_are_an_error(data, tmp_path):
    train(tiny.run_of(data), tmp_path / "run", progress=False, stop_at=2)
    tiny.write_data(data, episodes=7)
    with pytest.raises(UsageError, match="trained on other data"):
        train(tiny.run_of(data), tmp_path / "run", progress=False)


def test_a_file_that_moved_is_no_change(data, tmp_path):
    train(tiny.run_of(data), tmp_path / "run", progress=False, stop_at=2)
    moved = data.rename(tmp_path / "moved.hdf5")
    assert train(tiny.run_of(moved), tmp_path / "run", progress=False).finished


def test_the_optimiser_must_step_once_per_backward(data, tmp_path, monkeypatch):
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a, **k: (step(self), step(self)))
    with pytest.raises(RunError, match="counts 4 steps where the loop counts 2"):
        train(tiny.run_of(data), tmp_path / "run", progress=False, stop_at=2)


def test_weights_that_are_not_finite_are_not_saved(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "robo_orl.engine.training_step.set_learning_rate", lambda optimizer, *_: _set(optimizer, float("inf"))
    )
    with pytest.raises(RunError, match="not finite|loss became"):
        train(tiny.run_of(data, {"optim": {"steps": 1}}), tmp_path / "run", progress=False)
    assert not checkpoints(tmp_path / "run")


def _set(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def test_an_interruption_is_a_sentence(data, tmp_path, monkeypatch):
    train(tiny.run_of(data), tmp_path / "run", progress=False, stop_at=2)
    monkeypatch.setattr("robo_orl.engine.train._train_step", _interrupted)
    with pytest.raises(RunError, match="goes on from step_00000002"):
        train(tiny.run_of(data), tmp_path / "run", progress=False)


@pytest.mark.parametrize("again", [False, True])
def test_stopped_by_a_scheduler_it_saves_the_step_under_way(data, tmp_path, monkeypatch, again):
    """One SIGTERM, or two at once as launchers send: a checkpoint that was not due, and the run ends the same."""
    from robo_orl.engine import train as engine

    step, old = engine._train_step, signal.signal(signal.SIGTERM, signal.default_int_handler)

    def told_in_the_third(training, number, monitor):
        for _ in range((number == 2) * (1 + again)):
            signal.raise_signal(signal.SIGTERM)
        return step(training, number, monitor)

    try:
        with monkeypatch.context() as patch, pytest.raises(Interrupted, match="goes on from step_00000003"):
            patch.setattr("robo_orl.engine.train._train_step", told_in_the_third)
            train(tiny.run_of(data), tmp_path / "run", progress=False)
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, old)
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step_00000003"]
    assert train(tiny.run_of(data), tmp_path / "run", progress=False).finished
    train(tiny.run_of(data), tmp_path / "whole", progress=False)
    assert_equal_runs(tmp_path / "run", tmp_path / "whole")


def test_a_second_signal_does_not_wait(monkeypatch):
    old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    monkeypatch.setattr("robo_orl.engine.interruption.IMMEDIATE_AFTER_S", -1.0)
    try:
        with deferred_interruption() as stop:
            signal.raise_signal(signal.SIGTERM)
            assert stop.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, old)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def files_no_larger_than(size: int):
    """The operating system refuses to write more into any file, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def test_a_full_disk_is_a_sentence_and_leaves_the_checkpoint_before(data, tmp_path):
    run = tiny.run_of(data, checkpoint_every=2)
    train(run, tmp_path / "run", progress=False, stop_at=2)
    with files_no_larger_than(500_000), pytest.raises(RunError, match="disk is full"):
        train(run, tmp_path / "run", progress=False)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000002"]
    assert train(run, tmp_path / "run", progress=False).finished


def test_a_missing_tracker_is_a_sentence(data, tmp_path):
    run = tiny.run_of(data).model_copy(update={"tracker": "trackio"})
    with pytest.raises(UsageError, match="pip install trackio"):
        train(run, tmp_path / "run", progress=False)


def test_tensorboard_gets_the_metrics(data, tmp_path):
    train(tiny.run_of(data).model_copy(update={"tracker": "tensorboard"}), tmp_path / "run", progress=False)
    events = [path for path in (tmp_path / "run" / "tracker").rglob("events*") if path.stat().st_size > 500]
    assert events


def test_progress_shows_step_loss_speed_and_memory(data, tmp_path, capfd):
    train(tiny.run_of(data), tmp_path / "run", progress=True)
    shown = capfd.readouterr().err
    assert "20/20" in shown and "loss 0." in shown and "samples/s" in shown and "GB" in shown


def test_the_evaluated_agent_is_the_trained_one(data, tmp_path):
    run = tiny.run_of(data, IQL | {"optim": {"steps": 4}})
    train(run, tmp_path / "run", progress=False)
    agent, loaded = load_agent(tmp_path / "run")
    assert loaded == run and not agent.training
    saved = tensors(tmp_path / "run")
    assert all(torch.equal(value, saved[name]) for name, value in agent.state_dict().items())


def test_statistics_that_are_not_those_of_the_checkpoint_are_an_error(data, tmp_path):
    train(tiny.run_of(data), tmp_path / "run", progress=False, stop_at=2)
    spec = json.loads((tmp_path / "run" / "spec.json").read_text())
    spec["spec"]["statistics"]["action"]["mean"][0] += 1.0
    (tmp_path / "run" / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(RunError, match="other normalisation statistics"):
        load_agent(tmp_path / "run")


def test_a_run_of_before_whose_digests_held_defaults_is_still_loaded(data, tmp_path):
    run = tiny.run_of(data)
    train(run, tmp_path / "run", progress=False)
    spec = json.loads((tmp_path / "run" / "spec.json").read_text())["spec"]
    former = sha256_of({name: value for name, value in spec.items() if value is not None})
    for path in (tmp_path / "run").glob("checkpoints/*/state.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"spec": former}))
    load_agent(tmp_path / "run")


def test_a_folder_without_a_run_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="trained run"):
        load_agent(tmp_path)


def test_a_run_without_a_checkpoint_yet_is_a_usage_error(data, tmp_path, monkeypatch):
    monkeypatch.setattr("robo_orl.engine.train._train_step", _interrupted)
    with pytest.raises(RunError):
        train(tiny.run_of(data), tmp_path / "run", progress=False)
    with pytest.raises(UsageError, match="no checkpoint yet"):
        load_agent(tmp_path / "run")


def test_a_damaged_checkpoint_is_named(data, tmp_path):
    train(tiny.run_of(data), tmp_path / "run", progress=False, stop_at=2)
    path = checkpoints(tmp_path / "run")[-1] / "agent.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match="cannot be read"):
        load_agent(tmp_path / "run")


def test_a_target_averaged_in_bf16_training_follows_the_float64_average(data, tmp_path):
    """In bf16 the average would stand still: its increments are below half a unit in the last place."""
    run = tiny.run_of(data, tiny.iql(topology="shared", tau=0.005) | {"optim": {"precision": "bf16", "lr": 1e-2}})
    average, name = None, "critic.q_heads.out.weight"
    for step in range(1, 11):
        train(run, tmp_path / "run", progress=False, stop_at=step)
        online = tensors(tmp_path / "run")[name].double()
        target = next(v for k, v in tensors(tmp_path / "run").items() if k.startswith("target") and name[7:] in k)
        average = target.double() if average is None else average.lerp(online, 0.005)
    start = 0.05 * (online - average).abs().max()
    assert (target.double() - average).abs().max() < 1e-6 < start


def test_killed_at_a_random_step_it_continues_as_if_nothing_had_happened(data, tmp_path):
    run = tiny.run_of(data, IQL | {"optim": {"steps": 100}}, checkpoint_every=7)
    train(run, tmp_path / "whole", progress=False)
    jobs = [{"name": "killed", "policy": IQL | {"optim": {"steps": 100}}, "run": {"checkpoint_every": 7}}]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    victim = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("engine_job.py")), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    _wait_for(lambda: (tmp_path / "killed" / "checkpoints").is_dir() or victim.poll() is not None)
    time.sleep(random.uniform(0.0, 0.4))
    victim.kill()
    victim.wait()
    assert not (tmp_path / "killed" / "train.json").exists()
    assert train(run, tmp_path / "killed", progress=False).finished
    assert_equal_runs(tmp_path / "killed", tmp_path / "whole")
    assert timeless(rows(tmp_path / "killed")) == timeless(rows(tmp_path / "whole"))
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*"))


def _wait_for(happened) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)
