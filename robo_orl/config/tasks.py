"""Tasks and views as values: the schemas of tasks/ and of pictures."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from robo_orl.config.strict import PlainName, Strict

Loop = Literal["exact", "fast", "stock"]
"""The physics loops (envs/native): bit-equal to robosuite's own, equal up to rounding, robosuite's own."""
LOOPS: tuple[Loop, ...] = get_args(Loop)
StartBankName = Literal["test", "tuning"]
"""The banks of start states (envs/start_banks.py): results are reported from `test`, choices made on `tuning`."""
START_BANKS: tuple[StartBankName, ...] = get_args(StartBankName)


class View(Strict):
    """The pictures that are taken: cameras, size x size pixels, and the look of envs/rendering/renderer.py."""

    cameras: tuple[str, ...] = Field(min_length=1)
    size: int = Field(84, ge=16, le=1024, description="pixels per side")
    look: Literal["plain", "full"] = Field("plain", description="full: robosuite's own shadows; plain: much faster")


NO_ENVIRONMENT = "none"


class TaskConfig(Strict):
    """A task. Everything but the description is part of its digest: with another value it is another task."""

    name: PlainName
    description: str = ""
    version: int = 1
    env: str = Field(description="a name of the registry in robo_orl/envs, robosuite:NAME, or none: data alone")
    robots: list[str] = Field([], description="of an environment robosuite:NAME, e.g. [Sawyer]; empty: one Panda")
    controller: str | dict[str, Any] = Field(
        "",
        description="of the arms of robosuite:NAME, e.g. JOINT_POSITION or {type: OSC_POSE, kp: 80}; empty: OSC_POSE",
    )
    params: dict[str, Any] = Field({}, description="the scene's own parameters, e.g. cubes: 2")
    stages: list[str] = Field(min_length=1, description="predicates in order; the last one is success")
    conditions: dict[str, str] = Field({}, description="stages of the task's own: name -> expression")
    reward: Literal["success", "stages"] = Field(
        "success", description="success: 1 at success; stages: 1/len(stages) when each is first reached in order"
    )
    control_hz: int = Field(20, ge=1, le=100, description="decisions per second: 10, 20 or 40")
    padding: float = Field(0.0, ge=0, description="dead time in seconds at the start and after each stage")
    max_seconds: float = Field(gt=0, description="time-out, dead time excluded; the episode also ends at success")
    instruction: str = ""
    view: View | None = Field(None, description="pictures of its data, which a policy with cameras: [task] reads")

    @model_validator(mode="after")
    def _has_a_decision(self) -> TaskConfig:
        if round(self.max_seconds * self.control_hz) < 1:
            raise ValueError(
                f"max_seconds {self.max_seconds:g} at control_hz {self.control_hz} is no decision: set max_seconds to "
                f"at least {1 / self.control_hz:g}"
            )
        return self

    @property
    def has_environment(self) -> bool:
        """False for `env: none`, data of a real robot: what is learned of it is judged on held-out data."""
        return self.env != NO_ENVIRONMENT

    @property
    def horizon(self) -> int:
        """Decisions until the time-out."""
        dead = self.padding * len(self.stages)
        return round((self.max_seconds + dead) * self.control_hz)
