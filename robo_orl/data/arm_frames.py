"""The frame of an arm's actions: deltas in the world's axes, as robosuite had them before 1.5, or in those of its base.

Tasks here take the second, the default of robosuite 1.5. robomimic's official files keep the first, with
`input_ref_frame: world` in those for 1.5. For one arm that looks along x both are the same; transport's arms face each
other, each a quarter turn from the world, so that only the names and signs of the axes change.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robo_orl.envs.registry import ARM_ACTION, SCENES

TURNED = "its actions are in the world's axes, and are turned into those of each arm's base"


def is_in_world(env: dict[str, Any]) -> bool:
    """Whether a file's description of its environment says that actions are in the world's axes."""
    settings = env.get("env_kwargs")
    config = settings.get("controller_configs") if isinstance(settings, dict) else None
    config = config[0] if isinstance(config, list) and config else config
    if not isinstance(config, dict):
        return False
    if "body_parts" not in config:
        return config.get("type") == "OSC_POSE"  # the form before 1.5
    parts = config["body_parts"].values() if isinstance(config["body_parts"], dict) else ()
    return any(isinstance(part, dict) and part.get("input_ref_frame") == "world" for part in parts)


def arm_yaws(env: dict[str, Any]) -> tuple[float, ...]:
    """Radians from the world's axes to those of each arm's base, where actions have to be turned by them; else ()."""
    names = (entry for entry in SCENES.values() if entry.robosuite_name == env.get("env_name"))
    yaws = next((entry.base_yaws for entry in names), ())
    return yaws if is_in_world(env) and any(yaws) else ()


def in_base_axes(actions: np.ndarray, yaws: tuple[float, ...]) -> np.ndarray:
    """(T, 7 arms) actions in the world's axes -> in those of each arm's base; without yaws, or of another size, as is.

    The position delta and the rotation vector turn alike: a rotation R seen from a frame B is B' R B.
    """
    if not yaws or actions.shape[1] != ARM_ACTION * len(yaws):
        return actions
    turned = actions.copy()
    for arm, yaw in enumerate(yaws):
        cos, sin = (np.round(f(yaw), 12) for f in (np.cos, np.sin))  # a quarter turn is exact
        to_base = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]], dtype=actions.dtype)
        for first in (ARM_ACTION * arm, ARM_ACTION * arm + 3):
            turned[:, first : first + 3] = actions[:, first : first + 3] @ to_base.T
    return turned
