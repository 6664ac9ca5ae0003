"""The columns of results as tables: `records`, `episodes`, `cost` and `points`, one row a record, an episode, a cost
measurement, or a point of a learning curve.

COLUMNS is the only definition of what the tables hold: the query language (query.py), the Python interface and the
documentation read it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from robo_orl.results.cost_record import CostRecord, CostRow
from robo_orl.results.record import CurvePoint, EpisodeRow, Record

Kind = Literal["text", "integer", "number", "boolean"]
Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. value: of the source of a row; None is an empty field."""

    name: str
    kind: Kind
    description: str
    value: Callable[[Any], Value]


# ------------------------------------------------------------------------------------------------------------- sources


@dataclass(frozen=True, slots=True)
class InFolder:
    """A record of a folder."""

    folder: str
    record: Record


@dataclass(frozen=True, slots=True)
class EpisodeOf:
    """An episode of a record of a folder."""

    folder: str
    record: Record
    row: EpisodeRow


@dataclass(frozen=True, slots=True)
class CostOf:
    """A row of a cost record of a folder."""

    folder: str
    record: CostRecord
    row: CostRow


@dataclass(frozen=True, slots=True)
class PointOf:
    """A point of the learning curve of a record of a folder."""

    folder: str
    record: Record
    point: CurvePoint


def _objective(source: InFolder) -> str:
    config = source.record.policy.config
    return config.get("algorithm") or (config.get("objective") or {}).get("name", "bc")


def _topology(source: InFolder) -> str | None:
    return (source.record.policy.config.get("critic") or {}).get("topology")


def _of_values(name: str) -> Callable[[InFolder], Value]:
    """A field of the critic's value errors, empty without them."""
    return lambda source: getattr(source.record.value_errors, name, None)


RECORDS = (
    Column("folder", "text", "the results folder", lambda s: s.folder),
    Column("cell", "text", "content address of the cell", lambda s: s.record.cell),
    Column("suite", "text", "the suite", lambda s: s.record.suite.name),
    Column("suite_version", "integer", "its version", lambda s: s.record.suite.version),
    Column("kind", "text", "policy, or reference for robomimic's algorithms", lambda s: s.record.kind),
    Column("task", "text", "the task that was judged", lambda s: s.record.task.name),
    Column("regime", "text", "how good the demonstrators are", lambda s: s.record.regime),
    Column("policy", "text", "the row's name", lambda s: s.record.policy.name),
    Column("objective", "text", "the losses, or the reference's algorithm", _objective),
    Column("topology", "text", "how the critic is attached; empty without one", _topology),
    Column("size", "text", "size of the backbone", lambda s: s.record.size),
    Column("seed", "integer", "training seed", lambda s: s.record.seed),
    Column("horizon", "integer", "decisions until the time-out", lambda s: s.record.task.horizon),
    Column("control_hz", "integer", "decisions per second", lambda s: s.record.task.control_hz),
    Column("n", "integer", "episodes of the evaluation", lambda s: s.record.evaluation.success_once.n),
    Column("k", "integer", "of them solved within the limit", lambda s: s.record.evaluation.success_once.k),
    Column("low", "number", "lower end of the 95 % interval of k/n", lambda s: s.record.evaluation.success_once.low),
    Column("high", "number", "upper end of it", lambda s: s.record.evaluation.success_once.high),
    Column("discounted_return", "number", "mean over the episodes", lambda s: s.record.evaluation.discounted_return),
    Column("stages_reached", "number", "mean share of the stages", lambda s: s.record.evaluation.stages_reached),
    Column(
        "success_length", "number", "median decisions of a success", lambda s: s.record.evaluation.success_length_median
    ),
    Column("loop", "text", "the physics loop", lambda s: s.record.evaluation.loop),
    Column("starts_sha256", "text", "hash of the start states", lambda s: s.record.evaluation.starts_sha256),
    Column("value_error", "number", "mean |value - return| of the critic", _of_values("mean_absolute")),
    Column("value_bias", "number", "mean of value - return", _of_values("bias")),
    Column("value_correlation", "number", "Spearman's, of value and return", _of_values("correlation")),
    Column("data_episodes", "integer", "demonstrations", lambda s: s.record.data.episodes),
    Column("data_successes", "integer", "of them successful", lambda s: s.record.data.success.k),
    Column("steps", "integer", "training steps", lambda s: s.record.train.steps),
    Column("batch_size", "integer", "observations a step", lambda s: s.record.train.batch_size),
    Column("train_s", "number", "seconds of the training (claimed)", lambda s: s.record.train.wall_s),
    Column("step_s", "number", "median seconds of a step (claimed)", lambda s: s.record.train.step_s_median),
    Column("memory_bytes", "integer", "peak of the training (claimed)", lambda s: s.record.train.peak_memory_bytes),
    Column("parameters", "integer", "numbers held, slow copies included", lambda s: s.record.train.parameters["total"]),
    Column("trials", "integer", "trials of its tuning", lambda s: s.record.tuning.trials if s.record.tuning else None),
    Column("run", "text", "address of the training, which cells may share", lambda s: s.record.train.run),
    Column("created", "text", "UTC, ISO 8601 (claimed)", lambda s: s.record.created),
    Column("config", "text", "the resolved policy as JSON", lambda s: json.dumps(s.record.policy.config)),
)

# What rows below a cell begin with.
OF_A_CELL = (
    Column("folder", "text", "the results folder", lambda s: s.folder),
    Column("cell", "text", "content address of the cell: joins with records", lambda s: s.record.cell),
    Column("task", "text", "the task", lambda s: s.record.task.name),
    Column("regime", "text", "how good the demonstrators are", lambda s: s.record.regime),
    Column("policy", "text", "the row's name", lambda s: s.record.policy.name),
    Column("size", "text", "size of the backbone", lambda s: s.record.size),
    Column("training_seed", "integer", "training seed", lambda s: s.record.seed),
)

EPISODES = (
    *OF_A_CELL,
    Column("episode", "integer", "place in the evaluation, from 0", lambda s: s.row.episode),
    Column("start", "integer", "index of the start state in its bank", lambda s: s.row.start),
    Column("success", "boolean", "solved within the limit", lambda s: s.row.success_once),
    Column("length", "integer", "decisions until success or time-out", lambda s: s.row.length),
    Column("horizon", "integer", "decisions until the time-out", lambda s: s.row.horizon or s.record.task.horizon),
    Column("discounted_return", "number", "sum of gamma^t r_t", lambda s: s.row.discounted_return),
    Column("stages_reached", "integer", "stages reached", lambda s: sum(s.row.stages)),
    Column("stages", "integer", "stages of the task", lambda s: len(s.row.stages)),
    Column("stage_steps", "text", "decisions until each stage, as a JSON list", lambda s: _json(s.row.stage_steps)),
    Column("wall_s", "number", "seconds (claimed)", lambda s: s.row.wall_s),
    Column("fingerprint", "text", "equal ones are the same episode", lambda s: s.row.fingerprint or None),
)

COSTS = (
    Column("folder", "text", "the results folder", lambda s: s.folder),
    Column("key", "text", "name of the cost cell", lambda s: s.record.key),
    Column("suite", "text", "the suite", lambda s: s.record.suite.name),
    Column("task", "text", "its observations give the shapes", lambda s: s.record.task.name),
    Column("policy", "text", "the policy that was measured", lambda s: s.row.policy),
    Column("topology", "text", "how its critic is attached", lambda s: s.row.topology),
    Column("size", "text", "size of the backbone", lambda s: s.row.size),
    Column("base", "text", "the policy that ratios are relative to", lambda s: s.record.base),
    Column("batch_size", "integer", "observations a step", lambda s: s.record.batch_size),
    Column("precision", "text", "fp32 or bf16", lambda s: s.record.precision),
    Column("world", "integer", "processes", lambda s: s.record.world),
    Column("zero", "integer", "ZeRO stage", lambda s: s.record.zero),
    Column("step_s", "number", "median seconds of a step (claimed)", lambda s: s.row.step_s),
    Column("step_relative", "number", "to the base, in turns (claimed)", lambda s: s.row.step_relative),
    Column("memory_bytes", "integer", "peak of the step (claimed)", lambda s: s.row.peak_memory_bytes),
    Column("memory_relative", "number", "to the base", lambda s: s.row.memory_relative),
    Column("flops_per_sample", "number", "forward, backward and update", lambda s: s.row.flops_per_sample),
    Column("flops_relative", "number", "to the base", lambda s: s.row.flops_relative),
    Column("parameters", "integer", "numbers held", lambda s: s.row.parameters_total),
    Column("out_of_memory", "text", "the allocator's message where it did not fit", lambda s: s.row.oom),
    Column(
        "accelerator", "text", "the device; empty on a CPU", lambda s: getattr(s.record.hardware, "accelerator", None)
    ),
    Column("created", "text", "UTC, ISO 8601 (claimed)", lambda s: s.record.created),
)

POINTS = (
    *OF_A_CELL,
    Column("step", "integer", "training steps until the point", lambda s: s.point.step),
    Column("train_s", "number", "seconds of training until then (claimed)", lambda s: s.point.wall_s),
    Column("n", "integer", "episodes, from start states for tuning", lambda s: getattr(s.point.success, "n", None)),
    Column("k", "integer", "of them solved", lambda s: getattr(s.point.success, "k", None)),
    Column("low", "number", "lower end of the interval of k/n", lambda s: getattr(s.point.success, "low", None)),
    Column("high", "number", "upper end of it", lambda s: getattr(s.point.success, "high", None)),
    Column("discounted_return", "number", "mean over the episodes", lambda s: s.point.discounted_return),
    Column("loss", "number", "sum of the losses on held-out data", lambda s: (s.point.losses or {}).get("loss")),
    Column("losses", "text", "each term on held-out data, as JSON", lambda s: _json(s.point.losses)),
    Column(
        "value_error", "number", "mean |value - return|", lambda s: getattr(s.point.value_errors, "mean_absolute", None)
    ),
)

COLUMNS = {"records": RECORDS, "episodes": EPISODES, "cost": COSTS, "points": POINTS}


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)
