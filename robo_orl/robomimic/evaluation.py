"""Evaluate a reference exactly as a policy of ours: same start states, same simulators, one row per episode.

The command evaluates the folder of a reference run, or a checkpoint of robomimic's own trainer with its task.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.files import file_sha256
from robo_orl.config import Loop, ReferenceConfig, TaskConfig
from robo_orl.evaluate.result import EvaluationResult
from robo_orl.evaluate.scores import EvaluationPlan
from robo_orl.evaluate.success import roll_out
from robo_orl.results.record import Record
from robo_orl.robomimic.algorithms import captured_stdout, import_robomimic
from robo_orl.robomimic.run_folder import MODEL, check_checkpoint, checkpoints, read_run, trained
from robo_orl.robomimic.weights import read_weights
from robo_orl.rollout.env_spec import TaskEnvSpec

if TYPE_CHECKING:
    from robo_orl.robomimic.algo import ReferenceActor


@dataclass(frozen=True)
class ReferenceCheckpoint:
    """A checkpoint to evaluate. obs: the keys that it reads and their sizes; step: its gradient steps."""

    reference: ReferenceConfig
    task: TaskConfig
    file: Path
    weights: dict[str, Any]
    step: int

    @property
    def obs(self) -> dict[str, int]:
        """Key -> size."""
        return {key: shape[0] for key, shape in self.weights["shape_metadata"]["all_shapes"].items()}

    @property
    def config(self) -> dict[str, Any]:
        """robomimic's configuration."""
        return json.loads(self.weights["config"])


def evaluate_reference(
    path: Path,
    episodes: int,
    task: TaskConfig | None = None,
    workers: int | None = None,
    seed: int = 0,
    loop: Loop = "exact",
    video: Path | None = None,
    progress: bool = True,
    out: Path | None = None,
    trust_pickle: bool = False,
) -> EvaluationResult:
    """Roll out a reference from start states 0 .. episodes-1 of its task, and write its files.

    path: a reference run's folder (its last checkpoint), or a .pth of robomimic, for which `task` must be given and
    `out` is by default the folder of that name beside it. trust_pickle: see `weights.read_weights`.

    Raises:
        UsageError: nothing to evaluate there, a file that would execute code, observations that the task has not.
        RunError: what `evaluate` raises, or robomimic is not installed.
    """
    path = Path(path)
    if trust_pickle and path.suffix != ".pth":
        raise UsageError("--trust-pickle is for checkpoints of robomimic's own trainer; a run of ours needs no trust.")
    checkpoint = _load_file(path, task, trust_pickle) if path.suffix == ".pth" else load_run(path, task)
    import_robomimic()
    plan = EvaluationPlan(checkpoint.reference, checkpoint.task, file_sha256(checkpoint.file), checkpoint.step, seed)
    out = out or (path.with_suffix("") if path.suffix == ".pth" else path) / "eval"
    env_spec = TaskEnvSpec(checkpoint.task, loop, keys=tuple(checkpoint.obs))
    return roll_out(
        plan, make_actor(checkpoint, seed), env_spec, checkpoint.obs, episodes, workers, out, video, progress
    )


def reference_actor(folder: Path | str, seed: int = 0) -> ReferenceActor:
    """The newest checkpoint of a reference run as what acts in `Rollouts`; UsageError where there is none."""
    import_robomimic()
    return make_actor(load_run(Path(folder), None), seed)


def reference_player(record: Record, run: Path) -> tuple[EvaluationPlan, ReferenceActor, TaskEnvSpec]:
    """What plays the episodes of a stored reference again from its run: for `robo_orl.evaluate.rerun.replay`.

    Raises UsageError where the run learned another task than the record is of, RunError where robomimic is missing.
    """
    import_robomimic()
    checkpoint, evaluation = load_run(run, None), record.evaluation
    if checkpoint.task.digest() != record.task.digest:
        raise UsageError(f"{run} learned another {checkpoint.task.name} than the record is of: their digests differ.")
    digest = evaluation.checkpoint_sha256 or ""
    plan = EvaluationPlan(checkpoint.reference, checkpoint.task, digest, checkpoint.step, evaluation.seed)
    env_spec = TaskEnvSpec(checkpoint.task, evaluation.loop, keys=tuple(checkpoint.obs))
    return plan, make_actor(checkpoint, evaluation.seed), env_spec


def load_run(folder: Path, task: TaskConfig | None) -> ReferenceCheckpoint:
    """The newest checkpoint of a reference run."""
    run = read_run(folder)
    if task is not None and task.digest() != run.task.digest():
        raise UsageError(f"{folder} was trained on {run.task.name}; leave --task out to evaluate it there.")
    stored = checkpoints(folder)
    if not stored:
        raise UsageError(f"{folder} has no checkpoint yet; train it first.")
    epochs, within = trained(stored[-1])
    step = epochs * run.reference.settings["experiment"]["epoch_every_n_steps"] + within
    check_checkpoint(stored[-1], run)
    file = stored[-1] / MODEL
    return ReferenceCheckpoint(run.reference, run.task, file, read_weights(file), step)


def _load_file(file: Path, task: TaskConfig | None, trust_pickle: bool) -> ReferenceCheckpoint:
    """A checkpoint that robomimic's trainer wrote: model_epoch_N.pth."""
    if task is None:
        raise UsageError(f"{file} does not say which task of ours it is for; give --task.")
    weights = read_weights(file, trust_pickle)
    config = json.loads(weights["config"])
    settings = {section: config[section] for section in ("algo", "train", "experiment")}
    name = f"robomimic_{weights['algo_name']}"
    reference = ReferenceConfig(name=name, algorithm=weights["algo_name"], library="robomimic", settings=settings)
    epoch = re.search(r"epoch_(\d+)", file.stem)
    steps = settings["experiment"]["epoch_every_n_steps"]
    return ReferenceCheckpoint(
        reference, task, file, weights, int(epoch[1]) * steps if epoch and steps else reference.steps
    )


def make_actor(checkpoint: ReferenceCheckpoint, seed: int) -> ReferenceActor:
    """Its policy, built by robomimic from the checkpoint."""
    from robomimic.config.base_config import REGISTERED_CONFIGS
    from robomimic.utils.file_utils import policy_from_checkpoint

    from robo_orl.robomimic.algo import ReferenceActor, device

    if (name := checkpoint.weights["algo_name"]) not in REGISTERED_CONFIGS:
        raise unknown("algorithm of robomimic 0.3.0", name, REGISTERED_CONFIGS)
    try:
        with captured_stdout():
            policy, _ = policy_from_checkpoint(device=device(), ckpt_dict=checkpoint.weights)
    except (AssertionError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise UsageError(f"robomimic cannot build the policy of {checkpoint.file} ({reason}).") from None
    return ReferenceActor(policy, list(checkpoint.obs), checkpoint.config["train"].get("frame_stack", 1), seed)
