"""Recordings of others in today's physics: states restored, actions replayed, observations compared, sizes and times.

    python benchmarks/recordings.py --files FOLDER                   # of tests/data/files/README.md
    python benchmarks/recordings.py --record Lift:Sawyer Door:Sawyer # raw recordings made here with robosuite alone

A file of another environment than a shipped scene gets the task that `robo-orl task new --from` writes. Restored:
setting the stored states reaches the task's success, of so many episodes. Replayed: carrying out the stored actions
from the first state does. Recordings made here are 60 smooth random decisions (those of a wipe go in circles on the
table), so that their success says nothing; what was seen while they were made is compared with what the restored
states show. Seconds are the processor's, of restoring and writing.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import numpy as np
from ledger import machine, parser

from robo_orl.base.files import write_json
from robo_orl.config import TaskConfig, parse
from robo_orl.config.presets import load_task
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.convert import restored
from robo_orl.data.hdf5 import write_file
from robo_orl.data.new_task import task_of
from robo_orl.data.recording import open_recordings, read_recording
from robo_orl.envs.registry import env_kwargs, load_robosuite, make_simulator
from robo_orl.envs.task_env import TaskEnv

PARTS = {"NutAssembly": "square", "PickPlace": "can"}  # scenes of which a task here is a part
FRAMES, HZ = 60, 20


def task_for(path: Path, whole: bool) -> tuple[TaskConfig, bool]:
    """The task of a file, and whether it is only a part of the recorded one. whole: never a part."""
    with layout.open_hdf5(path) as file:
        part = PARTS.get(layout.env_args(file).get("env_name"))
    if part is not None and not whole:
        return load_task(part), True
    return parse(TaskConfig, {"name": "own"} | task_of(path, "own"), str(path)), False


def measure(path: Path, folder: Path, seen: list[dict[str, np.ndarray]] | None = None) -> dict[str, Any]:
    """One row. seen: what a recording made here saw before every action, by key (T, D) of its one episode."""
    task, part = task_for(path, whole=seen is not None)
    source = open_recordings(path, task, accept_mismatch=part)
    env = TaskEnv(task, "stock")
    episodes, differences, began = [], {}, time.process_time()
    for name in source.names:
        episodes.append(restored(env, read_recording(path, name), []))
    out = folder / "converted.hdf5"
    made = layout.Provenance(
        task=task,
        regime="converted",
        seed=0,
        episodes=len(episodes),
        loop="stock",
        next_obs=False,
        versions=layout.versions(),
    )
    write_file(out, made, env.env_args(), episodes)
    seconds, replayed = time.process_time() - began, [replay(env, path, name) for name in source.names]
    if seen is not None:
        differences = compare(episodes[0].obs, seen[0], env)
    env.close()
    with layout.open_hdf5(path) as file:
        frames = sum(len(file["data"][name]["actions"]) for name in source.names)
        version = file["data"].attrs.get("repository_version", "")
    return {
        "file": path.name if path.name != "demo.hdf5" else str(path.relative_to(path.parents[2])),
        "robosuite": str(version),
        "task": task.name if not part else f"{task.name}, a part of it",
        "env": task.env,
        "robots": task.robots,
        "episodes": len(episodes),
        "frames": frames,
        "restored_k": sum(episode.success for episode in episodes),
        "replayed_k": sum(one["success"] for one in replayed),
        "joint_difference": max(one["difference"] for one in replayed),
        "source_bytes": path.stat().st_size,
        "bytes": out.stat().st_size,
        "seconds": round(seconds, 2),
    } | ({"observations": differences} if seen is not None else {})


def replay(env: TaskEnv, path: Path, name: str) -> dict[str, Any]:
    """Success of the stored actions from the first state; the largest error of an arm's joint in the first second."""
    recording = read_recording(path, name)
    recording.begin(env)
    joints = 1 + np.concatenate([robot._ref_joint_pos_indexes for robot in env.scene.env.robots])  # time comes first
    difference, success = 0.0, False
    for frame, (state, action) in enumerate(zip(recording.states, recording.actions, strict=True)):
        if frame <= HZ:
            difference = max(difference, float(np.abs((env.state() - state)[joints]).max()))
        success |= env.step(action).terminated
    return {"success": bool(success), "difference": difference}


def compare(shown: dict[str, np.ndarray], seen: dict[str, np.ndarray], env: TaskEnv) -> dict[str, float]:
    """Key -> the largest difference of what was seen and what the restored states show, over all frames but the first.

    `object` is taken apart into robosuite's own observables; the first frame follows a reset and is sampled otherwise.
    """
    parts, first = {}, 0
    observables = env.scene.env._observables
    for name, observable in observables.items():
        if observable.modality == "object" and observable.is_enabled() and observable.is_active():
            size = np.atleast_1d(observable.obs).size
            parts[name] = shown["object"][:, first : first + size]
            first += size
    parts |= {key: values for key, values in shown.items() if key != "object"}
    frames = len(shown[next(iter(shown))])
    return {
        key: float(np.abs(values[1:] - seen[key][1:frames].reshape(frames - 1, -1)).max())
        for key, values in parts.items()
        if key in seen
    }


def record(env_name: str, robots: tuple[str, ...], folder: Path, seed: int = 0) -> tuple[Path, dict[str, np.ndarray]]:
    """A raw recording as robosuite's own collection writes it: states, actions, model, arguments; and what was seen."""
    kwargs = env_kwargs(HZ, {}, robots)
    env = make_simulator(env_name, kwargs | {"seed": seed})
    obs, rng, noise = env.reset(), np.random.default_rng(seed), np.zeros(env.action_dim)
    states, actions, seen = [], [], []
    for frame in range(FRAMES):
        noise = 0.9 * noise + 0.1 * rng.uniform(-2, 2, env.action_dim)
        states.append(env.sim.get_state().flatten())
        actions.append(np.clip(_wiping(obs, frame, env.action_dim) if env_name == "Wipe" else noise, -1, 1))
        seen.append({key: np.atleast_1d(value) for key, value in obs.items()})
        obs = env.step(actions[-1])[0]
    path = folder / f"{env_name}_{'_'.join(robots)}.hdf5"
    with h5py.File(path, "w") as file:
        demo = file.create_group("data/demo_1")
        demo.attrs["model_file"] = env.sim.model.get_xml()
        demo["states"], demo["actions"] = np.array(states), np.array(actions)
        described = {"env": env_name, "repository_version": load_robosuite().__version__}
        file["data"].attrs.update(described | {"env_info": json.dumps(kwargs)})
    env.close()
    return path, {key: np.stack([one[key] for one in seen]) for key in seen[0]}


def _wiping(obs: dict[str, np.ndarray], frame: int, size: int) -> np.ndarray:
    """Circles on the table about the middle of what is to be wiped."""
    action = np.zeros(size)
    action[:2] = np.clip((obs["wipe_centroid"] - obs["robot0_eef_pos"])[:2] / 0.05, -1, 1)
    action[:3] += 0.5 * np.sin(frame / 8), 0.5 * np.cos(frame / 8), -0.4
    return action


def main() -> None:
    """Measure the files, and the recordings made here; rows are kept by file."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--files", type=Path)
    arguments.add_argument("--record", nargs="*", default=[], metavar="ENV:ROBOT")
    options = arguments.parse_args()
    kept = json.loads(options.out.read_text()) if options.out.exists() else {"files": [], "recorded": []}
    kept |= {"machine": machine(), "versions": layout.versions()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for path in sorted(options.files.rglob("*.hdf5")) if options.files else ():
            keep(options.out, kept, "files", measure(path, folder))
        for words in options.record:
            env_name, *robots = words.split(":")
            path, seen = record(env_name, tuple(robots), folder)
            keep(options.out, kept, "recorded", measure(path, folder, [seen]) | {"env": env_name, "robots": robots})


def keep(out: Path, kept: dict[str, Any], part: str, row: dict[str, Any]) -> None:
    """Put a row in the place of an older one."""
    words = "--files FOLDER" if part == "files" else f"--record {':'.join([row['env'], *row['robots']])}"
    row["command"] = f"python benchmarks/recordings.py {words}"
    kept[part] = [other for other in kept[part] if other["file"] != row["file"]] + [row]
    write_json(out, kept)
    print(json.dumps({key: value for key, value in row.items() if key != "command"}), file=sys.stderr)


if __name__ == "__main__":
    main()
