"""The environment of a task, for evaluation and recording: start states, decisions, stages, dead time, time-out."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import Loop, TaskConfig, View
from robo_orl.envs.any_scene import (
    JOINED,
    check_controllers,
    controller_settings,
    further_keys,
    gripper_numbers,
    is_any,
    observed,
    own_keys,
)
from robo_orl.envs.registry import (
    env_kwargs,
    is_own,
    load_robosuite,
    make_simulator,
    object_names,
    proprioception,
    scene_entry,
    scene_params,
)
from robo_orl.envs.scene import Scene
from robo_orl.envs.stages import FUNCTIONS, predicates
from robo_orl.envs.start_states import StartState

if TYPE_CHECKING:
    from robosuite.environments.manipulation.manipulation_env import ManipulationEnv

    from robo_orl.envs.rendering.renderer import OffscreenRenderer

OF_A_ROBOT = ("robot0_", "robot1_")  # how the names of its own sensors begin
REPLACED_BYTES = 256e6  # of models that draws have replaced: then they are freed
ROBOMIMIC_ROBOSUITE = 1  # robomimic's EnvType.ROBOSUITE_TYPE


@dataclass(frozen=True)
class TimeStep:
    """The result of one decision.

    obs: per key (D,) float32. reward: of this decision. terminated: the task succeeded. truncated: the time is over.
    stages: (S,) bool, completed so far.
    """

    obs: dict[str, np.ndarray]
    reward: float
    terminated: bool
    truncated: bool
    stages: np.ndarray


@dataclass(frozen=True)
class EpisodeState:
    """One instant of an episode: the simulator's state (snapshot.py), and what the task counts beside it."""

    entry: dict[str, np.ndarray]
    completed: int
    active: int
    dead: int
    gripper: np.ndarray


class TaskEnv:
    """One simulator, reused across episodes. Building costs seconds, a reset a millisecond.

    Actions are (A,) in [-1, 1], 7 numbers an arm: position delta (1 = 5 cm), rotation vector delta (1 = 0.5 rad), both
    in the frame of the arm's base, gripper (1 = close). A task with another `controller` has that one's numbers.
    Stages count in order and stay counted. During dead time the action is ignored and the robot holds. A decision lasts
    whole physics steps of 2 ms: 24 ms at 40 Hz. The gripper needs ten decisions to close at every rate.

    keys: low-dim keys that a policy reads, of which an environment `robosuite:NAME` observes those that robosuite has
    beside the usual ones (joints, velocities, `robot0_proprio-state`); scenes of the registry have theirs.

    Raises:
        UsageError: the task names a scene, a parameter or a stage that does not exist.
    """

    def __init__(self, task: TaskConfig, loop: Loop = "exact", keys: tuple[str, ...] = ()):
        if is_own(task):
            raise UsageError(
                f"The environment '{task.env}' of task {task.name} is no scene of robosuite: there are no stored "
                "states to replay, to convert or to render."
            )
        self.task = task
        self._predicates = predicates(task)
        self._names = object_names(task)
        self._renderers: dict[tuple[int, str], OffscreenRenderer] = {}
        self._replaced = 0  # bytes
        load_robosuite()  # before the first import of anything that imports robosuite
        from robo_orl.envs.native.stepper import make_stepper

        entry = scene_entry(task)
        moved_by = controller_settings(task) if is_any(task.env) else None
        self._kwargs = env_kwargs(task.control_hz, scene_params(task), entry.robots, moved_by)
        self._env = make_simulator(entry.robosuite_name, self._kwargs | {"seed": 0})
        self._proprioception = tuple(proprioception(len(entry.robots)))
        if is_any(task.env):
            check_controllers(self._env, task)
            self._proprioception = own_keys(self._env)
            self._proprioception += further_keys(self._env, [k for k in keys if k not in self._proprioception])
        self._grippers = gripper_numbers(self._env)
        self._skip_unused()
        self._stepper = make_stepper(self._env, loop)
        self._bind()
        self._begin()
        self._env.reset()
        for predicate in self._predicates if task.conditions or FUNCTIONS else ():
            predicate(self._scene)  # a name that the scene does not have is told now, and not in the middle of work
        self.spec = {key: value.size for key, value in self._observe().items()}

    # ------------------------------------------------------------------------------------------------------ the episode

    @property
    def action_dim(self) -> int:
        """A: numbers in an action."""
        return self._env.action_dim

    @property
    def stages(self) -> list[str]:
        """The names of the stages, in order; the last one is success."""
        return list(self.task.stages)

    @property
    def loop(self) -> Loop:
        """The name of the substep loop really in use."""
        return self._stepper.loop

    @property
    def scene(self) -> Scene:
        """The simulator's state as stages and experts see it."""
        return self._scene

    @property
    def environment(self) -> ManipulationEnv:
        """robosuite's own environment."""
        return self._env

    @property
    def dead(self) -> bool:
        """Whether the next action will be ignored."""
        return self._dead > 0

    def reset(self, start: StartState) -> dict[str, np.ndarray]:
        """Begin an episode at `start`; the first observation, per key (D,) float32.

        Stages that hold at a start in the middle are complete, and are not rewarded.
        """
        from robo_orl.envs.snapshot import restore

        restore(self._env, start.entry)
        self._stepper.attach()
        self._begin()
        self._advance()
        return self._observe()  # `restore` has sampled; a second sample would shift it

    def begin_at(self, state: np.ndarray, model_xml: str = "", keep_stages: bool = False) -> dict[str, np.ndarray]:
        """Begin an episode at a state (Z,) that other software stored; the first observation, per key (D,) float32.

        model_xml: the scene of the recording, for the sizes and fixed places of its objects. keep_stages: go on in the
        present episode. Raises UsageError where the state belongs to another scene.
        """
        from robo_orl.envs.recorded_state import begin_at

        begin_at(self._env, state, model_xml)
        self._stepper.attach()
        if not keep_stages:
            self._begin()
        return self._observe()

    def start(self, index: int = -1) -> StartState:
        """The present state as a start state that `reset` puts back bit-equal."""
        from robo_orl.envs.snapshot import capture

        return StartState(capture(self._env), index)

    def snapshot(self) -> EpisodeState:
        """The present instant of the episode, which `resume` puts back in this environment."""
        from robo_orl.envs.snapshot import capture

        entry = capture(self._env, same_scene=True)
        return EpisodeState(entry, self._completed, self._active, self._dead, self._gripper)

    def resume(self, state: EpisodeState) -> None:
        """Go on from an instant of an episode of this environment, bit-equal to what followed it."""
        from robo_orl.envs.snapshot import restore

        restore(self._env, state.entry)
        self._stepper.attach()
        self._completed, self._active = state.completed, state.active
        self._dead, self._gripper = state.dead, state.gripper

    def follow(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """Put the next stored state (Z,) of an episode into the scene, count the stages, and observe it."""
        from robo_orl.envs.recorded_state import sense

        self._env.sim.set_state_from_flattened(state)
        self._env.sim.forward()
        self._advance()
        sense(self._env, first=False)
        return self._observe()

    def step(self, action: np.ndarray) -> TimeStep:
        """Carry out one action (A,); values beyond [-1, 1] are clipped.

        Raises:
            RunError: the action holds NaN or infinity.
        """
        action = np.asarray(action, dtype=np.float64)
        if not np.isfinite(action).all():
            raise RunError("The action holds NaN or infinity: the policy has diverged.")
        if self._dead > 0:
            self._dead -= 1
            action = np.zeros(self.action_dim)
            action[self._grippers] = self._gripper
        else:
            self._active += 1
            action = np.clip(action, -1.0, 1.0)
            self._gripper = np.sign(action[self._grippers])
        self._stepper.move(action)
        before, after = self._completed, self._advance()
        if after > before and after < len(self._predicates):
            self._dead = self._dead_steps
        terminated = after == len(self._predicates)
        truncated = not terminated and self._active >= self._limit
        return TimeStep(self._observe(), self._reward(before, after), terminated, truncated, self.completed())

    def completed(self) -> np.ndarray:
        """(S,) bool: the stages completed so far."""
        return np.arange(len(self._predicates)) < self._completed

    def _begin(self) -> None:
        self._completed = self._active = 0
        self._gripper = np.zeros(len(self._grippers))
        self._limit = round(self.task.max_seconds * self.task.control_hz)
        self._dead_steps = self._dead = round(self.task.padding * self.task.control_hz)

    def _advance(self) -> int:
        """Count the stages that hold, each only after all before it."""
        while self._completed < len(self._predicates) and self._predicates[self._completed](self._scene):
            self._completed += 1
        return self._completed

    def _reward(self, before: int, after: int) -> float:
        if self.task.reward == "stages":
            return (after - before) / len(self._predicates)
        return float(after == len(self._predicates))

    # ------------------------------------------------------------------------------------------------------ observation

    def _skip_unused(self) -> None:
        """Switch off the sensors that no key of ours reads, and robosuite's reward."""
        for name, observable in list(self._env._observables.items()):
            whole = f"{observable.modality}{JOINED}" in self._proprioception
            if name.startswith(OF_A_ROBOT) and name not in self._proprioception and not whole:
                self._env.modify_observable(name, "enabled", False)
                self._env.modify_observable(name, "active", False)
        self._env.reward = lambda action=None: 0.0

    def _observe(self) -> dict[str, np.ndarray]:
        """Per key (D,) float32: the last samples of robosuite's observables, joined as its own observations are."""
        sampled = self._env._observables
        low_dim = {key: observed(self._env, key).astype(np.float32) for key in self._proprioception}
        objects = [np.atleast_1d(o.obs) for o in sampled.values() if o.modality == "object" and _is_shown(o)]
        if context := self._context():
            objects.append(np.array(context))
        if objects:  # an environment of robosuite may have no object to observe
            low_dim["object"] = np.concatenate(objects).astype(np.float32)
        return low_dim

    def _context(self) -> list[float]:
        """The part that the simulator does not hold: chain's stage as one of 9 and its dead-time flag; elsewhere the
        flag alone, and only with dead time, so that unpadded robosuite scenes have robomimic's observation."""
        flag = [float(self._dead > 0)]
        if self.task.env != "chain":
            return flag if self._dead_steps else []
        return [float(count == self._completed) for count in range(9)] + flag

    # ------------------------------------------------------------------------------------------------------- the scene

    def _bind(self) -> None:
        """Find the scene's indices, which a new model may have changed."""
        self._scene = Scene(self._env, self._names)
        self._return_renderers(unless_fit_for=self._env.sim.model._model)

    def draw_start(self, seed: int) -> StartState:
        """A new start state of the scene: the same for the same seed, in every process."""
        from robo_orl.envs.snapshot import capture

        self._env.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        self._env.hard_reset = scene_entry(self.task).draws_model
        replaced = self._env.sim.model._model.nbuffer
        self._env.reset()
        if self._env.hard_reset:
            self._bind()
            self._collect(replaced)
        return StartState(capture(self._env))

    def _collect(self, replaced: int) -> None:
        """Free the simulations that draws have replaced, once their models are large together.

        Each holds itself in circles, and Python's collector counts objects: it does not see the 30 to 120 MB of meshes
        and textures behind a few of them.
        """
        self._replaced += replaced
        if self._replaced > REPLACED_BYTES:
            gc.collect()
            self._replaced = 0

    def state(self) -> np.ndarray:
        """(Z,) float64: robosuite's flattened simulator state [time, qpos, qvel]."""
        return self._env.sim.get_state().flatten()

    def model_xml(self) -> str:
        """The scene as MuJoCo XML, with the objects' sizes of this episode."""
        tree = ElementTree.fromstring(self._env.sim.model.get_xml())
        for geom in tree.iter("geom"):
            if geom.get("type") == "box" and geom.get("name", "").startswith(tuple(self._names)):
                size = self._env.sim.model.geom_size[self._env.sim.model.geom_name2id(geom.get("name"))]
                geom.set("size", " ".join(repr(float(value)) for value in size))
        return ElementTree.tostring(tree, encoding="unicode")

    def env_args(self) -> dict[str, Any]:
        """robomimic's description of the environment, as JSON values."""
        return {
            "env_name": scene_entry(self.task).robosuite_name,
            "env_version": load_robosuite().__version__,
            "type": ROBOMIMIC_ROBOSUITE,
            "env_kwargs": self._kwargs,
        }

    def render(self, camera: str = "agentview", size: int = 256) -> np.ndarray:
        """(size, size, 3) uint8: robosuite's own camera observation now. The first call makes an offscreen context.

        Raises:
            UsageError: a camera that the scene does not have.
            RunError: this machine cannot render.
        """
        return self._renderer(size, "full").image_as_stepped(self._env.sim.data._data, camera)

    def see(self, view: View) -> dict[str, np.ndarray]:
        """Per camera of the view "<camera>_image" (size, size, 3) uint8: a function of the positions alone.

        Raises:
            UsageError: a camera that the scene does not have.
            RunError: this machine cannot render.
        """
        images = self._renderer(view.size, view.look).images(self._env.sim.data._data, list(view.cameras))
        return {f"{camera}_image": image for camera, image in images.items()}

    def fingerprint(self, view: View) -> dict[str, Any]:
        """What makes the pictures of a view, as JSON values. RunError where this machine cannot render."""
        from robo_orl.envs.rendering.renderer import render_fingerprint

        return render_fingerprint(view.look)

    def pose(self, state: np.ndarray) -> None:
        """Put positions and velocities (Z,) of `state` into the scene, for pictures; reset before the next step."""
        self._env.sim.set_state_from_flattened(state)

    def _renderer(self, size: int, look: str) -> OffscreenRenderer:
        from robo_orl.envs.rendering.renderer import borrow_renderer

        model = self._env.sim.model._model
        if (size, look) not in self._renderers:
            self._renderers[size, look] = borrow_renderer(model, size, look)
        self._renderers[size, look].model = model
        return self._renderers[size, look]

    def _return_renderers(self, unless_fit_for: Any = None) -> None:
        from robo_orl.envs.rendering.renderer import fits, return_renderer

        for key, renderer in list(self._renderers.items()):
            if unless_fit_for is None or not fits(renderer, unless_fit_for):
                return_renderer(self._renderers.pop(key))

    def close(self) -> None:
        """Free the simulator; the environment is of no use afterwards."""
        self._return_renderers()
        self._env.close()


def _is_shown(observable: Any) -> bool:
    return observable.is_enabled() and observable.is_active()
