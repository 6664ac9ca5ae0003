"""Control steps per second of the substep loops: stock robosuite, exact, fast, the physics alone; with cameras, too.

    python benchmarks/stepper.py [--tasks lift stack ...] [--episodes 6] [--camera-steps 16] [--no-cameras]

An operator's actions are recorded once per task; then every loop replays the same episodes from the same start states,
taking turns episode by episode, so that the machine's mood falls on all of them alike. `step` is the whole step of a
task (goal, physics, observations, reward, stages), `physics` is MuJoCo's own stepping with the controls recorded at
every substep: no controller can be faster. Times are processor times of one process with one thread, which other
processes' work does not lengthen (it still slows the caches); the ratio to stock is taken within each episode, and its
median, lowest and highest over n episodes are written down, beside the median of the steps per second. `reset` is
robosuite's soft reset beside restoring a start state.

With cameras: one picture (agentview, 84 x 84), drawn by the processor where there is no GPU; wall time, since drivers
draw in threads of their own. `stock, picture a step` is robosuite with its own camera observation, the other rows are
the exact loop with a picture at every step and at every 8th, where a policy that executes 8 actions decides.

Tasks already in the result are kept; a killed call is started again with the same command.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ledger import Ledger, parser, shown
from numba import njit

from robo_orl.config import TaskConfig
from robo_orl.config.presets import available, load_task
from robo_orl.envs.demonstrators.regimes import plan, record
from robo_orl.envs.registry import env_kwargs, make_simulator, scene_entry, scene_params
from robo_orl.envs.snapshot import restore
from robo_orl.envs.start_states import StartState
from robo_orl.envs.task_env import TaskEnv

LOOPS = ("stock", "exact", "fast")
CAMERA, SIZE, CHUNK = "agentview", 84, 8
Times = dict[str, list[float]]  # what -> seconds per control step (per reset), one entry an episode


def main() -> None:
    """Measure, print a line per task, write the JSON."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--tasks", nargs="+", default=sorted([*available("tasks"), "chain2_10hz", "chain2_40hz"]))
    arguments.add_argument("--episodes", type=int, default=6)
    arguments.add_argument("--camera-steps", type=int, default=16, help="control steps per episode with cameras")
    arguments.add_argument("--no-cameras", action="store_true", help="leave the cameras out")
    options = arguments.parse_args()
    settings = {"episodes": options.episodes, "camera_steps": 0 if options.no_cameras else options.camera_steps}
    ledger = Ledger(options, settings | {"unit": "ratio: time of stock / time of this"})
    for name in ledger.missing(options.tasks):
        ledger.keep(name, measure(load_task(name), **settings))


def measure(task: TaskConfig, episodes: int, camera_steps: int) -> dict[str, Any]:
    """One task's rows."""
    envs = {loop: TaskEnv(task, loop) for loop in LOOPS}
    if any(env.loop != loop for loop, env in envs.items()):
        sys.exit("This machine cannot run all loops; the log says why.")
    filmed = _with_camera(task) if camera_steps else None
    times: Times = defaultdict(list)
    equal, steps = 0, 0
    for item in shown(plan(task, "ph", episodes, seed=0), task.name, episodes):
        start = envs["exact"].draw_start(item.start_seed)
        actions = record(envs["exact"], start, item).actions
        equal += _all_loops(envs, start, actions, times)
        steps += len(actions)
        if filmed is not None:
            _film(filmed, envs["exact"], start, actions[:camera_steps], times)
    for env in (*envs.values(), *([filmed] if filmed else [])):
        env.close()
    return {
        "control_steps": steps,
        "exact_ends_bit_equal_to_stock": f"{equal}/{episodes}",
        "rows": {what: _row(times, what) for what in times},
    }


def _row(times: Times, what: str) -> dict[str, Any]:
    base = "stock, picture a step" if "picture" in what else "stock reset" if "reset" in what else "stock"
    ratios = [a / b for a, b in zip(times[base], times[what], strict=True)]
    figures = {"ratio_median": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
    rate = {"per_s_median": round(statistics.median(1 / seconds for seconds in times[what]), 1), "n": len(ratios)}
    return {key: round(value, 2) for key, value in figures.items()} | rate


def _all_loops(envs: dict[str, TaskEnv], start: StartState, actions: np.ndarray, times: Times) -> bool:
    """One episode with every loop; whether exact ended where stock did."""
    ends = {}
    for loop in LOOPS:
        times[loop].append(_replay(envs[loop], start, actions) / len(actions))
        ends[loop] = envs[loop].state()
    controls = recorded_controls(envs["exact"], start, actions)
    times["physics"].append(physics_s(envs["exact"], start, controls) / len(actions))
    times["stock reset"].append(_timed(envs["stock"]._env.reset))
    times["reset"].append(_timed(lambda: envs["exact"].reset(start)))
    return np.array_equal(ends["stock"], ends["exact"])


def _timed(call: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    begun = clock()
    call()
    return clock() - begun


def _replay(env: TaskEnv, start: StartState, actions: np.ndarray) -> float:
    """Processor seconds of the whole steps."""
    env.reset(start)

    def run() -> None:
        for action in actions:
            env.step(action)

    return _timed(run)


def recorded_controls(env: TaskEnv, start: StartState, actions: np.ndarray) -> np.ndarray:
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


def physics_s(env: TaskEnv, start: StartState, controls: np.ndarray) -> float:
    """Processor seconds of MuJoCo alone on the recorded controls."""
    env.reset(start)
    sim = env._env.sim
    model, data, ctrl = sim.model._model._address, sim.data._data._address, sim.data.ctrl
    steps = _compiled_steps()
    steps(model, data, ctrl, controls[:0])  # compiles outside the clock
    return _timed(lambda: steps(model, data, ctrl, controls))


@cache
def _compiled_steps() -> Callable:
    from robo_orl.envs.native.physics_loop import mj_step1, mj_step2

    @njit
    def steps(model: int, data: int, ctrl: np.ndarray, controls: np.ndarray) -> None:
        for substep in range(controls.shape[0]):
            mj_step1(model, data)
            ctrl[:] = controls[substep]
            mj_step2(model, data)

    return steps


# -------------------------------------------------------------------------------------------------------- with cameras


def _with_camera(task: TaskConfig) -> Any:
    """robosuite's environment with its own camera observation."""
    camera = {"camera_names": CAMERA, "camera_heights": SIZE, "camera_widths": SIZE}
    wanted = {"use_camera_obs": True, "has_offscreen_renderer": True} | camera
    entry = scene_entry(task)
    usual = env_kwargs(task.control_hz, scene_params(task), entry.robots)
    env = make_simulator(entry.robosuite_name, usual | wanted | {"seed": 0})
    env.reset()
    return env


def _film(stock: Any, ours: TaskEnv, start: StartState, actions: np.ndarray, times: Times) -> None:
    """The beginning of an episode with pictures."""

    def run(every: int) -> None:
        for t, action in enumerate(actions):
            ours.step(action)
            if t % every == 0:
                ours.render(CAMERA, SIZE)

    restore(stock, start.entry)
    seconds = _timed(lambda: [stock.step(action) for action in actions], time.perf_counter)
    times["stock, picture a step"].append(seconds / len(actions))
    for name, every in (("exact, picture a step", 1), (f"exact, picture every {CHUNK}th step", CHUNK)):
        ours.reset(start)
        ours.render(CAMERA, SIZE)  # the first one makes the context
        times[name].append(_timed(lambda every=every: run(every), time.perf_counter) / len(actions))


if __name__ == "__main__":
    main()
