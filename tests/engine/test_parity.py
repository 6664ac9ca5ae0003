"""Two CPU processes against one, for every engine: one launched job each, since starting it takes longest.

The toy episodes are as short as a few chunks, so that masks and window ends differ between the processes' batches.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
from engine_job import outcome
from policy_files import distinct
from safetensors.torch import load_file

from robo_orl.engine.checkpoint import checkpoints
from robo_orl.engine.train import train

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5
AGENT, OPTIMISER = "agent.safetensors", "optimizer.safetensors"
STEPS = 20
JOBS = [
    *({"name": name, "policy": policy} for name, policy in tiny.CASES.items()),
    {"name": "begun_by_one", "policy": tiny.CASES["iql_separate"]},
    {"name": "begun_by_two", "policy": tiny.CASES["iql_separate"], "stop_at": STEPS // 2},
    {"name": "bf16", "policy": tiny.CASES["iql_shared"] | {"optim": {"precision": "bf16", "steps": 4}}},
    {"name": "in_parts", "policy": tiny.CASES["iql_shared"] | {"optim": {"accumulation": 2}}},
    {"name": "told_to_end", "policy": tiny.CASES["bc"], "signal": {"rank": 1, "step": 5}},
    {
        "name": "on_the_way",
        "policy": tiny.CASES["iql_separate"],
        "run": {"evaluation": {"every": STEPS // 2, "episodes": 1}},
    },
    {"name": "forgetful", "agent": {"forgets": True}},
    {"name": "diverging", "agent": {"diverges_at": 13}, "run": {"checkpoint_every": 10}},
    {"name": "not_as_asked", "run": {"expect": {"processes": 3}}},
]


def initialised(alone: Path) -> dict:
    """A run that starts from the weights of cloning, which lack the critic's."""
    policy = tiny.CASES["iql_shared"] | {"optim": {"steps": 4}}
    return {"name": "initialised", "policy": policy, "run": {"init": str(alone / "bc")}}


@dataclass
class Job:
    """Where one engine's runs are, and how they ended."""

    engine: str
    folder: Path
    outcomes: dict

    def newest(self, name: str, file: str) -> dict:
        return newest(self.folder / name, file)


def newest(run: Path, file: str) -> dict:
    """A file of tensors from the newest checkpoint."""
    return load_file(sorted((run / "checkpoints").iterdir())[-1] / file)


def launch(config: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """engine_job.py under `accelerate launch`."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"launch/{config}.yaml"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environment
    command += ["tests/engine/engine_job.py", str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Path]:
    """A folder, with a data cache in it, that all workers of pytest-xdist see."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "parity"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        yield folder


@contextmanager
def once(folder: Path) -> Iterator[bool]:
    """Whether to fill `folder`; other workers wait until it is filled."""
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "done"
        folder.mkdir(exist_ok=True)
        yield not done.exists()
        done.touch()


@pytest.fixture(scope="module")
def alone(shared) -> Path:
    """The same runs in one process: the reference."""
    folder = shared / "alone"
    with once(folder) as first:
        if first:
            tiny.write_data(folder / "toy.hdf5")
            for job in JOBS[: len(tiny.CASES)]:
                assert "summary" in outcome(folder, job)
            assert "summary" in outcome(folder, {**JOBS[len(tiny.CASES)], "stop_at": STEPS // 2})
            assert "summary" in outcome(folder, initialised(folder))
    return folder


# ZeRO-1 and 2 lie between DDP and ZeRO-3, and each engine takes two cores for half a minute.
@pytest.fixture(
    scope="module",
    params=["ddp", *(pytest.param(name, marks=pytest.mark.slow) for name in ("zero1", "zero2", "zero3"))],
)
def job(request, shared, alone) -> Job:
    folder = shared / request.param
    with once(folder) as first:
        if first:
            shutil.copy(alone / "toy.hdf5", folder)
            shutil.copytree(alone / "begun_by_one", folder / "begun_by_one", dirs_exist_ok=True)
            jobs = [*JOBS, initialised(alone)]
            jobs += [{"name": "stale", "canary": True}] if request.param != "ddp" else []
            (folder / "jobs.json").write_text(json.dumps(jobs))
            done = launch(f"cpu_{request.param}", folder)
            assert done.returncode == 0, done.stderr[-3000:]
            assert "built successfully" not in done.stdout, "DeepSpeed compiled an extension"
    return Job(request.param, folder, json.loads((folder / "outcome.json").read_text()))


def assert_close(found: dict, reference: dict) -> None:
    assert found.keys() == reference.keys()
    worst = max(((found[k] - reference[k]).abs().max().item(), k) for k in reference)
    assert worst[0] <= TOLERANCE, worst


@pytest.mark.parametrize("case", tiny.CASES)
def test_two_processes_end_with_the_parameters_targets_and_moments_of_one(job, alone, case):
    for file in (AGENT, OPTIMISER):
        assert_close(job.newest(case, file), newest(alone / case, file))


@pytest.mark.parametrize("case", tiny.CASES)
def test_two_processes_report_the_losses_of_one(job, alone, case):
    ours, theirs = (read_losses(folder / case) for folder in (job.folder, alone))
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[step] - theirs[step]) < TOLERANCE * max(1, abs(theirs[step])) for step in theirs)


def read_losses(run: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


def test_a_signal_to_one_of_two_processes_saves_a_step_that_both_agree_on(job, alone, tmp_path):
    """Of 20 steps without a checkpoint until the end: the sixth is saved, and a single process goes on from it."""
    assert "goes on from step_00000006" in job.outcomes["told_to_end"]["error"]
    shutil.copytree(job.folder / "told_to_end", tmp_path / "run")
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step_00000006"]
    assert train(tiny.run_of(job.folder / "toy.hdf5", tiny.CASES["bc"]), tmp_path / "run", progress=False).finished
    assert_close(newest(tmp_path / "run", AGENT), newest(alone / "bc", AGENT))


def test_what_one_process_began_two_continue(job, alone):
    assert job.outcomes["begun_by_one"]["summary"]["steps"] == STEPS
    assert_close(job.newest("begun_by_one", AGENT), newest(alone / "iql_separate", AGENT))


def test_what_two_processes_began_one_continues(job, alone):
    ended = outcome(job.folder, {"name": "begun_by_two", "policy": tiny.CASES["iql_separate"]})
    assert ended["summary"]["steps"] == STEPS
    for file in (AGENT, OPTIMISER):
        assert_close(job.newest("begun_by_two", file), newest(alone / "iql_separate", file))


def test_two_processes_that_start_from_other_weights_end_as_one_does(job, alone):
    """Whole tensors are loaded before ZeRO-3 divides them among the processes."""
    for file in (AGENT, OPTIMISER):
        assert_close(job.newest("initialised", file), newest(alone / "initialised", file))
    report = json.loads((job.folder / "initialised" / "init.json").read_text())
    assert report == json.loads((alone / "initialised" / "init.json").read_text())
    assert report["loaded"] and all(name.startswith(("critic", "target")) for name in report["missing"])


def test_copies_of_the_weights_on_the_way_are_written_together(job, alone):
    assert job.outcomes["on_the_way"]["summary"]["finished"]
    kept = job.folder / "on_the_way" / "curve"
    assert_close(load_file(kept / "kept_10" / AGENT), newest(alone / "begun_by_one", AGENT))
    assert_close(load_file(kept / "kept_20" / AGENT), newest(alone / "iql_separate", AGENT))


def test_what_accelerate_resolved_is_in_the_run_folder(job):
    engine = json.loads((job.folder / "bc" / "engine.json").read_text())
    stage = int(job.engine[-1]) if job.engine.startswith("zero") else 0
    asked = {"engine": "deepspeed" if stage else "ddp", "processes": 2, "zero_stage": stage, "backend": "gloo"}
    assert asked.items() <= engine.items()


def test_another_number_of_processes_than_asked_for_is_an_error(job):
    assert "processes 3" in job.outcomes["not_as_asked"]["error"]


def test_two_processes_that_read_their_batches_in_two_parts_end_as_one_that_reads_all_at_once(job, alone):
    assert json.loads((job.folder / "in_parts" / "engine.json").read_text())["accumulation"] == 2
    for file in (AGENT, OPTIMISER):
        assert_close(job.newest("in_parts", file), newest(alone / "iql_shared", file))
    ours, theirs = read_losses(job.folder / "in_parts"), read_losses(alone / "iql_shared")
    assert ours == pytest.approx(theirs, rel=TOLERANCE)


def test_bf16_trains_and_leaves_weights_and_targets_in_fp32(job):
    assert job.outcomes["bf16"]["summary"]["steps"] == 4
    assert json.loads((job.folder / "bf16" / "engine.json").read_text())["precision"] == "bf16"
    assert all(t.dtype.itemsize == 4 for t in job.newest("bf16", AGENT).values() if t.is_floating_point())


def test_a_parameter_without_gradient_is_an_error_on_every_engine(job):
    assert "b.weight" in job.outcomes["forgetful"]["error"]


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint_before(job):
    assert "nan at step 14" in job.outcomes["diverging"]["error"]
    assert [path.name for path in (job.folder / "diverging" / "checkpoints").iterdir()] == ["step_00000010"]


def test_canary_zero3_still_repeats_stale_gradients_and_zero1_and_2_do_not(job):
    """When this fails, DeepSpeed has changed: the watch over gradients may be relaxed, or is needed elsewhere too."""
    if job.engine == "ddp":
        pytest.skip("DeepSpeed only")
    assert job.outcomes["stale"]["moved"] == pytest.approx(1.0 if job.engine == "zero3" else 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "zero3"])
def test_every_shipped_policy_is_the_same_on_two_processes(engine, alone, tmp_path):
    shipped = tiny.shipped()
    jobs = [{"name": name, "policy": shipped[name]} for name in distinct()]
    shutil.copy(alone / "toy.hdf5", tmp_path)
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    done = launch(f"cpu_{engine}", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for job in jobs:
        outcome(alone, job | {"name": f"shipped_{job['name']}"})
        assert_close(newest(tmp_path / job["name"], OPTIMISER), newest(alone / f"shipped_{job['name']}", OPTIMISER))
        assert_close(newest(tmp_path / job["name"], AGENT), newest(alone / f"shipped_{job['name']}", AGENT))
