"""Where learning online begins: a trained run, the method that is laid on its policy, and the weights that are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from robo_orl.base.errors import UsageError
from robo_orl.base.files import read_json
from robo_orl.config import OnlineConfig, PolicyConfig, RunConfig, TaskConfig, apply_overrides, deep_merge, parse
from robo_orl.config.methods import METHODS, with_method
from robo_orl.config.presets import available, stored_name
from robo_orl.engine.checkpoint import checkpoints
from robo_orl.engine.run_folder import Spec, build_run_agent, read_run, read_spec
from robo_orl.engine.starting_point import load_initial_weights
from robo_orl.engine.task_data import task_number
from robo_orl.objectives import OBJECTIVES, normalised

T = TypeVar("T")


@dataclass(frozen=True)
class Start:
    """A run that goes on in one task: its configuration with the method's policy, its spec, and the method's name.

    others, other_renders: the other tasks that the run learned, and what made the pictures of their data. trained_on:
    sha256 of the data of its task, None where nothing says.
    """

    run: RunConfig
    spec: Spec
    method: str
    others: tuple[TaskConfig, ...] = ()
    other_renders: tuple[dict[str, Any] | None, ...] = ()
    trained_on: str | None = None

    @property
    def render(self) -> dict[str, Any] | None:
        """The renderer of the pictures of its task's data; None where they do not say, and where it sees none."""
        return self.spec.render[0] if self.spec.render else None


def resolve_start(
    folder: Path,
    method: str | None,
    seed: int,
    data: Path | None = None,
    settings: tuple[str, ...] = (),
    policy: PolicyConfig | None = None,
    task: str | None = None,
) -> Start:
    """The run in `folder` as it goes on to learn by `method`, a name of policies/online or a path, with variants.

    method: None for what the run's own policy says under `online`. data: where its data lie now. settings: as --set.
    policy: the whole policy that goes on, where it is known, e.g. to a suite; there is no method then. task: that in
    which it goes on, of a run that learned several; the others are judged at every point, for what is forgotten.

    Raises UsageError where there is no such run or method, and where the run cannot go online.
    """
    before, spec = read_run(folder), read_spec(folder)
    if not checkpoints(folder):
        raise UsageError(f"{folder} has no checkpoint yet; train it first.")
    number = _place_of(before, folder, task)
    values = before.policy.model_dump(mode="json") if policy is None else policy.model_dump(mode="json")
    if method is not None and policy is not None:
        raise UsageError("--policy is the whole policy that goes on: leave --method out.")
    if method is not None:
        values = with_method(values, method)
    elif policy is not None and policy.online is None:
        raise UsageError(f"The policy {policy.name} does not say how it learns online: give it a section online.")
    elif policy is not None:
        method = policy.name
    elif before.policy.online is None:
        raise UsageError(
            f"The policy of {folder} does not say how it learns online: give --method, one of "
            f"{', '.join(available(METHODS))}."
        )
    values = apply_overrides({"policy": values}, list(settings))["policy"]
    policy = normalised(parse(PolicyConfig, values, f"method '{method}' on {folder}"))
    source = before.tasks[number].model_copy(update={"data": str(data)} if data is not None else {})
    update = {"policy": policy, "tasks": [source], "seed": seed, "init": str(folder.resolve()), "extended_at": []}
    return Start(
        run=before.model_copy(update=update),
        spec=_spec_of(before, spec, number),
        method=stored_name(method) if method else "own",
        others=_without(number, [other.task for other in before.tasks]),
        other_renders=_without(number, spec.render or [None] * len(before.tasks)),
        trained_on=_trained_on(folder, number),
    )


def went_online(start: PolicyConfig, method: str, row: str, changes: dict[str, Any], where: str) -> PolicyConfig:
    """A policy as it goes on to learn by a method with some settings changed, called START_ROW."""
    values = deep_merge(with_method(start.model_dump(mode="json"), method), changes)
    name = f"{start.name}_{row}"
    return normalised(parse(PolicyConfig, values | {"name": name}, f"{where}, policy {name}"))


def _spec_of(run: RunConfig, spec: Spec, number: int) -> Spec:
    """The spec of one task of a run: its discount, sentences and renderer, beside the scales of all."""
    if len(run.tasks) == 1:
        return spec
    gamma = run.policy.gamma.value(run.tasks[number].task.horizon)
    own = {"sentences": spec.sentences[number : number + 1]} if spec.sentences else {}
    own |= {"render": spec.render[number : number + 1]} if spec.render else {}
    return spec.model_copy(update={"gamma": gamma, **own})


def _without(number: int, of_tasks: list[T]) -> tuple[T, ...]:
    return (*of_tasks[:number], *of_tasks[number + 1 :])


def _trained_on(folder: Path, number: int) -> str | None:
    path = folder / "data.json"
    return read_json(path)["files"][number].get("sha256") if path.exists() else None


def _place_of(run: RunConfig, folder: Path, task: str | None) -> int:
    """The place of the task in a run. UsageError where episodes of it cannot be collected."""
    if len(run.tasks) > 1 and task is None:
        names = ", ".join(source.task.name for source in run.tasks)
        raise UsageError(f"{folder} learned several tasks: name the one to go on in with --task, one of {names}.")
    number = task_number(run, task)
    if any(not source.task.has_environment for source in run.tasks):
        raise UsageError(f"The task of {folder} has no environment (env: none) in which episodes could be collected.")
    if OBJECTIVES[run.policy.objective.name].competent_only:
        raise UsageError(f"{folder} learned from an oracle's labels, which collected episodes do not have.")
    return number


def initial_agent(start: Start, out: Path | None) -> nn.Module:
    """The agent with the weights of the run that its policy keeps; what was kept stands in out/init.json."""
    run = start.run
    agent = build_run_agent(run, start.spec)
    online = run.policy.online or OnlineConfig()
    if online.reset == "all":
        return agent
    critic = ("critic.", "critic_backbone.", "target.", "extra.critic")
    anew = critic if online.reset == "critic" else ()
    load_initial_weights(agent, checkpoints(Path(run.init))[-1], out, lambda name: not name.startswith(anew))
    return agent
