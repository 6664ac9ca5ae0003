"""The scripted scene seen by two cameras, and runs that were trained on its pictures.

A picture is a function of the position alone, which the replay holds beside it: what a camera saw can be drawn again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import synthetic
import toy_run
from scripted_scene import TASK, Line, LineScene

from robo_orl.config import PolicyConfig, RunConfig, TaskConfig, View, deep_merge
from robo_orl.data.hdf5 import write_file
from robo_orl.engine.train import train

CAMERAS, SIZE = ("side", "front"), 16
VIEW = View(cameras=CAMERAS, size=SIZE)
RENDER = {
    "renderer": "toy", "device": "toy", "look": "plain", "flags": {}, "versions": {}, "reference_sha256": "f" * 64,
}  # fmt: skip
SEES = {
    "name": "tiny_seen",
    "observation": {"cameras": list(CAMERAS), "image_size": SIZE, "history": 2, "shift": 1},
    "backbone": {"patch": 8},
}
SEEN_TASK = TASK.model_copy(update={"instruction": "stop at one"})


def picture(camera: str, position: float) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: stripes that the position moves, upright for one camera and lying for the other."""
    stripes = (np.arange(SIZE) * 16 + round((position + 9) * 64)).astype(np.uint8)
    image = np.stack((stripes, stripes // 2, 255 - stripes), axis=-1)[None].repeat(SIZE, 0)
    return image if camera == "side" else image.swapaxes(0, 1)


def pictures(camera: str, positions: np.ndarray) -> np.ndarray:
    """(..., SIZE, SIZE, 3) of positions (...)."""
    flat = np.stack([picture(camera, position) for position in np.ravel(positions).astype(np.float32)])
    return flat.reshape(*np.shape(positions), SIZE, SIZE, 3)


class SeenLine(Line):
    """It draws into the same arrays again, as an environment of a user's own may."""

    def __init__(self, scene):
        super().__init__(scene)
        self._drawn = {f"{c}_image": np.zeros((SIZE, SIZE, 3), np.uint8) for c in CAMERAS}

    def see(self, view):
        for camera in view.cameras:
            self._drawn[f"{camera}_image"][:] = picture(camera, np.float32(self.position))
        return {f"{camera}_image": self._drawn[f"{camera}_image"] for camera in view.cameras}

    def fingerprint(self, view):
        return RENDER | {"look": view.look, "reference_sha256": self.scene.reference}


@dataclass(frozen=True)
class SeenLineScene(LineScene):
    """reference: of the renderer's fingerprint."""

    view: View | None = VIEW
    history: int = 2
    reference: str = RENDER["reference_sha256"]

    def make_env(self):
        return SeenLine(self)


def write(path: Path, task: TaskConfig = SEEN_TASK, first: int = 0) -> Path:
    """A data file of six episodes with pictures."""
    episodes = [toy_run.episode(first + i) for i in range(6)]
    for one in episodes:
        one.images = {f"{camera}_image": pictures(camera, one.obs["position"][:, 0]) for camera in CAMERAS}
    made = synthetic.made_by(6, task=task).model_copy(update={"view": VIEW, "render": RENDER})
    write_file(path, made, {"env_name": "Line", "type": 1, "env_kwargs": {}}, episodes)
    return path


def trained(folder: Path, policy: dict | None = None, tasks: tuple[TaskConfig, ...] = (SEEN_TASK,)) -> Path:
    """A run of a few updates on pictures; policy: what is other than in SEES."""
    sources = [
        {"task": task, "data": str(write(folder / f"{task.name}.hdf5", task, number)), "weight": 1.0}
        for number, task in enumerate(tasks)
    ]
    config = PolicyConfig.model_validate(deep_merge(deep_merge(toy_run.FLOW, SEES), policy or {}))
    run = RunConfig(policy=config, tasks=sources, tracker="none", checkpoint_every=4)
    train(run, folder / "run", progress=False)
    return folder / "run"
