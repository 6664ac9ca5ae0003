"""robosuite's import, and one way to build an environment from a task's scene."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from robo_orl.envs.registry import SCENES
from robo_orl.envs.rendering.opengl import import_robosuite

if TYPE_CHECKING:
    from robosuite.environments.manipulation.manipulation_env import ManipulationEnv

ROBOT = "Panda"


@cache
def load_robosuite() -> ModuleType:
    """The robosuite module, imported without OpenGL, and without its notices about optional parts on stderr."""
    logging.getLogger("robosuite_logs").addFilter(lambda record: record.levelno >= logging.ERROR)
    logging.getLogger("robosuite_logs").propagate = False
    return import_robosuite()


def env_kwargs(control_hz: int, params: dict[str, Any]) -> dict[str, Any]:
    """The arguments of robosuite.make: Panda, its BASIC controller (OSC_POSE deltas), states only, no time-out."""
    from robosuite.controllers import load_composite_controller_config

    return dict(
        params,
        robots=ROBOT,
        controller_configs=load_composite_controller_config(robot=ROBOT),
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        use_object_obs=True,
        ignore_done=True,
        hard_reset=False,
        control_freq=control_hz,
    )


def make_simulator(env_name: str, kwargs: dict[str, Any]) -> ManipulationEnv:
    """A robosuite environment by its registered name; that of a scene is registered here."""
    robosuite = load_robosuite()
    for module in {entry.module for entry in SCENES.values() if entry.robosuite_name == env_name and entry.module}:
        import_module(module)  # registers the environment with robosuite
    return robosuite.make(env_name, **kwargs)
