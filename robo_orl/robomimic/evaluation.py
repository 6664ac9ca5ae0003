"""Evaluate a reference exactly as a policy of ours: same start states, same simulators, one row per episode.

What is evaluated is a reference run's folder, or a checkpoint of robomimic's own trainer with the task that it is for.
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
from robo_orl.robomimic.algorithms import import_robomimic, quiet
from robo_orl.robomimic.run_folder import MODEL, checkpoints, read_run, trained
from robo_orl.robomimic.weights import read_weights
from robo_orl.rollout.env_spec import TaskEnvSpec

if TYPE_CHECKING:
    from robo_orl.robomimic.acting import ReferenceActor


@dataclass(frozen=True)
class Judged:
    """What is evaluated. obs: the keys that it sees and their sizes; step: gradient steps of the checkpoint."""

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
    judged = _checkpoint(path, task, trust_pickle) if path.suffix == ".pth" else _run(path, task)
    import_robomimic()
    plan = EvaluationPlan(judged.reference, judged.task, file_sha256(judged.file), judged.step, seed)
    out = out or (path.with_suffix("") if path.suffix == ".pth" else path) / "eval"
    env_spec = TaskEnvSpec(judged.task, loop)
    return roll_out(plan, _actor(judged, seed), env_spec, judged.obs, episodes, workers, out, video, progress)


def reference_actor(folder: Path | str, seed: int = 0) -> ReferenceActor:
    """The newest checkpoint of a reference run as what acts in `Rollouts`; UsageError where there is none."""
    import_robomimic()
    return _actor(_run(Path(folder), None), seed)


def _run(folder: Path, task: TaskConfig | None) -> Judged:
    """The newest checkpoint of a run of ours."""
    run = read_run(folder)
    if task is not None and task.digest() != run.task.digest():
        raise UsageError(f"{folder} was trained on {run.task.name}; leave --task out to evaluate it there.")
    found = checkpoints(folder)
    if not found:
        raise UsageError(f"{folder} has no checkpoint yet; train it first.")
    epochs, within = trained(found[-1])
    step = epochs * run.reference.settings["experiment"]["epoch_every_n_steps"] + within
    return Judged(run.reference, run.task, found[-1] / MODEL, read_weights(found[-1] / MODEL), step)


def _checkpoint(file: Path, task: TaskConfig | None, trust_pickle: bool) -> Judged:
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
    return Judged(reference, task, file, weights, int(epoch[1]) * steps if epoch and steps else reference.steps)


def _actor(judged: Judged, seed: int) -> ReferenceActor:
    """Its policy, built by robomimic from the checkpoint."""
    from robomimic.config.base_config import REGISTERED_CONFIGS
    from robomimic.utils.file_utils import policy_from_checkpoint

    from robo_orl.robomimic.acting import ReferenceActor
    from robo_orl.robomimic.algo import device

    if (name := judged.weights["algo_name"]) not in REGISTERED_CONFIGS:
        raise unknown("algorithm of robomimic 0.3.0", name, REGISTERED_CONFIGS)
    try:
        with quiet():
            policy, _ = policy_from_checkpoint(device=device(), ckpt_dict=judged.weights)
    except (AssertionError, KeyError, TypeError, ValueError, RuntimeError) as error:
        what = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise UsageError(f"robomimic cannot build the policy of {judged.file} ({what}).") from None
    return ReferenceActor(policy, list(judged.obs), judged.config["train"].get("frame_stack", 1), seed)
