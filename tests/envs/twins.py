"""Two environments of the same scene, one stepped by robosuite and one natively, and what differs between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from robo_orl.envs import snapshot
from robo_orl.envs.native.stepper import Stepper, make_stepper
from robo_orl.envs.registry import env_kwargs, make_simulator

SCENES = {
    "Lift": {}, "Stack": {}, "PickPlaceCan": {}, "NutAssemblySquare": {}, "ToolHang": {}, "Chain": {"cubes": 4},
    "TwoArmTransport": {"robots": ["Panda", "Panda"]},
}  # fmt: skip


def simulator(scene: str, hz: int = 20, **params: Any) -> Any:
    """A robosuite environment that has been reset, with all of its sensors."""
    from robosuite.controllers import load_composite_controller_config

    kwargs = env_kwargs(hz, {}) | SCENES.get(scene, {}) | params
    if scene.startswith("TwoArm"):
        kwargs["controller_configs"] = [load_composite_controller_config(robot="Panda") for _ in range(2)]
    env = make_simulator(scene, kwargs)
    env.reset()
    return env


def twins(scene: str, loop: str = "exact", hz: int = 20, **params: Any) -> tuple[Any, Stepper]:
    """(an environment that robosuite steps, another with a stepper)."""
    stock, native = simulator(scene, hz, **params), simulator(scene, hz, **params)
    return stock, make_stepper(native, loop)


def start_alike(stock: Any, native: Any) -> None:
    """Reset `stock` and put `native` into the same state."""
    stock.reset()
    snapshot.restore(native, snapshot.capture(stock))


def seen(env: Any, result: tuple) -> dict[str, np.ndarray]:
    """Everything that a caller can see after a step."""
    observations, reward, done, _ = result
    data = env.sim.data
    arrays = {name: np.array(getattr(data, name)) for name in ("qpos", "qvel", "ctrl", "qacc", "sensordata")}
    outcome = {"reward": reward, "done": done, "success": env._check_success(), "time": (data.time, env.cur_time)}
    warnings = {"warnings": np.array(data._data.warning.number)}
    return arrays | outcome | warnings | {f"observed {key}": value for key, value in observations.items()}


def differing(stock: Any, native: Stepper, actions: Iterable[np.ndarray]) -> dict[str, float]:
    """name -> largest difference over the actions, for whatever differs at all (NaN equals NaN)."""
    worst: dict[str, float] = {}
    for action in actions:
        theirs, ours = seen(stock, stock.step(action)), seen(native.env, native.step(action))
        assert theirs.keys() == ours.keys()
        for name, value in theirs.items():
            if not np.array_equal(value, ours[name], equal_nan=name != "done"):
                gap = float(np.nanmax(np.abs(np.subtract(value, ours[name], dtype=np.float64))))
                worst[name] = max(worst.get(name, 0.0), gap)
    return worst


def random_actions(env: Any, count: int, seed: int = 0) -> np.ndarray:
    """(count, A), a fifth beyond what is allowed."""
    return np.random.default_rng(seed).uniform(-1.2, 1.2, (count, env.action_dim))
