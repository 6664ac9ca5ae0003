"""The cost measurements of a folder: ratios, parts that add up, and each cost cell against its name and the suite.

The ratio of step times is a median within a round, and under a launcher the base is measured twice: these ratios cannot
be computed from what is stored, and are claimed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from robo_orl.config import SuiteConfig
from robo_orl.config.presets import stored_name
from robo_orl.results.cost_record import CalibrationRecord, CostRecord, CostRow, LargestModelRow, MemoryBytes
from robo_orl.results.record import Manifest
from robo_orl.results.verification.tasks import task_faults

KEY = re.compile(r"[0-9a-f]{10}")
EXACT, ANEW = 1e-6, 0.01  # in a pair the base is measured anew beside each policy, and only its first time is stored
Turn = tuple  # what measurements must share so that they can be compared


def cost_faults(
    records: Sequence[CostRecord], manifest: Manifest | None, suite: SuiteConfig | None
) -> dict[str, list[str]]:
    """Key of a cost record -> its contradictions."""
    bases = {_turn(record, row): row for record in records for row in record.rows if row.policy == record.base}
    seen: dict[tuple, str] = {}
    faults = {}
    for record in records:
        issues = [*_record_faults(record), *_suite_faults(record, manifest, suite)]
        for row in record.rows:
            base = bases.get(_turn(record, row))
            issues += [f"{row.policy}: {fault}" for fault in (*_row_faults(row), *_ratio_faults(record, row, base))]
            if row.step_s_quartiles:
                measured = (row.step_s, *row.step_s_quartiles)
                if (other := seen.setdefault(measured, record.key)) != record.key:
                    issues.append(f"{row.policy}: its step times are those of {other}, to the last digit.")
        for model in record.largest:
            issues += [f"{model.policy} on {model.card}: {fault}" for fault in _largest_faults(model)]
        faults[f"cost {record.key}"] = issues
    return faults


def _turn(record: CostRecord, row: CostRow) -> Turn:
    where = (record.task.digest, row.size, record.launched, record.zero, record.world)
    return (*where, record.batch_size, record.precision)


def _record_faults(record: CostRecord) -> Iterator[str]:
    yield from task_faults(record.task)
    *words, key = record.key.split("-")
    text = "-".join(words) + "-"
    if not KEY.fullmatch(key) or not text.startswith(f"{record.task.name}-"):
        yield "key is not the task's name with an address."
    policies = [(row.policy, row.size) for row in record.rows]
    if len(set(policies)) != len(policies):
        yield "a policy is measured more than once."
    for size in {row.size for row in record.rows}:
        if f"-{size}-" not in text:
            yield f"key names another size than that of its rows, {size}."
    engine = "ddp" if record.launched and not record.zero else f"zero{record.zero}"
    if len(record.rows) == 1 and not text.endswith(f"-{engine}-{record.rows[0].policy}-"):
        yield f"key is not that of {record.rows[0].policy} with the engine {engine}."
    if len(record.rows) > 1 and record.rows[0].policy != record.base:
        yield f"base is {record.base}, the first row is {record.rows[0].policy}."
    for policy in {model.policy for model in record.largest}:
        if not text.endswith(f"-largest-{policy}-"):
            yield f"key is not that of the largest model of {policy}."
    if record.zero and not record.launched:
        yield f"zero is {record.zero}, launched is false."
    if not record.launched and record.world != 1:
        yield f"world is {record.world}, launched is false."
    if record.versions.get("robo_orl", record.code.version) != record.code.version:
        yield f"versions says robo_orl {record.versions['robo_orl']}, code.version {record.code.version}."
    if record.calibration is not None:
        yield from _calibration_faults(record.calibration)


def _suite_faults(record: CostRecord, manifest: Manifest | None, suite: SuiteConfig | None) -> Iterator[str]:
    """A cost record that the suite has now; one of other settings is superseded, and stands in no page."""
    if manifest is None or suite is None or manifest.costs is None or record.key not in manifest.costs:
        return
    cost = suite.cost
    if cost is None:
        yield "the suite asks for no costs."
        return
    if record.suite.name == manifest.suite.name and record.suite.version != manifest.suite.version:
        yield f"the record is of version {record.suite.version} of the suite."
    if record.task.name != stored_name(cost.task):
        yield f"task is {record.task.name}, the suite asks for {stored_name(cost.task)}."
    known = {choice.row for choice in cost.policies}
    strange = sorted({row.policy for row in record.rows} | {record.base} - known)
    if len({choice.row for choice in cost.policies} & set(strange)) < len(strange):
        yield f"{next(name for name in strange if name not in known)} is no policy of the suite's cost."
    for row in record.rows:
        if cost.sizes and row.size not in cost.sizes:
            yield f"{row.policy}: size {row.size} is none of the suite's."
        if row.steps is not None and row.steps != cost.steps:
            yield f"{row.policy}: {row.steps} timed steps, the suite asks for {cost.steps}."
    if record.rows and record.zero not in cost.zero:
        yield f"zero is {record.zero}, none of the suite's ({', '.join(map(str, cost.zero))})."
    if [model.card for model in record.largest] not in ([], list(cost.cards)):
        yield "largest is not of the suite's cards."


def _row_faults(row: CostRow) -> Iterator[str]:
    if row.oom is not None and not all(value is None for value in (row.step_s, row.peak_memory_bytes, row.act_s)):
        yield "it ran out of memory, and a step is stated."
    if row.oom is None and row.step_s is None:
        yield "no step was measured, and no reason is stated."
    yield from _quartile_faults("step_s", row.step_s, row.step_s_quartiles)
    yield from _quartile_faults("step_relative", row.step_relative, row.step_relative_quartiles)
    yield from _quartile_faults("act_s", row.act_s, row.act_s_quartiles)
    yield from _quartile_faults("act_relative", row.act_relative, row.act_relative_quartiles)
    if row.phases_s is not None and row.step_s is not None:
        total = sum(row.phases_s.values())
        if min(row.phases_s.values(), default=0) < 0 or not 0.5 < total / row.step_s < 1.5:
            yield f"its phases take {total:.4g} s, its step takes {row.step_s:.4g} s."
    if row.memory_parts is not None and sum(row.memory_parts.values()) != row.peak_memory_bytes:
        yield f"memory_parts sum to {sum(row.memory_parts.values())}, peak_memory_bytes is {row.peak_memory_bytes}."
    if row.peak_memory_bytes is not None and row.peak_memory_bytes <= 0:
        yield f"peak_memory_bytes is {row.peak_memory_bytes}."
    yield from _parameter_faults(row)
    if row.predicted is not None:
        yield from _predicted_faults(row.predicted)


def _quartile_faults(name: str, value: float | None, quartiles: list[float] | None) -> Iterator[str]:
    if quartiles is None:
        return
    if len(quartiles) != 2 or value is None or not quartiles[0] <= value <= quartiles[1]:
        yield f"{name} {value} is not between its quartiles {quartiles}."


def _parameter_faults(row: CostRow) -> Iterator[str]:
    if row.parameters is None:
        return
    total, parts = row.parameters.get("total"), {k: v for k, v in row.parameters.items() if k != "total"}
    if total is not None and total != sum(parts.values()):
        yield f"the components sum to {sum(parts.values())} parameters, total says {total}."
    if row.parameters_total is not None and row.parameters_total != (total or sum(parts.values())):
        yield f"parameters_total is {row.parameters_total}, the components sum to {total}."
    if min(row.parameters.values(), default=0) < 0:
        yield "a component has a negative number of parameters."
    if row.topology is not None and not row.parameters.get("critic"):
        yield f"it has the topology {row.topology} and no parameters of a critic."


def _predicted_faults(memory: MemoryBytes) -> Iterator[str]:
    if sum(memory.parts.values()) != memory.peak_bytes:
        yield f"predicted.parts sum to {sum(memory.parts.values())}, predicted.peak_bytes is {memory.peak_bytes}."
    if memory.phase_bytes.get(memory.peak_phase) != memory.peak_bytes:
        yield f"predicted.peak_bytes is not that of its phase {memory.peak_phase}."
    if memory.phase_bytes and max(memory.phase_bytes.values()) != memory.peak_bytes:
        yield "predicted.peak_bytes is not the largest of its phases."
    if memory.held_bytes > memory.peak_bytes:
        yield "predicted.held_bytes exceeds predicted.peak_bytes."


def _ratio_faults(record: CostRecord, row: CostRow, base: CostRow | None) -> Iterator[str]:
    """The ratios against the values of the base, which may stand in a record of its own."""
    if row.policy == record.base and not record.launched:
        stated = {"step_relative": row.step_relative, "memory_relative": row.memory_relative}
        for name, ratio in (stated | {"flops_relative": row.flops_relative}).items():
            if ratio not in (None, 1.0):
                yield f"{name} of the base is {ratio}, not 1."
    if base is None:
        return
    if not record.launched and row.memory_relative is not None and base.peak_memory_bytes:
        measured_here = any(own is base for own in record.rows)
        tolerance = EXACT if measured_here else ANEW
        yield from _ratio("memory", row.memory_relative, row.peak_memory_bytes, base.peak_memory_bytes, tolerance)
    if row.flops_relative is not None and base.flops_per_sample:
        yield from _ratio("flops", row.flops_relative, row.flops_per_sample, base.flops_per_sample)
    if row.parameters and base.parameters and row.parameters.get("backbone") != base.parameters.get("backbone"):
        yield "its backbone has another number of parameters than that of the base."


def _ratio(name: str, stated: float, value: float | None, base: float, tolerance: float = EXACT) -> Iterator[str]:
    if value is None or not math.isclose(stated, value / base, rel_tol=tolerance):
        given = "none" if value is None else f"{value / base:.6g}"
        yield f"{name}_relative is {stated:.6g}, the stored values give {given}."


def _largest_faults(model: LargestModelRow) -> Iterator[str]:
    if model.depth is None:
        return
    if model.peak_bytes is None or model.peak_bytes > model.usable_bytes:
        yield f"its peak of {model.peak_bytes} bytes does not fit {model.usable_bytes} bytes."
    if (model.backbone_parameters or 0) > (model.parameters or 0):
        yield "its backbone has more parameters than all of it."


def _calibration_faults(calibration: CalibrationRecord) -> Iterator[str]:
    for row in calibration.rows:
        error = abs(row.predicted + calibration.extra_bytes - row.measured) / row.measured if row.measured else math.inf
        if not math.isclose(abs(row.error), error, rel_tol=1e-6, abs_tol=1e-9):
            yield f"calibration of {row.policy} {row.size}: error is {row.error:.6g}, its values give {error:.6g}."
