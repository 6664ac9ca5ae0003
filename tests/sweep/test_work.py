"""A job on a machine of a cluster: it ends once, whoever tries it again, and what is interrupted goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robo_orl.sweep.job import TRAIN, Job
from robo_orl.sweep.runners.job_files import JobFiles
from robo_orl.sweep.runners.work import ENDED, GOES_ON, Request, run_job

ROOT = Path(__file__).parents[2]


def request(tmp_path, code):
    return Request.of(Job(TRAIN, "job", (sys.executable, "-c", code), (), 1.0, 1, tmp_path), 1, tmp_path / "logs")


COUNTS = "import sys; open('{0}', 'a').write('x'); print('{{\"k\": 1}}'); sys.exit({1})"


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_that_ended_is_not_run_again(tmp_path, code):
    job = request(tmp_path, COUNTS.format(tmp_path / "count", code))
    assert [run_job(job), run_job(job)] == [ENDED, ENDED]
    assert (tmp_path / "count").read_text() == "x"
    ended = JobFiles(tmp_path / "logs", "job").ended()
    assert ended.result == ({"k": 1} if code == 0 else None)
    JobFiles(tmp_path / "logs", "job").clear()  # a new try that was asked for
    run_job(job)
    assert (tmp_path / "count").read_text() == "xx"


def test_a_command_that_was_interrupted_leaves_no_end(tmp_path):
    job = request(tmp_path, "import sys; sys.exit(130)")
    assert run_job(job) == GOES_ON and JobFiles(tmp_path / "logs", "job").ended() is None


def start(job, path):
    path.write_text(job.line())
    command = [sys.executable, "-m", "robo_orl.sweep.runners.work", str(path), "0"]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})


def wait_for(path):
    until = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)
    return path.read_text()


def test_a_second_try_waits_for_the_process_of_the_first_one_whose_worker_was_killed(tmp_path):
    """The job of a lost worker gets SIGTERM and saves for a second; only then another try may begin."""
    pid, log = tmp_path / "pid", tmp_path / "log"
    code = (
        (
            "import os, signal, sys, time\n"
            f"say = lambda text: open({str(log)!r}, 'a').write(text)\n"
            "def save(*_): time.sleep(1); say('saved '); os._exit(130)\n"
            "first = not os.path.exists({0!r})\n"
            "say('begin '); signal.signal(signal.SIGTERM, save)\n"
            "open({0!r}, 'w').write(str(os.getpid()))\n"
            "time.sleep(30 if first else 0); say('end'); print('{{\"k\": 2}}')\n"
        )
        .replace("{0!r}", repr(str(pid)))
        .replace("{{", "{")
        .replace("}}", "}")
    )
    worker = start(request(tmp_path, code), tmp_path / "jobs.jsonl")
    wait_for(pid)
    worker.kill()
    worker.wait()
    assert run_job(request(tmp_path, code)) == ENDED
    assert log.read_text() == "begin saved begin end"
    assert JobFiles(tmp_path / "logs", "job").ended().result == {"k": 2}


def test_a_worker_that_is_told_to_end_tells_its_job_and_says_that_it_goes_on(tmp_path):
    pid = tmp_path / "pid"
    code = (
        "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\n"
        f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(30)"
    )
    worker = start(request(tmp_path, code), tmp_path / "jobs.jsonl")
    wait_for(pid)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == GOES_ON and JobFiles(tmp_path / "logs", "job").ended() is None


def test_the_last_object_of_the_answer_is_the_result(tmp_path):
    """Launchers may say something below it."""
    code = "print('{\"k\": 1}'); print('[rank0] bye')"
    run_job(request(tmp_path, code))
    assert JobFiles(tmp_path / "logs", "job").ended().result == json.loads('{"k": 1}')
