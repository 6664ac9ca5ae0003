"""How a job ends becomes a result or one sentence."""

import signal
import sys
import time
from pathlib import Path

import pytest

from robo_orl.base.gpus import Gpu
from robo_orl.sweep.job import TRAIN, Job
from robo_orl.sweep.resources import Grant, Resources
from robo_orl.sweep.runners.local import LocalRunner

GRANT = Grant(Resources(), 1)


@pytest.fixture
def end(tmp_path):
    """Run Python code as a job and return how it ended."""

    def run(code, act=lambda running: None):
        runner = LocalRunner(tmp_path)
        running = runner.start(Job(TRAIN, "job", (sys.executable, "-c", code), (), 1.0, 1, Path("x")), GRANT)
        act(running)
        while (ended := runner.result(running)) is None:
            time.sleep(0.01)
        return ended

    return run


def test_the_last_line_is_the_result(end):
    assert end("print('chatter'); print('{\"k\": 1}')").result == {"k": 1}


def test_the_commands_own_sentence_is_the_reason(end):
    code = "import sys; print('{\"error\": \"No such task.\"}'); print('robo-orl: noise', file=sys.stderr); sys.exit(2)"
    assert end(code).reason == "No such task."


def test_otherwise_it_is_the_last_line_of_the_log(end):
    assert end("raise ValueError('this went wrong')").reason == "ValueError: this went wrong"


def test_a_signal_is_named(end):
    ended = end("import time; time.sleep(30)", lambda running: running.process.send_signal(signal.SIGKILL))
    assert ended.result is None and "SIGKILL" in ended.reason and "memory" in ended.reason


def test_silence_is_no_success(end):
    assert end("pass").result is None
    assert "said nothing" in end("import sys; sys.exit(3)").reason


def test_a_job_that_ignores_the_request_to_end_is_ended(tmp_path):
    runner = LocalRunner(tmp_path)
    code = "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print('ready', flush=True); time.sleep(30)"
    running = runner.start(Job(TRAIN, "deaf", (sys.executable, "-c", code), (), 1.0, 1, Path("x")), GRANT)
    while not (tmp_path / "deaf.json").read_text():
        time.sleep(0.01)
    runner.stop([running], patience_s=0.3)
    assert running.process.poll() == -signal.SIGKILL


@pytest.mark.parametrize(("numbers", "seen"), [((1,), "7"), ((0, 1), "3,7"), ((), "")])
def test_a_job_sees_its_own_gpus_alone(tmp_path, numbers, seen):
    runner = LocalRunner(tmp_path, cores=4, devices=[Gpu("3", 2**30), Gpu("7", 2**31)])
    (node,) = runner.nodes()
    assert (node.gpus, node.gpu_bytes, node.cores) == (2, 2**30, 4)
    code = "import os, json; print(json.dumps({'seen': os.environ.get('CUDA_VISIBLE_DEVICES')}))"
    job = Job(TRAIN, "job", (sys.executable, "-c", code), (), 1.0, 1, Path("x"))
    running = runner.start(job, Grant(Resources(1, float(len(numbers))), 1, gpus=numbers))
    while (ended := runner.result(running)) is None:
        time.sleep(0.01)
    assert ended.result == {"seen": seen}
