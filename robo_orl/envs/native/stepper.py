"""robosuite's env.step with its substep loop run natively: the same trajectories, several times faster.

robosuite keeps the model, the reset, goal setting, the gripper, sensors, reward, success and rendering; only the loop
over physics substeps is replaced (physics_loop.py), on the environment's own memory. What the loop assumes is checked
when it attaches (requirements.py), and a few steps are compared with robosuite's; where something does not hold,
robosuite's own step runs and one log line says why.

Differences that remain: robosuite's `robot.recent_*` buffers, which only its Wipe task reads, are not kept up to date;
and a fatal engine error (out of memory, say) ends the process with its message instead of raising mujoco.FatalError.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.config import LOOPS, Loop
from robo_orl.envs.native.requirements import TOLERANCE, largest_difference, unmet_requirement

log = logging.getLogger(__name__)
_differences: dict[tuple[type, str], float] = {}  # (kind of environment, loop) -> difference to stock on this machine
_said: set[str] = set()  # reasons that this process has told
VIEWS = {"ref_pos": "ref_pos", "ref_mat": "ref_ori_mat", "ref_pos_vel": "ref_pos_vel", "ref_ori_vel": "ref_ori_vel"}
VIEWS |= {"jac_pos": "J_pos", "jac_ori": "J_ori", "jac": "J_full"}  # ours -> the controller's arrays, written in place


def make_stepper(env: Any, loop: Loop = "exact") -> Stepper:
    """A stepper for a robosuite environment that has been reset.

    loop: `exact` is bit-equal to robosuite's own step; `fast` is equal up to rounding, which chaotic contacts amplify;
        `stock` is robosuite's own step.
    """
    if loop not in LOOPS:
        raise UsageError(f"Unknown loop '{loop}'. Known: {', '.join(LOOPS)}.")
    return Stepper(env, loop)


class Stepper:
    """Steps one environment. `loop` names what is really in use: `stock` where an assumption does not hold."""

    def __init__(self, env: Any, loop: Loop):
        self.env, self.requested = env, loop
        self.loop: Loop = loop
        self._composites: list[Any] = []
        self.attach()

    def attach(self) -> None:
        """Attach to the environment's present simulation; cheap when it is attached already.

        A robosuite reset makes new controllers. `step` notices that by itself; calling this after a reset only moves
        the work there.
        """
        if self.requested == "stock" or self._is_attached():
            return
        self._composites = [robot.composite_controller for robot in self.env.robots]
        self.loop = self.requested
        reason = unmet_requirement(self.env)
        if reason is None:
            self._bind()
            reason = self._disagreement()
        if reason is not None:
            self.loop = "stock"
            if reason not in _said:
                _said.add(reason)
                log.warning("Stepping with robosuite's own loop: %s", reason)

    def _disagreement(self) -> str | None:
        """Compare the loop with robosuite's own, once per process and kind of environment."""
        key = (type(self.env), self.loop)
        if key not in _differences:
            _differences[key] = largest_difference(self.env, self._physics)
        if _differences[key] <= TOLERANCE[self.loop]:
            return None
        return f"on this machine the {self.loop} loop differs from it by {_differences[key]:.1e}"

    def _physics(self, action: np.ndarray) -> None:
        """One control step without observations and reward."""
        self._begin()
        self._set_goals(action)
        self._native.advance(self._engine, self._state, self._command, self._substeps, True, self.loop == "exact")
        self._sync_controllers()

    def _is_attached(self) -> bool:
        robots = self.env.robots
        return len(robots) == len(self._composites) and all(
            robot.composite_controller is held for robot, held in zip(robots, self._composites, strict=True)
        )

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, dict]:
        """One control step, with the results, errors and side effects of robosuite's env.step.

        action: (A,). Returns (observations, reward, done, info).
        Raises ValueError after the time-out and numpy.linalg.LinAlgError on non-finite physics, as robosuite does.
        """
        self.attach()
        env = self.env
        if self.loop == "stock":
            return env.step(action)
        reward, done, info = self._move(action)
        return env._get_observations(), reward, done, info

    def move(self, action: np.ndarray) -> tuple[float, bool, dict]:
        """`step` without gathering what the observables sampled; (reward, done, info)."""
        self.attach()
        return self.env.step(action)[1:] if self.loop == "stock" else self._move(action)

    def _move(self, action: np.ndarray) -> tuple[float, bool, dict]:
        env = self.env
        if env.done:
            raise ValueError("executing action in terminated episode")
        env.timestep += 1
        if len(action) != env.action_dim:
            raise AssertionError(
                f"environment got invalid action dimension -- expected {env.action_dim}, got {len(action)}"
            )
        self._begin()
        self._set_goals(action)
        self._advance()
        env.cur_time += env.control_timestep
        return env._post_action(action)

    # -------------------------------------------------------------------------------------------------------- attaching

    def _bind(self) -> None:
        """Make the controllers' arrays views of the native loop's, so that both hold the same numbers."""
        from robo_orl.envs.native import controllers, physics_loop, sensor_clock

        env, sim = self.env, self.env.sim
        self._native, self._set_goal, self._skip_unsampled = (
            physics_loop,
            controllers.set_goal,
            sensor_clock.skip_unsampled,
        )
        self._arms = [(robot, arm, robot.part_controllers[arm]) for robot in env.robots for arm in robot.arms]
        self._controllers = [controller for _, _, controller in self._arms]
        slices = controllers.action_slices(env)
        self._arm_slices = [slices[robot, arm] for robot, arm, _ in self._arms]
        self._grippers = [
            (robot.gripper[arm], robot.part_controllers[name], slices[robot, name])
            for robot, arm, name in controllers.grippers(self._arms)
        ]
        self._engine = controllers.engine_memory(sim)
        self._state = controllers.arm_state(sim, self._arms)
        for r, controller in enumerate(self._controllers):
            for ours, theirs in VIEWS.items():
                view = getattr(self._state, ours)[r]
                view[:] = getattr(controller, theirs)
                setattr(controller, theirs, view)
        self._command = controllers.command_of(sim, self._arms)
        self._fresh = np.ones(len(self._controllers), dtype=np.bool_)
        self._substeps = int(env.control_timestep / env.model_timestep)

    # --------------------------------------------------------------------------------------------------------- one step

    def _begin(self) -> None:
        """mj_step1, and the update of each controller that stock would update; after a reset its readings are stale."""
        for r, controller in enumerate(self._controllers):
            self._fresh[r] = controller.new_update
            if not controller.new_update:
                self._state.mass[r] = controller.mass_matrix.T
                self._state.joint_pos[r] = controller.joint_pos
                self._state.joint_vel[r] = controller.joint_vel
            controller.new_update = False
        self._native.begin(self._engine, self._state, self._fresh)

    def _set_goals(self, action: np.ndarray) -> None:
        """Goals from the readings of `begin`, and robosuite's own gripper code; gathers what the substeps need."""
        engine, command = self._engine, self._command
        for r, (controller, (start, stop)) in enumerate(zip(self._controllers, self._arm_slices, strict=True)):
            base = self._state.site[r, 1]
            base_pos, base_mat = engine.site_pos[base].copy(), engine.site_mat[base].reshape(3, 3).copy()
            self._set_goal(controller, action[start:stop], base_pos, base_mat)
            command.goal_pos[r], command.goal_mat[r] = controller.goal_pos, controller.goal_ori
            command.kp[r], command.kd[r] = controller.kp, controller.kd
            command.rest[r] = controller.initial_joint
        filled = 0
        for gripper, controller, (start, stop) in self._grippers:
            controller.new_update = False  # nothing uses its readings of joints and masses
            controller.set_goal(gripper.format_action(action[start:stop]))
            command.gripper_goal[filled : filled + controller.control_dim] = controller.goal_qvel
            controller.new_update = True
            filled += controller.control_dim

    def _advance(self) -> None:
        """Run the substeps, stopping at each one after which robosuite's observables take a sample."""
        env, done = self.env, 0
        enabled = [o for o in env._observables.values() if o.is_enabled()]
        while done < self._substeps:
            skipped = self._skip_unsampled(enabled, env.model_timestep, self._substeps - done)
            samples = done + skipped < self._substeps
            count = skipped + samples
            exact = self.loop == "exact"
            self._native.advance(self._engine, self._state, self._command, count, done == 0, exact)
            if samples:
                for observable in enabled:
                    observable.update(timestep=env.model_timestep, obs_cache=env._obs_cache)
            done += count
        self._sync_controllers()

    def _sync_controllers(self) -> None:
        """Leave the controllers as stock leaves them: with their last readings, to be updated before the next use."""
        for r, controller in enumerate(self._controllers):
            controller.mass_matrix = self._state.mass[r].T
            controller.joint_pos, controller.joint_vel = self._state.joint_pos[r], self._state.joint_vel[r]
            controller.new_update = True
