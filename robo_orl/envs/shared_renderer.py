"""One renderer for all environments of a process that show the same things.

A renderer holds the scene's meshes and textures on the device that draws: 300 MB and most of a second on a CPU. A
process of an evaluation has several environments of one task, and some scenes make a new model for every start state;
their meshes are the same, and one renderer draws them all, each from its own model and data.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from robo_orl.envs.rendering import OffscreenRenderer

SIZES = ("nq", "nv", "njnt", "nbody", "ngeom", "nsite", "ncam", "nlight", "nmocap", "nskin", "nflex")
_lent: Counter[OffscreenRenderer] = Counter()  # renderer -> how many have borrowed it


def borrow(model: Any, size: int, look: str = "full") -> OffscreenRenderer:
    """A renderer for pictures of `model`; set its `model` before each picture, and give it back.

    Raises:
        RunError: no OpenGL context can be made.
    """
    for renderer in _lent:
        if (renderer.size, renderer.look) == (size, look) and fits(renderer, model):
            _lent[renderer] += 1
            return renderer
    renderer = OffscreenRenderer(model, size, look)
    _lent[renderer] = 1
    return renderer


def give_back(renderer: OffscreenRenderer) -> None:
    """The last one to give a renderer back closes it."""
    _lent[renderer] -= 1
    if not _lent[renderer]:
        del _lent[renderer]
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
