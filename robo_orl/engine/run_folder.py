"""The folder of a run: configuration, spec, versions, summary, lock; and whether it may be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError
from torch import nn

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import read_json, write_json
from robo_orl.base.locks import folder_lock
from robo_orl.base.machine import versions
from robo_orl.config import RunConfig, Strict, sha256_of
from robo_orl.data.cache import EpisodeArrays
from robo_orl.data.statistics import Statistics, joint_statistics
from robo_orl.engine.task_data import sentences_of

# Keys that a resumed run may change: where it runs and where it reports to. The same data may lie at another place.
FREE = ("expect", "tracker", "checkpoint_every", "evaluation")
SUMMARY = "train.json"
REMOVE = "remove its folder and train anew"


class Spec(Strict):
    """Everything besides the configuration that an agent is built from."""

    obs: dict[str, int]
    action_dim: int
    gamma: float
    statistics: Statistics
    render: list[dict[str, Any] | None] | None = Field(None, description="per task the renderer of its data's pictures")
    sentences: list[list[str]] | None = Field(None, description="per task its instructions in training")

    def has_digest(self, digest: str) -> bool:
        """True for the digest of this spec, as taken now or as versions up to 0.2.0 took it, with defaults in it."""
        values = self.model_dump(mode="json")
        former = {name: value for name, value in values.items() if value is not None}
        return digest in (self.digest(), sha256_of(former))


def make_spec(run: RunConfig, opened: list[EpisodeArrays]) -> Spec:
    """The spec of a run on the data of its tasks; statistics are taken over the episodes that it trains on."""
    filters = [source.filter for source in run.tasks]
    return Spec(
        obs=opened[0].spec,
        action_dim=opened[0].action_dim,
        gamma=run.policy.gamma.value(run.task.horizon),
        statistics=joint_statistics(list(zip(opened, filters, strict=True))),
        render=[arrays.render for arrays in opened] if run.policy.observation.cameras else None,
        sentences=sentences_of(run) if run.policy.observation.instruction else None,
    )


def build_run_agent(run: RunConfig, spec: Spec) -> nn.Module:
    """The freshly initialised agent of a run."""
    from robo_orl.agent.agent import build_agent

    return build_agent(run.policy, spec.obs, spec.action_dim, spec.gamma, spec.statistics, run.seed)


class TrainingSummary(Strict):
    """The summary of a training: train.json, once it is finished; that of a reference adds to it (robomimic).

    wall_s: seconds of all its processes. step_s: the median of step_s_rows rows of metrics.jsonl; data_share: of
    reading data in a step. memory_before_bytes: memory of the libraries before there was an agent. run: the identity
    of the run that it belongs to, None in older files.
    """

    steps: int
    wall_s: float
    step_s: float
    step_s_rows: int
    samples_per_s: float
    data_share: float
    peak_memory_bytes: int
    memory_before_bytes: int | None = None
    peak_memory_of: str
    parameters: dict[str, int]
    finished: bool
    run: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The summary as it is stored and printed."""
        return self.model_dump(mode="json")


Summary = TypeVar("Summary", bound=TrainingSummary)


@contextmanager
def run_lock(out: Path, main: bool = True) -> Iterator[None]:
    """Hold the folder of a run, which one training at a time may write; only the main process takes the lock."""
    with folder_lock(out, "training") if main else nullcontext():
        yield


def run_identity(out: Path, run: RunConfig) -> str:
    """The identity of a run, which its checkpoints and its summary carry: the one that the folder was begun with."""
    config = out / "config.json"
    stored = read_json(config, REMOVE).get("identity") if config.exists() and _has_results(out) else None
    return stored or sha256_of(_fixed_settings(run))


def _has_results(out: Path) -> bool:
    return (out / SUMMARY).exists() or any((out / "checkpoints").glob("step_*"))


def check_resumable(out: Path, run: RunConfig, spec: Spec) -> None:
    """UsageError where `out` holds results of another run: settings or data changed."""
    if not _has_results(out):
        return
    if not (out / "config.json").exists():
        raise UsageError(f"{out} holds results without the config.json of their run; choose another --out.")
    before = read_run(out)
    if run.extended_at and run.extended_at[:-1] == before.extended_at:  # the shorter run that this one extends
        optim = before.policy.optim.model_copy(update={"steps": run.policy.optim.steps})
        policy = before.policy.model_copy(update={"optim": optim})
        before = before.model_copy(update={"policy": policy, "extended_at": run.extended_at})
    ours, theirs = (_learned(_fixed_settings(r)) for r in (run, before))
    changed = first_difference(ours, theirs)
    if changed:
        raise UsageError(f"{out} holds a run with another {changed}; choose another --out or remove that folder.")
    changed = first_difference(spec.identity(), read_spec(out).identity())
    if changed:
        raise UsageError(
            f"{out} was trained on other data ({changed} differs from {run.tasks[0].data}); choose another --out, "
            "or give the file that it was trained on."
        )


def _fixed_settings(run: RunConfig) -> dict[str, Any]:
    """The settings that a resumed run shares with the one before, by their names on the command line."""
    from robo_orl.objectives import normalised

    run = run.model_copy(update={"policy": normalised(run.policy)})  # a run of before may spell out a default
    first, *others = [source.identity(exclude=["data"]) for source in run.tasks]
    return run.identity(exclude=(*FREE, "tasks")) | first | ({"more": others} if others else {})


def _learned(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide what is learned. Rows of a suite that differ in name and decoding share a training, and
    the one that asks for it first is another one where the suite's order has changed since it was begun."""
    return settings | {"policy": {k: v for k, v in settings["policy"].items() if k not in ("name", "selection")}}


def write_run(out: Path, run: RunConfig, spec: Spec) -> None:
    """Write config.json, spec.json and versions.json, once the run is known to belong here."""
    values = {"digest": run.digest(), "identity": run_identity(out, run), "run": run.model_dump(mode="json")}
    write_json(out / "config.json", values)
    write_json(out / "spec.json", {"digest": spec.digest(), "spec": spec.model_dump(mode="json")})
    write_json(out / "versions.json", versions())


def read_run(out: Path) -> RunConfig:
    """The configuration in a run's folder; UsageError where there is none."""
    if out.is_file():
        raise UsageError(f"{out} is a file; give the folder of a trained run.")
    if not (out / "config.json").exists():
        raise UsageError(f"There is no trained run in {out}; `robo-orl train --out {out}` makes one.")
    return _parse(RunConfig, out / "config.json", "run")


def read_spec(out: Path) -> Spec:
    """The spec in a run's folder; UsageError where there is none."""
    return _parse(Spec, out / "spec.json", "spec")


def read_summary(out: Path, identity: str) -> TrainingSummary | None:
    """The summary of a finished run, None where there is none; an error where it is damaged or of another run."""
    summary = stored_summary(out, TrainingSummary)
    if summary is not None and summary.run not in (None, identity):
        path = out / SUMMARY
        raise UsageError(f"{path} belongs to another run than {out}/config.json; delete it, or choose another --out.")
    return summary


def stored_summary(out: Path, schema: type[Summary]) -> Summary | None:
    """The summary in a run's folder, None where there is none; RunError where it is damaged."""
    path, remedy = out / SUMMARY, f"delete it, and the same command writes it from the checkpoints of {out}"
    if not path.exists():
        return None
    try:
        return schema.model_validate(read_json(path, remedy))
    except ValidationError:
        raise RunError(f"{path} is damaged or of another version; {remedy}.") from None


def write_summary(out: Path, summary: TrainingSummary) -> None:
    """Write train.json, which says that the run is finished."""
    write_json(out / SUMMARY, summary.to_json())


def _parse(schema: type[Strict], path: Path, key: str) -> Strict:
    values = read_json(path, REMOVE)
    try:
        return schema.model_validate(values[key])
    except (KeyError, TypeError, ValidationError):
        raise RunError(f"{path} was written by another version of robo_orl and cannot be continued.") from None


def first_difference(ours: object, theirs: object, at: str = "") -> str | None:
    """The dotted name of the first value that differs, None where all are equal."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*ours, *(k for k in theirs if k not in ours)]:
            difference = first_difference(ours.get(key), theirs.get(key), f"{at}.{key}" if at else key)
            if difference:
                return difference
        return None
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return first_difference(dict(enumerate(ours)), dict(enumerate(theirs)), at)
    return None if ours == theirs else at
