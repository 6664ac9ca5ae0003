"""A run's folder: what was asked, on what data, with which versions; and whether it may be continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from torch import nn

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import read_json, write_json
from robo_orl.base.machine import versions
from robo_orl.config import RunConfig, Strict
from robo_orl.data.cache import EpisodeArrays
from robo_orl.data.statistics import Statistics, joint_statistics
from robo_orl.engine.task_data import sentences_of, tasks_of

# What a resumed run may have otherwise: where it runs, what it reports to, where the same file lies.
FREE = ("expect", "tracker", "checkpoint_every", "data")


class Spec(Strict):
    """What the agent was built for: everything beside the configuration that rebuilding it needs."""

    obs: dict[str, int]
    action_dim: int
    gamma: float
    statistics: Statistics
    render: list[dict[str, Any] | None] | None = Field(None, description="per task what made the pictures of its data")
    sentences: list[list[str]] | None = Field(None, description="per task what it was called in training")


def make_spec(run: RunConfig, opened: list[EpisodeArrays]) -> Spec:
    """The spec of a run on the data of its tasks; statistics are taken over the episodes that it trains on."""
    filters = [source.filter for source in tasks_of(run)]
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


def check_resumable(out: Path, run: RunConfig, spec: Spec) -> None:
    """UsageError where `out` holds the checkpoints of another run: settings or data changed."""
    ours, theirs = (r.identity(exclude=FREE) for r in (run, read_run(out)))
    changed = first_difference(ours, theirs)
    if changed:
        raise UsageError(f"{out} holds a run with another {changed}; choose another --out or remove that folder.")
    changed = first_difference(spec.identity(), read_spec(out).identity())
    if changed:
        raise UsageError(
            f"{out} was trained on other data ({changed} differs from {run.data}); choose another --out, "
            "or give the file that it was trained on."
        )


def write_run(out: Path, run: RunConfig, spec: Spec) -> None:
    """config.json, spec.json and versions.json, once the run is known to belong here."""
    write_json(out / "config.json", {"digest": run.digest(), "run": run.model_dump(mode="json")})
    write_json(out / "spec.json", {"digest": spec.digest(), "spec": spec.model_dump(mode="json")})
    write_json(out / "versions.json", versions())


def read_run(out: Path) -> RunConfig:
    """The configuration in a run's folder; UsageError where there is none."""
    if not (out / "config.json").exists():
        raise UsageError(f"There is no trained run in {out}; `robo-orl train --out {out}` makes one.")
    return _parse(RunConfig, out / "config.json", "run")


def read_spec(out: Path) -> Spec:
    """The spec in a run's folder; UsageError where there is none."""
    return _parse(Spec, out / "spec.json", "spec")


def _parse(schema: type[Strict], path: Path, key: str) -> Strict:
    values = read_json(path)
    try:
        return schema.model_validate(values[key])
    except (KeyError, TypeError, ValidationError):
        raise RunError(f"{path} was written by another version of robo_orl and cannot be continued.") from None


def first_difference(ours: object, theirs: object, at: str = "") -> str | None:
    """The dotted name of the first value that differs, None where all are equal."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*ours, *(k for k in theirs if k not in ours)]:
            found = first_difference(ours.get(key), theirs.get(key), f"{at}.{key}" if at else key)
            if found:
                return found
        return None
    return None if ours == theirs else at
