"""Stands in for SLURM's commands in tests: arrays as processes of this machine, a queue as files in $FAKE_SLURM.

It is called by the name of the command that it stands for. At most FAKE_SLURM_PLACES tasks run at a time, default 2.
`scontrol requeue` runs the same task again, as SLURM does; `scancel` sends SIGTERM to the script.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(os.environ["FAKE_SLURM"])


def option(words, name):
    return next(word.partition("=")[2] for word in words if word.startswith(f"--{name}="))


def say(line):
    with (ROOT / "calls").open("a") as file:
        file.write(json.dumps(line) + "\n")


def sbatch(words):
    say(["sbatch", *words])
    job = 1 + len(list(ROOT.glob("job-*")))
    (ROOT / f"job-{job}").touch()
    script = next(index for index, word in enumerate(words) if word.endswith(".sh"))
    first, last = map(int, option(words, "array").split("-"))
    for index in range(first, last + 1):
        task = {
            "job": job,
            "index": index,
            "name": option(words, "job-name"),
            "output": option(words, "output").replace("%a", str(index)),
            "command": ["bash", *words[script:]],
        }
        write(task, state="PENDING", pid=None)
        subprocess.Popen(
            [sys.executable, __file__, json.dumps(task)], start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    print(job)


def path_of(task):
    return ROOT / f"{task['job']}_{task['index']}.task"


def write(task, **state):
    temporary = ROOT / f".{task['job']}_{task['index']}"
    temporary.write_text(json.dumps(task | state))
    temporary.rename(path_of(task))


def supervise(task):
    """One task of an array, until it ends without being queued again."""
    again = ROOT / f"{task['job']}_{task['index']}.again"
    own = {"SLURM_ARRAY_JOB_ID": str(task["job"]), "SLURM_ARRAY_TASK_ID": str(task["index"])}
    while path_of(task).exists():
        with place(), open(task["output"], "a") as output:
            if not path_of(task).exists():  # cancelled while it waited
                return
            process = subprocess.Popen(task["command"], env=os.environ | own, stdout=output, stderr=output)
            write(task, state="RUNNING", pid=process.pid)
            process.wait()
        if not again.exists():
            path_of(task).unlink(missing_ok=True)
            return
        again.unlink()
        write(task, state="PENDING", pid=None)


class place:
    """One of the places of the machine."""

    def __enter__(self):
        while True:
            for number in range(int(os.environ.get("FAKE_SLURM_PLACES", "2"))):
                self.file = open(ROOT / f"place-{number}", "w")
                with suppress(BlockingIOError):
                    fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return self
                self.file.close()
            time.sleep(0.05)

    def __exit__(self, *_):
        self.file.close()


def tasks():
    for path in sorted(ROOT.glob("*.task")):
        with suppress(OSError, ValueError):
            yield json.loads(path.read_text())


def squeue(words):
    for task in tasks():
        print(f"{task['name']}|{task['index']}|{task['state']}")


def scancel(words):
    say(["scancel", *words])
    for task in tasks():
        if task["name"] == option(words, "name"):
            if task["pid"] is None:
                path_of(task).unlink(missing_ok=True)
            else:
                os.kill(task["pid"], signal.SIGTERM)


def scontrol(words):
    say(["scontrol", *words])
    (ROOT / f"{words[1]}.again").touch()


def sinfo(words):
    print(os.environ.get("FAKE_SLURM_MACHINE", "2|16000|(null)"))


if __name__ == "__main__":
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    if words and words[0].startswith("{"):
        supervise(json.loads(words[0]))
    else:
        {"sbatch": sbatch, "squeue": squeue, "scancel": scancel, "scontrol": scontrol, "sinfo": sinfo}[name](words)
