"""Stored episodes as a simulator needs them: states, actions and a start, of this project's files and of others'."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.config import TaskConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arm_frames import TURNED, arm_yaws, in_base_axes
from robo_orl.data.rewards import stored_rewards
from robo_orl.data.task_check import check_environment
from robo_orl.data.validate import examine
from robo_orl.envs.any_scene import is_any
from robo_orl.envs.registry import SCENES, scene_entry

if TYPE_CHECKING:
    from robo_orl.envs.task_env import TaskEnv


@dataclass(frozen=True, slots=True)
class Recording:
    """One stored episode: states (T, Z) before each of the actions (T, A), and what they began from.

    start_entry: all that the reset decided, empty in files of other software; model_xml: the scene, "" where it is
    lost; success: None where the file does not say.
    """

    states: np.ndarray
    actions: np.ndarray
    model_xml: str
    start_entry: dict[str, np.ndarray]
    start: int
    success: bool | None

    def begin(self, env: TaskEnv) -> dict[str, np.ndarray]:
        """Begin the episode in `env`; the first observation."""
        from robo_orl.envs.start_states import StartState

        if self.start_entry:
            return env.reset(StartState(self.start_entry, self.start))
        return env.begin_at(self.states[0], self.model_xml)


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """A file whose episodes can be put into the simulator of `task`. made: None where other software wrote it."""

    path: Path
    task: TaskConfig
    made: layout.Provenance | None
    names: list[str]
    notes: list[str]


def open_recordings(path: Path, task: TaskConfig | None = None, accept_mismatch: bool = False) -> RecordingFile:
    """A file with states and actions, checked.

    task: needed where the file does not name its own. Raises UsageError for a file without states, of another
    environment than the task's or of a scene that no task here has, and without a task.
    """
    if task is not None:
        scene_entry(task)
    faults = examine(path).replays
    if faults:
        where = "" if str(path) in faults[0] else f"{path} does not replay: "
        raise UsageError(f"{where}{faults[0].rstrip('.')}; `robo-orl data validate --level replays` names every fault.")
    with layout.open_hdf5(path) as file:
        made, names, env = layout.provenance(file), layout.demo_names(file), layout.env_args(file)
    if made is None and not accept_mismatch and (task is None or not is_any(task.env)):
        _check_scene(path, env)
    if made is not None:
        if task is not None and task.digest() != made.task.digest():
            raise UsageError(f"{path} was recorded on its own task {made.task.name}: leave --task out.")
        return RecordingFile(path, made.task, made, names, [])
    if task is None:
        raise UsageError(
            f"{path} does not name its task{_hint(env)}: give it with --task, e.g. --task {_task_name(env) or 'lift'}."
        )
    notes = check_environment(str(path), env, task, accept_mismatch) + ([TURNED] if arm_yaws(env) else [])
    return RecordingFile(path, task, None, names, notes)


def _check_scene(path: Path, env: dict) -> None:
    """UsageError where no scene here, nor a part of one, is the environment of a recording."""
    name = str(env.get("env_name", ""))
    if not any(entry.robosuite_name.startswith(name) for entry in SCENES.values()):
        raise UsageError(
            f"{path} was recorded in the scene {name}, which no task here has: `robo-orl task new --from {path} --out "
            f"{name.lower()}.yaml` writes a task for it, which --task takes then (docs: 'Own task')."
        )


def _hint(env: dict) -> str:
    return f" (its environment is {env['env_name']})" if "env_name" in env else ""


def _task_name(env: dict) -> str | None:
    return next((name for name, entry in SCENES.items() if entry.robosuite_name == env.get("env_name")), None)


def read_recording(path: Path, name: str) -> Recording:
    """One episode of a file that `open_recordings` accepted."""
    with layout.open_hdf5(path) as file:
        demo = file["data"][name]
        return Recording(
            states=demo["states"][:],
            actions=in_base_axes(demo["actions"][:], arm_yaws(layout.env_args(file))),
            model_xml=_model_xml(path, demo),
            start_entry={key: data[:] for key, data in demo.get("start", {}).items()},
            start=int(demo.attrs.get("start", -1)),
            success=_success(demo),
        )


def _model_xml(path: Path, demo: h5py.Group) -> str:
    """The text in model_file; robosuite 1.0 kept the name of a file in the folder `models`."""
    text = str(demo.attrs.get("model_file", ""))
    if not text or text.lstrip().startswith("<"):
        return text
    file = path.parent / "models" / Path(text).name
    return file.read_text(errors="replace") if file.is_file() else ""


def _success(demo: h5py.Group) -> bool | None:
    if "success" in demo.attrs:
        return bool(demo.attrs["success"])
    rewards = stored_rewards(demo)
    return None if rewards is None else bool((rewards > 0).any())
