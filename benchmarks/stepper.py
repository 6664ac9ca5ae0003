"""Control steps per second of the substep loops: stock robosuite, exact, fast, and the physics alone.

    python benchmarks/stepper.py [--tasks lift stack ...] [--episodes 6] [--out benchmarks/stepper.json]

An operator's actions are recorded once per task; then every loop replays the same episodes from the same start states,
taking turns episode by episode, so that the machine's mood falls on all of them alike. `step` is the whole step of a
task (goal, physics, observations, reward, stages), `physics` is MuJoCo's own stepping with the controls recorded at
every substep: no controller can be faster. Times are processor times, which other processes' work does not lengthen;
the ratio to stock is taken within each episode, and its median, lowest and highest over n episodes are written down.
Also compared: robosuite's reset with restoring a start state.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numba import njit

from robo_orl.data.atomic import atomic_file
from robo_orl.envs.osc_loop import mj_step1, mj_step2
from robo_orl.envs.regimes import plan, record
from robo_orl.envs.start_states import StartState
from robo_orl.envs.task_env import TaskEnv
from robo_orl.presets import load_task

TASKS = ("lift", "stack", "can", "square", "chain2", "chain8", "chain2_10hz", "chain2_40hz")
LOOPS = ("stock", "exact", "fast")


def main() -> None:
    """Measure, print a table, write the JSON."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tasks", nargs="+", default=list(TASKS))
    arguments.add_argument("--episodes", type=int, default=6)
    arguments.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = arguments.parse_args()
    rows = []
    for name in options.tasks:
        rows += measure(name, options.episodes)
        for row in rows[-4:]:
            print("{task:12} {what:8} x{ratio_median} ({ratio_min} to {ratio_max}, n={n})".format(**row), flush=True)
    result = {
        "command": " ".join(["python", "benchmarks/stepper.py", *sys.argv[1:]]),
        "versions": {name: version(name) for name in ("robosuite", "mujoco", "numba", "numpy", "scipy")},
        "unit": "processor time of stock / processor time of this, per control step; reset: per reset",
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "rows": rows,
    }
    with atomic_file(options.out) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n")


def measure(name: str, episodes: int) -> list[dict[str, Any]]:
    """Rows exact, fast, physics and reset of one task."""
    task = load_task(name)
    envs = {loop: TaskEnv(task, loop) for loop in LOOPS}
    assert all(env.loop == loop for loop, env in envs.items()), "this machine cannot run all loops"
    times: dict[str, list[float]] = {what: [] for what in (*LOOPS, "physics", "stock reset", "reset")}
    equal, steps = [], 0
    for item in plan(task, "ph", episodes, seed=0):
        start = envs["exact"].draw_start(item.start_seed)
        actions = record(envs["exact"], start, item).actions
        ends = {}
        for loop in LOOPS:
            times[loop].append(_replay(envs[loop], start, actions) / len(actions))
            ends[loop] = envs[loop].state()
        controls = _controls(envs["exact"], start, actions)
        times["physics"].append(_physics(envs["exact"], start, controls) / len(actions))
        times["stock reset"].append(_timed(envs["stock"]._env.reset))
        times["reset"].append(_timed(lambda start=start: envs["exact"].reset(start)))
        equal.append(bool(np.array_equal(ends["stock"], ends["exact"])))
        steps += len(actions)
    for env in envs.values():
        env.close()
    extra = {"task": name, "control_steps": steps, "exact_ends_bit_equal_to_stock": f"{sum(equal)}/{len(equal)}"}
    pairs = [(what, times["stock"], times[what]) for what in ("exact", "fast", "physics")]
    pairs.append(("reset", times["stock reset"], times["reset"]))
    return [_row(what, theirs, ours) | extra for what, theirs, ours in pairs]


def _row(what: str, theirs: list[float], ours: list[float]) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    figures = {"ratio_median": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
    return {"what": what, "n": len(ratios)} | {key: round(value, 2) for key, value in figures.items()}


def _timed(call: Callable[[], Any]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def _replay(env: TaskEnv, start: StartState, actions: np.ndarray) -> float:
    """Processor seconds of the whole steps."""
    env.reset(start)

    def run() -> None:
        for action in actions:
            env.step(action)

    return _timed(run)


def _controls(env: TaskEnv, start: StartState, actions: np.ndarray) -> np.ndarray:
    """(substeps of the episode, actuators): what the controller asked for at every substep."""
    env.reset(start)
    simulator, controls = env._env, []
    step2 = type(simulator.sim).step2

    class Recording(type(simulator.sim)):
        def step2(self) -> None:
            controls.append(self.data.ctrl.copy())
            step2(self)

    usual = simulator.sim.__class__
    simulator.sim.__class__ = Recording
    try:
        for action in actions:
            simulator.step(action)
    finally:
        simulator.sim.__class__ = usual
    return np.array(controls)


def _physics(env: TaskEnv, start: StartState, controls: np.ndarray) -> float:
    """Processor seconds of MuJoCo alone on the recorded controls."""
    env.reset(start)
    sim = env._env.sim
    model, data, ctrl = sim.model._model._address, sim.data._data._address, sim.data.ctrl
    _steps(model, data, ctrl, controls[:0])  # compiles outside the clock
    return _timed(lambda: _steps(model, data, ctrl, controls))


@njit
def _steps(model: int, data: int, ctrl: np.ndarray, controls: np.ndarray) -> None:
    for substep in range(controls.shape[0]):
        mj_step1(model, data)
        ctrl[:] = controls[substep]
        mj_step2(model, data)


if __name__ == "__main__":
    main()
