"""Offscreen pictures of a simulator. Nothing of OpenGL is touched before the first one."""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np

from robo_orl.errors import RunError, unknown

CONTEXTS = {"egl": "mujoco.egl", "osmesa": "mujoco.osmesa", "glfw": "mujoco.glfw", "cgl": "mujoco.cgl"}
REMEDY = (
    "No offscreen renderer works here: install EGL or OSMesa (Debian: apt install libegl1 libosmesa6), "
    "or choose one with MUJOCO_GL=egl or MUJOCO_GL=osmesa"
)


class OffscreenRenderer:
    """Pictures of one model at one size, with robosuite's look: visual geoms only.

    MUJOCO_GL chooses the kind of context (default: egl).

    Raises:
        RunError: no OpenGL context can be made.
    """

    def __init__(self, model: Any, size: int):
        import mujoco

        self.model, self.size = model, size
        frame = model.vis.global_  # a scene's own limit is 640 x 480
        frame.offwidth, frame.offheight = max(frame.offwidth, size), max(frame.offheight, size)
        try:
            self._context = _gl_context(size)
            self._pixels = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._pixels)
        except Exception as error:  # the platform's loaders raise whatever they like
            raise RunError(f"{REMEDY} ({type(error).__name__}: {error}).") from None
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._option.geomgroup[0] = 0
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED

    def image(self, data: Any, camera: str) -> np.ndarray:
        """(size, size, 3) uint8.

        Raises:
            UsageError: a camera that the scene does not have.
        """
        import mujoco

        cameras = [self.model.camera(i).name for i in range(self.model.ncam)]
        if camera not in cameras:
            raise unknown("camera", camera, cameras)
        self._camera.fixedcamid = cameras.index(camera)
        self._context.make_current()
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self.model, data, self._option, None, self._camera, everything, self._scene)
        window = mujoco.MjrRect(0, 0, self.size, self.size)
        mujoco.mjr_render(window, self._scene, self._pixels)
        image = np.empty((self.size, self.size, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(image, None, window, self._pixels)
        return image[::-1].copy()

    def close(self) -> None:
        """Free the context."""
        self._context.make_current()
        self._pixels.free()
        self._context.free()


def _gl_context(size: int) -> Any:
    kind = os.environ.get("MUJOCO_GL", "").lower() or "egl"
    if kind not in CONTEXTS:
        raise ValueError(f"MUJOCO_GL={kind}")
    context = importlib.import_module(CONTEXTS[kind]).GLContext(size, size)
    context.make_current()
    return context
