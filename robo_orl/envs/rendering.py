"""Offscreen pictures of a simulator. Nothing of OpenGL is touched before the first one."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from robo_orl.errors import RunError, unknown

REMEDY = (
    "No offscreen renderer works here: install EGL or OSMesa (Debian: apt install libegl1 libosmesa6) "
    "or choose one with MUJOCO_GL=egl or MUJOCO_GL=osmesa"
)


class OffscreenRenderer:
    """A MuJoCo renderer of one model at one size, with robosuite's look: visual geoms only.

    Raises:
        RunError: no OpenGL context can be made.
    """

    def __init__(self, model: Any, size: int):
        self.model, self.size = model, size
        if not os.environ.get("DISPLAY"):
            os.environ.setdefault("MUJOCO_GL", "egl")
        try:
            import mujoco

            self._renderer = mujoco.Renderer(model, size, size)
        except Exception as error:  # the bindings raise whatever their platform's loader raises
            raise RunError(f"{REMEDY} ({type(error).__name__}: {error}).") from None
        self._option = mujoco.MjvOption()
        self._option.geomgroup[0] = 0

    def image(self, data: Any, camera: str) -> np.ndarray:
        """(size, size, 3) uint8.

        Raises:
            UsageError: a camera that the scene does not have.
        """
        cameras = [self.model.camera(i).name for i in range(self.model.ncam)]
        if camera not in cameras:
            raise unknown("camera", camera, cameras)
        self._renderer.update_scene(data, camera=camera, scene_option=self._option)
        return self._renderer.render()

    def close(self) -> None:
        """Free the context."""
        self._renderer.close()
