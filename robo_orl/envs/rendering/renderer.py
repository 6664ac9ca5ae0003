"""Offscreen pictures of a simulator. Nothing of OpenGL is touched before the first one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from robo_orl.base.errors import unknown
from robo_orl.envs.rendering.opengl import cannot_draw, import_mujoco, open_context

LOOKS = {  # full: robosuite's own, as in robomimic's files; plain: other pixels, in half the time
    "full": {"shadows": True, "reflections": True, "multisampling": True},
    "plain": {"shadows": False, "reflections": False, "multisampling": False},
}


class OffscreenRenderer:
    """Pictures of one model at one size, visual geoms only, in one of LOOKS.

    MUJOCO_GL chooses the kind of context (opengl.py). A picture is a function of the positions alone: it is taken of a
    copy of the simulator's data with kinematics of its own. The simulator's kinematics are one physics step old, and
    computing them there would change what its controllers read.

    Raises:
        RunError: no OpenGL context can be made.
    """

    def __init__(self, model: Any, size: int, look: str = "full"):
        mujoco = import_mujoco()
        self.model, self.size, self.look = model, size, look
        frame, quality = model.vis.global_, model.vis.quality  # a scene's own limit is 640 x 480
        frame.offwidth, frame.offheight = max(frame.offwidth, size), max(frame.offheight, size)
        samples = quality.offsamples
        self._context = open_context(size, size)
        try:
            quality.offsamples = samples if LOOKS[look]["multisampling"] else 0
            self._pixels = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._pixels)
        except Exception as error:  # the platform's loaders raise whatever they like
            raise cannot_draw(error) from None
        finally:
            quality.offsamples = samples
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = LOOKS[look]["shadows"]
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = LOOKS[look]["reflections"]
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._option.geomgroup[0] = 0
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._posed = mujoco.MjData(model)
        self._cameras = {model.camera(i).name: i for i in range(model.ncam)}

    def image(self, data: Any, camera: str) -> np.ndarray:
        """(size, size, 3) uint8.

        Raises:
            UsageError: a camera that the scene does not have.
        """
        return self.images(data, [camera])[camera]

    def images(self, data: Any, cameras: list[str]) -> dict[str, np.ndarray]:
        """Per camera (size, size, 3) uint8; UsageError for one that the scene does not have."""
        numbers = [self._number(camera) for camera in cameras]
        self._pose(data)
        self._context.make_current()
        return {camera: self._picture(self._posed, number) for camera, number in zip(cameras, numbers, strict=True)}

    def image_as_stepped(self, data: Any, camera: str) -> np.ndarray:
        """(size, size, 3) uint8: robosuite's own camera observation, pixel for pixel, in the look `full`.

        Taken of the simulator's data itself: after a step the bodies are drawn where they were one physics step before.
        """
        number = self._number(camera)
        self._context.make_current()
        return self._picture(data, number)

    def _number(self, camera: str) -> int:
        if camera not in self._cameras:
            raise unknown("camera", camera, self._cameras)
        return self._cameras[camera]

    def _pose(self, data: Any) -> None:
        mujoco = import_mujoco()
        self._posed.qpos[:] = data.qpos
        self._posed.mocap_pos[:], self._posed.mocap_quat[:] = data.mocap_pos, data.mocap_quat
        mujoco.mj_kinematics(self.model, self._posed)
        mujoco.mj_comPos(self.model, self._posed)
        mujoco.mj_camlight(self.model, self._posed)

    def _picture(self, data: Any, camera: int) -> np.ndarray:
        mujoco = import_mujoco()
        self._camera.fixedcamid = camera
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


SIZES = ("nq", "nv", "njnt", "nbody", "ngeom", "nsite", "ncam", "nlight", "nmocap", "nskin", "nflex")
_borrowed: Counter[OffscreenRenderer] = Counter()  # renderer -> how many have borrowed it


def borrow_renderer(model: Any, size: int, look: str = "full") -> OffscreenRenderer:
    """A renderer for pictures of `model`; set its `model` before each picture, and return it.

    Raises:
        RunError: no OpenGL context can be made.
    """
    for renderer in _borrowed:
        if (renderer.size, renderer.look) == (size, look) and fits(renderer, model):
            _borrowed[renderer] += 1
            return renderer
    renderer = OffscreenRenderer(model, size, look)
    _borrowed[renderer] = 1
    return renderer


def return_renderer(renderer: OffscreenRenderer) -> None:
    """Return a borrowed renderer; the last one to do so closes it."""
    _borrowed[renderer] -= 1
    if not _borrowed[renderer]:
        del _borrowed[renderer]
        renderer.close()


def fits(renderer: OffscreenRenderer, model: Any) -> bool:
    """Whether the renderer holds what `model` shows: equal sizes, cameras, quality, and every mesh and texture."""
    held = renderer.model
    if held is model:
        return True
    if any(getattr(held, name) != getattr(model, name) for name in SIZES) or _cameras(held) != _cameras(model):
        return False
    if str(held.vis.quality) != str(model.vis.quality):
        return False
    uploaded = [name for name in dir(model) if name.startswith(("mesh_", "tex_", "hfield_", "skin_"))]
    return all(np.array_equal(getattr(held, name), getattr(model, name)) for name in uploaded)


def _cameras(model: Any) -> list[str]:
    return [model.camera(i).name for i in range(model.ncam)]
