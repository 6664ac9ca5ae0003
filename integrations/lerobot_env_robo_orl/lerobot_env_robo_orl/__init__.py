"""The tasks of robo_orl as an environment of LeRobot: `--env.type=robo_orl --env.task=lift`.

Importing it registers the type with LeRobot and the environment with gymnasium. The simulator runs in a process of the
Python that robo_orl is installed in (`ROBO_ORL_PYTHON`), because the two packages want different versions of others.
"""

from gymnasium.envs.registration import register, registry

from lerobot_env_robo_orl.config import GYM_ID, RoboOrlEnv

if GYM_ID not in registry:
    register(id=GYM_ID, entry_point="lerobot_env_robo_orl.env:RoboOrlTask")

__all__ = ["GYM_ID", "RoboOrlEnv"]
