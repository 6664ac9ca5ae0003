"""The cells of a folder against each other and against the suite: copies, strangers, and cells that were struck."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from robo_orl.config import PolicyConfig, SuiteConfig
from robo_orl.config.presets import stored_name
from robo_orl.config.regimes import regime_parts
from robo_orl.results.addresses import Policy
from robo_orl.results.record import DataRef, EpisodeRow, Manifest, PlannedCell, Record

Names = tuple[str, str, str, str, int]  # task, regime, policy, size, seed
# Two kinds of processor round a simulation otherwise, and an episode in thousands ends elsewhere: one of 26,698 frames
# between an AMD EPYC and an Intel Xeon. Data of one request may differ by so much, as a share of frames or episodes.
ROUNDING = 0.01


@dataclass(frozen=True, slots=True)
class ReadCell:
    """A cell that could be read: its name in messages, its record, policy and rows."""

    name: str
    record: Record
    policy: Policy
    rows: list[EpisodeRow]


def suite_of(manifest: Manifest) -> SuiteConfig | None:
    """The suite of a manifest, None where its configuration is none."""
    try:
        return SuiteConfig.model_validate(_without_empty_names(manifest.config))
    except ValidationError:
        return None


def _without_empty_names(value: Any) -> Any:
    """A stored configuration without the names that a row does not have: stored as "", which nobody may write."""
    if isinstance(value, dict):
        empty = "use" in value and value.get("name") == ""
        return {key: _without_empty_names(inner) for key, inner in value.items() if not (empty and key == "name")}
    return [_without_empty_names(inner) for inner in value] if isinstance(value, list) else value


def manifest_faults(
    manifest: Manifest, suite: SuiteConfig | None, cells: Sequence[ReadCell], keys: set[str]
) -> list[str]:
    """The suite's list of cells against its configuration and the records. keys: of all cells that are stored."""
    if suite is None:
        return ["config is no suite: it is damaged, or was written by another version; run `robo-orl bench` once more."]
    issues = []
    if (suite.name, suite.version) != (manifest.suite.name, manifest.suite.version):
        issues.append(
            f"config is of {suite.name} version {suite.version}, the suite is called {manifest.suite.name} version "
            f"{manifest.suite.version}."
        )
    if repeated := [key for key, count in Counter(cell.cell for cell in manifest.cells).items() if count > 1]:
        issues.append(f"cell {repeated[0][:10]} is listed more than once.")
    issues += _struck_faults(suite, manifest.cells)
    lost = sum(cell.state == "done" and cell.cell not in keys for cell in manifest.cells)
    if lost:
        issues.append(
            f"the suite has {lost} cell(s) done that have no record here: the records are cut; run `robo-orl bench`, "
            "which computes them."
        )
    return issues + _planned_faults(manifest, cells)


def _planned_faults(manifest: Manifest, cells: Sequence[ReadCell]) -> list[str]:
    planned = {cell.cell: cell for cell in manifest.cells}
    issues = []
    for cell in cells:
        plan = planned.get(cell.record.cell)
        if plan is None:
            continue
        if _planned_names(plan) != names(cell.record):
            issues.append(
                f"cell {plan.cell[:10]} is {_shown(_planned_names(plan))}, its record is {_shown(names(cell.record))}."
            )
        suite = cell.record.suite
        if suite.name == manifest.suite.name and suite.version != manifest.suite.version:
            issues.append(f"the record of cell {plan.cell[:10]} is of version {suite.version} of the suite.")
        if (manifest.config.get("tuned") is None) != (cell.record.tuning is None):
            issues.append(f"cell {plan.cell[:10]}: the suite's search of settings and the record's tuning disagree.")
    return issues


def _struck_faults(suite: SuiteConfig, cells: Sequence[PlannedCell]) -> list[str]:
    """The names of the listed cells against the product that the configuration asks for.

    A policy that is given by a file may have another name in it: as many others in its place are no fault.
    """
    listed: dict[tuple, set[tuple]] = defaultdict(set)
    for cell in cells:
        listed[cell.task, cell.regime, cell.seed].add((cell.policy, cell.size))
    expected = _expected(suite)
    issues = []
    for where in [*expected, *(where for where in listed if where not in expected)]:
        absent = [row for row in sorted(expected.get(where, ())) if not _any_fits(row, listed.get(where, ()))]
        strange = [row for row in sorted(listed.get(where, ())) if not _any_fits(row, expected.get(where, ()))]
        if len(absent) > len(strange):
            issues.append(f"config asks for {_place(where, absent[0])}, no cell of the list is that one.")
        elif len(strange) > len(absent):
            issues.append(f"the list has {_place(where, strange[0])}, which config does not ask for.")
    return issues


def _expected(suite: SuiteConfig) -> dict[tuple, set[tuple]]:
    """(task, regime, seed) -> (policy, size) of each; the size is empty where each policy has its own."""
    expected: dict[tuple, set[tuple]] = defaultdict(set)
    for group in suite.groups:
        rows = group.rows()
        references = {(choice.name or f"robomimic_{choice.use}", "reference") for choice in group.references}
        for task, regime, seed in product(map(stored_name, group.tasks), group.data_names(), group.seeds):
            expected[task, regime, seed] |= set(product(rows, group.sizes or [""])) | references
    return expected


def _any_fits(row: tuple, others: Iterable[tuple]) -> bool:
    """True where one of the others is the same policy at the same size, or at a size that is left open."""
    policy, size = row
    return any(other == policy and (not size or not its or its == size) for other, its in others)


def names(record: Record) -> Names:
    """The names by which a record is shown."""
    return record.task.name, record.regime, record.policy.name, record.size, record.seed


def _planned_names(cell: PlannedCell) -> Names:
    return cell.task, cell.regime, cell.policy, cell.size, cell.seed


def _shown(names: Names) -> str:
    return f"{' '.join(map(str, names[:-1]))} seed {names[-1]}"


def _place(where: tuple, row: tuple) -> str:
    task, regime, seed = where
    return f"{' '.join(filter(None, (task, regime, *row)))} seed {seed}"


# ------------------------------------------------------------------------------------------------------- between cells


def shared_faults(cells: Sequence[ReadCell]) -> dict[str, list[str]]:
    """Facts that several cells of a folder must share, and episodes that no two of them may: name -> sentences."""
    issues: dict[str, list[str]] = defaultdict(list)
    for name, sentence in (*_differing(cells), *_apart(cells), *_copied(cells)):
        issues[name].append(sentence)
    return issues


def _differing(cells: Sequence[ReadCell]) -> Iterator[tuple[str, str]]:
    """What one training, one data file, one policy or one task decides, stated differently by two cells."""
    first: dict[tuple, tuple[Any, str]] = {}
    for cell in cells:
        record = cell.record
        data, task = record.data, record.task.digest
        source = ("source", data.sha256, data.annotation is None)  # older records hold none
        training = ("train", record.train.run, record.train.wall_s)  # made anew it takes another time
        facts = {
            training: (record.train, "train of the same run"),
            ("run's data", *training, task): (data, "data of the same run"),
            ("file", data.sha256): ((data.episodes, data.frames, data.success), "data of the same sha256"),
            source: ((data.annotation, data.quality), "data.annotation or data.quality of the same data"),
            ("parameters", task, record.policy.digest): (
                record.train.parameters,
                "train.parameters of the same policy",
            ),
            ("bank", task, record.evaluation.starts_sha256 and record.suite.name): (
                record.evaluation.starts_sha256,
                "evaluation.starts_sha256 of the same task and suite",
            ),
        }
        for key, (value, words) in facts.items():
            other, where = first.setdefault(key, (value, cell.name))
            if other != value:
                yield cell.name, f"{words} differs from that of {where}."


def _apart(cells: Iterable[ReadCell]) -> Iterator[tuple[str, str]]:
    """Data of one request that differ by more than what two machines round otherwise."""
    first: dict[tuple, tuple[DataRef, str]] = {}
    for cell in cells:
        record = cell.record
        key = record.task.digest, record.regime, record.data.seed, record.data.episodes
        other, where = first.setdefault(key, (record.data, cell.name))
        frames = abs(record.data.frames - other.frames), ROUNDING * other.frames
        successes = abs(record.data.success.k - other.success.k), ROUNDING * other.episodes
        if any(found > most for found, most in (frames, successes)):
            yield cell.name, f"data.frames or data.success of the same data set differs from that of {where}."


def _copied(cells: Iterable[ReadCell]) -> Iterator[tuple[str, str]]:
    """Rows of one cell under another's name: equal requests, or equal episodes of two learners."""
    by_request: dict[str, ReadCell] = {}
    by_row: dict[tuple, ReadCell] = {}
    for cell in cells:
        request = cell.rows[0].request if cell.rows else ""
        other = by_request.setdefault(request, cell) if request else cell
        if other is not cell and _reads_outcomes(cell, other):
            yield cell.name, f"its rows are of the evaluation of {other.name}: their request is the same."
            continue
        for row in cell.rows:
            if not row.fingerprint:
                continue
            other = by_row.setdefault((cell.record.task.digest, row.fingerprint), cell)
            if other is not cell and _independent(cell, other) and _reads_outcomes(cell, other):
                yield cell.name, f"episode {row.episode} is one of {other.name}: their fingerprints are equal."
                break


def _independent(one: ReadCell, other: ReadCell) -> bool:
    """True where two cells cannot play the same episodes: they learned with another seed, data or settings, and one of
    them acts by what it learned."""
    if _acts_at_random(one.policy) and _acts_at_random(other.policy):
        return False
    return one.record.train.run != other.record.train.run and _learner(one) != _learner(other)


def _acts_at_random(policy: Policy) -> bool:
    return isinstance(policy, PolicyConfig) and policy.selection.acting == "random"


def _reads_outcomes(one: ReadCell, other: ReadCell) -> bool:
    """False where what differs between two cells cannot have mattered: the same weights of the same recording, with
    other outcomes (`mg+permuted`) or rewards (`mg@stages_25`) and no trained critic, or with labels of more episodes
    among which no more were called a success. Cloning is the same on the first two, and everything on the last."""
    ours, theirs = _without_outcomes(one), _without_outcomes(other)
    if ours != theirs or None in ours:
        return True
    return (_has_trained_critic(one.policy) or _has_trained_critic(other.policy)) and not _equally_labelled(one, other)


def _equally_labelled(one: ReadCell, other: ReadCell) -> bool:
    """Whether two cells learned from success bits of so many episodes each, which call as many of them a success."""
    ours, theirs = one.record.data, other.record.data
    if None in (ours.reward, theirs.reward) or ours.reward.source != "success":
        return False
    as_theirs = ours.reward.model_copy(update={"name": theirs.reward.name, "labels": theirs.reward.labels})
    return as_theirs == theirs.reward and ours.success == theirs.success


def _without_outcomes(cell: ReadCell) -> tuple:
    """All that decides the weights of a run but the outcomes in its data, and the weights that came of it."""
    record, (task, _, _, seed, policy) = cell.record, _learner(cell)
    recording = (regime_parts(record.regime)[0], record.data.episodes, record.data.frames)
    return task, seed, policy, *recording, record.evaluation.checkpoint_sha256


def _has_trained_critic(policy: Policy) -> bool:
    """True as well for what is unknown: an algorithm of another library."""
    if not isinstance(policy, PolicyConfig):
        return True
    return policy.critic is not None and not policy.selection.untrained_critic


def _learner(cell: ReadCell) -> tuple:
    """All that decides the weights of a run: what is only logged or how memory is used is left out."""
    record = cell.record
    where = (record.task.digest, record.regime, record.data.sha256, record.seed)
    if not isinstance(cell.policy, PolicyConfig):
        return (*where, str(cell.policy.identity(exclude={"name"})))
    backbone = cell.policy.backbone
    same = {"compile": False, "checkpointing": False, "cache": False, "download": False}
    if backbone.entropy == "log":
        same["entropy"] = "off"
    policy = cell.policy.model_copy(update={"backbone": backbone.model_copy(update=same)})
    return (*where, str(policy.identity(exclude={"name", "selection"})))
