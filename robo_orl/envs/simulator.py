"""robosuite, imported quietly, and one way to build an environment from a task's scene."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robosuite.environments.manipulation.manipulation_env import ManipulationEnv

ROBOT = "Panda"


@cache
def quiet_robosuite() -> Any:
    """The robosuite module, imported without the notices about optional parts that it writes to stderr."""
    logging.getLogger("robosuite_logs").addFilter(lambda record: record.levelno >= logging.ERROR)
    logging.getLogger("robosuite_logs").propagate = False
    import robosuite

    return robosuite


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
    """A robosuite environment by its registered name; ours are registered here."""
    robosuite = quiet_robosuite()
    import robo_orl.envs.chain  # noqa: F401  registers Chain with robosuite

    return robosuite.make(env_name, **kwargs)
