"""The renderer that made a picture, in words and by the hash of a reference frame, stored with data and results.

Pixels differ between renderers, drivers and MuJoCo's versions, and a policy that learned from one kind may fail on the
other without a word. Equal fingerprints mean equal pixels of the reference frame.
"""

from __future__ import annotations

import hashlib
from typing import Any

from robo_orl.base.machine import package_version
from robo_orl.envs.rendering.opengl import context_kind, import_mujoco
from robo_orl.envs.rendering.renderer import LOOKS, OffscreenRenderer

SIZE = 84
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
    renderer = OffscreenRenderer(model, SIZE, look)
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
