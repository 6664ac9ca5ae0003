"""Offscreen pictures of a simulator, and the fingerprint of the renderer that made them.

Nothing of OpenGL is touched before the first picture. Pixels differ between renderers, drivers and MuJoCo's versions,
and a policy that learned from one kind may fail on the other without a word: the fingerprint, in words and by the hash
of a reference frame, is stored with data and results. Equal fingerprints mean equal pixels of the reference frame.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from robo_orl.base.errors import unknown
from robo_orl.base.machine import package_version
from robo_orl.envs.rendering.opengl import cannot_draw, context_kind, import_mujoco, open_context

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


# ---------------------------------------------------------------------------------------------------------- fingerprint


REFERENCE_SIZE = 84
REFERENCE = """
<mujoco>
  <asset><texture name="checks" type="2d" builtin="checker" rgb1=".2 .3 .4" rgb2=".8 .7 .6" width="64" height="64"/>
  <material name="checks" texture="checks" texrepeat="4 4" reflectance="0.3"/></asset>
  <worldbody>
    <light pos="1 -1 3" dir="-0.3 0.3 -1" castshadow="true"/>
    <camera name="eye" pos="0 -1.2 0.9" xyaxes="1 0 0 0 0.6 0.8"/>
    <geom type="plane" size="2 2 .1" material="checks" group="1"/>
    <geom type="box" size=".15 .1 .2" pos="-.2 .1 .2" euler="0 0 30" rgba=".8 .1 .1 1" group="1"/>
    <geom type="sphere" size=".15" pos=".25 0 .15" rgba=".1 .6 .2 1" group="1"/>
  </worldbody>
</mujoco>
"""


def render_fingerprint(look: str) -> dict[str, Any]:
    """renderer, device, look with its flags, versions, and the sha256 of a reference frame, as JSON values.

    Raises:
        RunError: this machine cannot render.
    """
    mujoco = import_mujoco()
    model = mujoco.MjModel.from_xml_string(REFERENCE)
    renderer = OffscreenRenderer(model, REFERENCE_SIZE, look)
    try:
        frame, device = renderer.image(mujoco.MjData(model), "eye"), _device()
    finally:
        renderer.close()
    return {
        "renderer": context_kind(),
        "device": device,
        "look": look,
        "flags": LOOKS[look],
        "versions": {name: package_version(name) for name in ("mujoco", "robosuite")},
        "reference_sha256": hashlib.sha256(frame.tobytes()).hexdigest(),
    }


def _device() -> str:
    """The name of the OpenGL device; needs a current context."""
    from OpenGL.GL import GL_RENDERER, glGetString

    return glGetString(GL_RENDERER).decode()


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """The difference of two fingerprints in words; None where the reference frames are equal, pixel for pixel."""
    if ours["reference_sha256"] == theirs["reference_sha256"] and ours["look"] == theirs["look"]:
        return None
    named = [key for key in ("renderer", "device", "look", "versions") if ours[key] != theirs[key]]
    if not named:
        return "the same renderer gives other pixels of the reference frame"
    return ", ".join(f"{key} {theirs[key]} there and {ours[key]} here" for key in named)
