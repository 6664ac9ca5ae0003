"""The type `robo_orl` of LeRobot's environments: which task, from which start states, seen by which cameras."""

from __future__ import annotations

from dataclasses import dataclass

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from lerobot_env_robo_orl.client import TaskProcess

GYM_ID = "robo_orl/Task-v0"
STATE, OBJECT, IMAGES = "observation.state", "observation.environment_state", "observation.images"


@EnvConfig.register_subclass("robo_orl")
@dataclass
class RoboOrlEnv(EnvConfig):
    """task: a name of `robo-orl list tasks`, variants included (chain2+40hz). starts: the bank of start states.

    cameras: names with commas between, each of size x size pixels. python: the command of the Python that robo-orl is
    installed in, by default ROBO_ORL_PYTHON. fps and features are those of the task.
    """

    task: str | None = "lift"
    starts: str = "test"
    cameras: str = ""
    size: int = 84
    render_size: int = 256
    python: str = ""

    def __post_init__(self) -> None:
        process = TaskProcess(str(self.task), self.python, self.starts, self._cameras, self.size)
        about, _ = process.ask("describe")
        process.close()
        self.fps = about["hz"]
        sizes = about["sizes"]
        others = sum(size for key, size in sizes.items() if key != "object")
        found = {
            "action": ("action", FeatureType.ACTION, (about["action_dim"],)),
            "agent_pos": (STATE, FeatureType.STATE, (others,)),
        }
        if "object" in sizes:
            found["environment_state"] = (OBJECT, FeatureType.ENV, (sizes["object"],))
        for camera in self._cameras:
            found[f"pixels/{camera}"] = (f"{IMAGES}.{camera}", FeatureType.VISUAL, (self.size, self.size, 3))
        self.features = {key: PolicyFeature(type=kind, shape=shape) for key, (_, kind, shape) in found.items()}
        self.features_map = {key: name for key, (name, _, _) in found.items()}

    @property
    def _cameras(self) -> tuple[str, ...]:
        return tuple(camera for camera in self.cameras.split(",") if camera)

    @property
    def package_name(self) -> str:
        """The package that registers the environment."""
        return "lerobot_env_robo_orl"

    @property
    def gym_id(self) -> str:
        """The environment's name in gymnasium: one for all tasks."""
        return GYM_ID

    @property
    def gym_kwargs(self) -> dict:
        """The arguments of the environment."""
        names = ("task", "python", "starts", "size", "render_size")
        return {name: getattr(self, name) for name in names} | {"cameras": self._cameras}
