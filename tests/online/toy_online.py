"""A trained run on the scripted scene that goes online: a method of a few updates, and the run as a process to kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

for folder in ("rollout", "data", "evaluate", "models", "objectives"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
from scripted_scene import LineScene  # noqa: E402
from seen_line import SeenLineScene  # noqa: E402

from robo_orl.engine.checkpoint import AGENT, OPTIMIZER, checkpoints  # noqa: E402
from robo_orl.evaluate.scores import FinishedRows  # noqa: E402
from robo_orl.online import loop  # noqa: E402
from robo_orl.online.learner import Learner  # noqa: E402
from robo_orl.online.opening import IMITATION  # noqa: E402
from robo_orl.online.replay import Replay  # noqa: E402
from robo_orl.online.start import resolve_start  # noqa: E402

METHOD = {
    "description": "Q-chunking on a line.",
    "objective": {"name": "qc", "params": {"num_samples": 2, "flow_steps": 2}},
    "critic": {"topology": "shared_detached", "ensemble": 2},
    "n_step": "execute",
    "selection": {"num_samples": 2},
    "optim": {"schedule": "constant", "lr": 1e-3, "warmup_steps": 0, "batch_size": 16},
    "online": {
        "collection": {"episodes": 2},
        "warm_up": {"steps": 60, "critic_updates": 3},
        "updates": 0.1,
        "trains": "cached",
        "evaluation": {"points": [0, 200], "every": 200, "episodes": 3},
    },
}


def start_of(run: Path, folder: Path, *settings: str, method: dict | None = None, task: str | None = None):
    """The start of a run on METHOD, or on another method."""
    file = folder / "line_qc.yaml"
    file.write_text(yaml.safe_dump(method or METHOD))
    return resolve_start(run, str(file), 3, settings=("policy.online.evaluation.every=200", *settings), task=task)


def go(
    start, out: Path, steps: int = 400, workers: int = 1, evaluation: Path | None = None, other_specs=None, **scene
) -> dict:
    """Learn online in the scripted scene."""
    marks = out.parent / f"{out.name}-marks"
    marks.mkdir(exist_ok=True)
    kind = SeenLineScene if start.run.policy.observation.cameras else LineScene
    spec = kind(marks, **scene)
    others = other_specs or {task.name: kind(marks, task=task) for task in start.others}
    return loop.go_online(
        start, out, steps, workers, progress=False, env_spec=spec, evaluation=evaluation, other_specs=others
    )


def learned(out: Path) -> dict[str, object]:
    """All that a run has come to: weights, moments, replay and success; no times."""
    newest = checkpoints(out)[-1]
    lines = [json.loads(line) for line in (out / "replay/episodes.jsonl").read_text().splitlines()]
    timed = ("simulation_s", "restarts")
    rows = [json.loads(line) for line in (out / "online.jsonl").read_text().splitlines()]
    points = sorted((row["at"], row["env_steps"], row["updates"], tuple(row["solved"])) for row in rows if "at" in row)
    rounds = sorted((r["round"], r["env_steps"], r["updates"], r["critic_only"]) for r in rows if r["kind"] == "round")
    return {
        "checkpoint": newest.name,
        "weights": (newest / AGENT).read_bytes(),
        "moments": (newest / OPTIMIZER).read_bytes() if (newest / OPTIMIZER).exists() else b"",
        "imitation": (newest / IMITATION).read_bytes() if (newest / IMITATION).exists() else b"",
        "arrays": {file.stem: np.load(file).tobytes() for file in sorted((out / "replay").glob("*.npy"))},
        "episodes": [{key: value for key, value in line.items() if key not in timed} for line in lines],
        "points": points,
        "rounds": rounds,
    }


# ------------------------------------------------------------------------------------- a process that kills itself

PLACES = ("rows", "line", "update", "first", "checkpoint", "start", "round", "point", "told")


def killed(
    run: Path,
    folder: Path,
    out: Path,
    place: str,
    count: int,
    steps: int = 400,
    method: dict | None = None,
    task: str | None = None,
) -> int:
    """Run in a process of its own that ends by SIGKILL at the count-th time it comes to `place`; its return code."""
    command = [sys.executable, __file__, str(run), str(folder), str(out), place, str(count), str(steps)]
    command += [json.dumps(method or METHOD), *([task] if task else [])]
    return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=280).returncode


def launched(
    run: Path,
    folder: Path,
    out: Path,
    steps: int = 400,
    method: dict | None = None,
    engine: str = "ddp",
    place: str = "nowhere",
    count: int = 0,
) -> subprocess.CompletedProcess:
    """Run by two processes under `accelerate launch`, on an engine of launch/cpu_*.yaml; both may end at a place."""
    file = Path(__file__).parents[2] / f"launch/cpu_{engine}.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file)]
    command += [__file__, *map(str, (run, folder, out)), place, str(count), str(steps)]
    command.append(json.dumps(method or METHOD))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)


def _die_at(place: str, count: int) -> None:
    """Put a kill into the functions that the places name."""
    seen = {"times": 0}

    def tick() -> None:
        seen["times"] += 1
        if seen["times"] == count:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(owner, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments, **options):
            value = original(*arguments, **options)
            tick()
            return value

        setattr(owner, name, call)

    owners = {
        "rows": (Replay, "_write"),
        "line": (Replay, "add"),
        "update": (Learner, "update"),
        "first": (loop, "save_weights"),
        "checkpoint": (loop, "save_checkpoint"),
        "start": (loop.Account, "add_start"),
        "round": (loop.Account, "add_round"),
        "point": (loop.Account, "add_point"),
        "told": (FinishedRows, "add"),
    }
    after(*owners[place])


if __name__ == "__main__":
    run, folder, out = map(Path, sys.argv[1:4])
    if sys.argv[4] in PLACES:
        _die_at(sys.argv[4], int(sys.argv[5]))
    task = sys.argv[8] if len(sys.argv) > 8 else None
    go(start_of(run, folder, method=json.loads(sys.argv[7]), task=task), out, int(sys.argv[6]))
