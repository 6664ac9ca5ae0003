"""The choice of an OpenGL library (MUJOCO_GL), and imports of the simulator that need none.

mujoco and robosuite open the chosen library when they are imported, and fail there where it is missing; robosuite also
replaces the user's choice. Work on states draws nothing: the library is opened at the first picture, and is then the
one that the user chose.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.os_errors import cache_folder

CONTEXTS = {"egl": "mujoco.egl", "osmesa": "mujoco.osmesa", "glfw": "mujoco.glfw", "cgl": "mujoco.cgl"}
DEFAULT = ("", "enable", "enabled", "on", "true", "1")
DISABLED = ("disable", "disabled", "off", "false", "0")
WINDOWED = {"glx": "glfw", "wgl": "glfw"}  # as in mujoco
INSTALL = (
    "install EGL or OSMesa (Debian: apt install libegl1 libosmesa6), or choose one with MUJOCO_GL=egl or "
    "MUJOCO_GL=osmesa"
)


def context_kind() -> str:
    """The kind of OpenGL context that pictures are drawn in: egl, osmesa, glfw or cgl.

    Raises:
        RunError: MUJOCO_GL switches pictures off, or names no kind.
    """
    value = os.environ.get("MUJOCO_GL", "").lower().strip()
    if value in DEFAULT:
        return "cgl" if platform.system() == "Darwin" else "egl"
    if value in DISABLED:
        raise RunError(f"MUJOCO_GL={value} switches pictures off; unset it, or set MUJOCO_GL=egl or MUJOCO_GL=osmesa.")
    if (kind := WINDOWED.get(value, value)) not in CONTEXTS:
        raise RunError(f"MUJOCO_GL={value} is no way to draw off screen; set MUJOCO_GL=egl or MUJOCO_GL=osmesa.")
    return kind


def open_context(width: int, height: int) -> Any:
    """A new OpenGL context of the chosen kind, made current.

    Raises:
        RunError: the library is missing, or has no device or display here.
    """
    kind = context_kind()
    try:
        context = importlib.import_module(CONTEXTS[kind]).GLContext(width, height)
        context.make_current()
    except Exception as error:  # the platform's loaders raise whatever they like
        raise cannot_draw(error) from None
    return context


def cannot_draw(error: Exception) -> RunError:
    """The sentence for a context that could not be made."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return RunError(f"No picture can be drawn with {context_kind()} here ({reason}): {INSTALL}.")


@cache
def import_mujoco() -> ModuleType:
    """The mujoco module, imported without an OpenGL library."""
    with _without_opengl():
        import mujoco
    if not hasattr(mujoco, "GLContext"):  # other code's mujoco.Renderer finds the chosen library when it draws
        from mujoco.rendering.classic import gl_context

        mujoco.GLContext = gl_context.GLContext = open_context
    return mujoco


@cache
def import_robosuite() -> ModuleType:
    """The robosuite module, imported without an OpenGL library."""
    import_mujoco()
    _choose_numba_cache()
    with _without_opengl():
        import robosuite
        from robosuite.utils import binding_utils
    if chosen := os.environ.get("MUJOCO_GL", "").lower().strip():
        binding_utils._MUJOCO_GL = chosen  # robosuite's own renderer draws with the user's choice
    return robosuite


def _choose_numba_cache() -> None:
    """Set NUMBA_CACHE_DIR where neither robosuite's folder nor the home takes the functions that numba compiles.

    robosuite cannot be imported without such a place. It is in our cache, else a folder of this user's own in the
    folder of temporary files.
    """
    spec = importlib.util.find_spec("robosuite")
    if "NUMBA_CACHE_DIR" in os.environ or spec is None or not spec.submodule_search_locations:
        return
    places = [Path(spec.submodule_search_locations[0]) / "utils" / "__pycache__"]
    with suppress(RuntimeError):
        places.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba")
    if any(_can_be_written(place) for place in places):
        return
    with suppress(UsageError):
        if _can_be_written(place := cache_folder() / "numba"):
            os.environ["NUMBA_CACHE_DIR"] = str(place)
            return
    place = Path(tempfile.gettempdir()) / f"robo_orl-numba-{os.getuid()}"
    with suppress(OSError):
        place.mkdir(mode=0o700, exist_ok=True)
    if not place.is_dir() or place.stat().st_uid != os.getuid():  # compiled code of others is not run
        place = Path(tempfile.mkdtemp(prefix="robo_orl-numba-"))
    os.environ["NUMBA_CACHE_DIR"] = str(place)


def _can_be_written(place: Path) -> bool:
    """True if this user may write in a folder, or make it."""
    existing = next(path for path in (place, *place.absolute().parents) if os.path.exists(path))
    return os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)


@contextmanager
def _without_opengl() -> Iterator[None]:
    """The variables that choose an OpenGL library and its device, out of sight of an import and unchanged after it."""
    names = ("MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID")
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ["MUJOCO_GL"] = "disable"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
