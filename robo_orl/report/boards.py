"""Leaderboards of records: one board per (task, regime, size), one row per policy with its training seeds pooled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median

from robo_orl.report.contents import Cells, control_rank, has_critic, is_floor, is_oracle, is_plain_bc, topology
from robo_orl.report.costs import RelativeCost, is_measured, relative_cost
from robo_orl.report.published import PublishedNumber, published_for
from robo_orl.report.scores import (
    Curve,
    DeadlineRate,
    Length,
    Mean,
    StageRow,
    SuccessRate,
    bootstrapped,
    curve,
    stages,
    success,
    within,
)
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.intervals import median_interval
from robo_orl.results.record import PlannedCell, Record

BoardKey = tuple[str, str, str, str]  # task name, task digest, regime, size


@dataclass(frozen=True, kw_only=True)
class PolicyRow(RelativeCost):
    """One policy of a board, and the cost of its training relative to the board's control.

    oracle: it knows what no policy can know, and is a ceiling: no verdict compares with it. floor: its actions are
    uniform, whatever was trained. beyond: its trainings that the suite as it is now does not ask for. marks: in words,
    what sets it apart from the other rows of its board.
    """

    policy: str
    reference: str | None
    critic: bool
    oracle: bool
    floor: bool
    topology: str | None
    objective: str
    seeds: int
    beyond: int
    success: SuccessRate
    at_end: SuccessRate
    within: list[DeadlineRate]
    stages: list[StageRow]
    length: Length
    discounted_return: Mean
    parameters: dict[str, int]
    restarts: int
    trials: int | None
    marks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class BoardData:
    """The data set of a board; success: {"k", "n"} of its episodes. official: the path of the official file that it is,
    empty for a recording of scripted operators."""

    episodes: int
    frames: int
    success: dict[str, int]
    official: str


@dataclass(frozen=True)
class AbsentCell:
    """A cell of a board without a record."""

    policy: str
    seed: int
    state: str
    reason: str


@dataclass(frozen=True)
class Deadline:
    """An endpoint of the suite that allows `decisions` on the board's task."""

    endpoint: str
    decisions: int


@dataclass(frozen=True)
class Board:
    """One leaderboard; rows are sorted by the suite's first endpoint, then by success, then by return.

    pareto: names of policies. uninformative: the reason for which success cannot answer here, empty where it can.
    """

    task: str
    task_digest: str
    regime: str
    size: str
    control: str | None
    horizon: int
    control_hz: int
    padding: float
    stages: list[str]
    gamma: float
    data: BoardData
    tuning: str
    deadlines: list[Deadline]
    rows: list[PolicyRow]
    curve: Curve
    index: int
    pareto: list[str]
    absent: list[AbsentCell]
    published: list[PublishedNumber]
    uninformative: str = ""


def group(cells: Cells) -> dict[BoardKey, dict[str, list[Record]]]:
    """The records of every board by policy name. Two digests of one task are two tasks, whatever they are called.

    References, which have no size of ours, stand on every board of their task and regime.
    """
    boards: dict[BoardKey, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    ordered = sorted(cells.records, key=lambda r: (r.task.horizon, r.task.name, r.regime, _backbone(r), r.size, r.seed))
    for record in sorted(ordered, key=lambda r: r.kind == "reference"):  # after those that make the boards
        place = (record.task.name, record.task.digest, record.regime)
        beside = [key for key in boards if key[:3] == place] if record.kind == "reference" else []
        for key in beside or [(*place, record.size)]:
            boards[key][record.policy.name].append(record)
    return {key: dict(policies) for key, policies in boards.items()}


def _backbone(record: Record) -> int:
    return record.train.parameters.get("backbone", 0)


def control_of(policies: dict[str, list[Record]]) -> str | None:
    """The name of the board's control: behaviour cloning on all the data, deterministic if there is one."""
    plain = [(control_rank(records[0].policy.config, name), name) for name, records in policies.items()
             if is_plain_bc(records[0].policy.config)]  # fmt: skip
    return min(plain)[1] if plain else None


def board(cells: Cells, index: int, key: BoardKey, policies: dict[str, list[Record]]) -> Board:
    """The leaderboard of the records that `group` has put under one key; index: its place in the report."""
    task, digest, regime, size = key
    first = min((records[0] for records in policies.values()), key=lambda record: record.data.filter is not None)
    control = control_of(policies)
    controls = policies.get(control or "", [])
    rows = []
    for name, records in policies.items():
        trained_as = _trained_as(cells, policies, name, control, size)
        cost = relative_cost(cells.costs, (trained_as, control, size), policies[trained_as], controls)
        rows.append(_row(cells, name, records, cost))
    rows = [replace(row, marks=marks(row, usual_n(rows))) for row in rows]
    rows.sort(
        key=lambda row: (-value(row, cells.endpoints[0]), -row.success.rate, -row.discounted_return.mean, row.policy)
    )
    horizon = first.task.horizon
    return Board(
        task=task,
        task_digest=digest,
        regime=regime,
        size=size,
        control=control,
        horizon=horizon,
        control_hz=first.task.control_hz,
        padding=first.task.padding,
        stages=first.task.stages,
        gamma=first.evaluation.gamma,
        data=board_data(first),
        published=published_for(first.task, regime),
        tuning=tuning(policies),
        deadlines=[Deadline(e.name, e.decisions(horizon)) for e in cells.endpoints if e.kind == "deadline"],
        rows=rows,
        curve=curve(cells, policies, [row.policy for row in rows], drawn(rows, control), horizon),
        index=index,
        pareto=pareto_front(rows),
        absent=[_absent(cell) for cell in cells.absent
                if (cell.task, cell.regime) == (task, regime) and cell.size in (size, "reference")],
    )  # fmt: skip


def board_data(record: Record) -> BoardData:
    """The data set that a record's policy learned from."""
    data = record.data
    return BoardData(data.episodes, data.frames, data.success.model_dump(), data.official.path if data.official else "")


def _absent(cell: PlannedCell) -> AbsentCell:
    return AbsentCell(cell.policy, cell.seed, cell.state, cell.reason)


def tuning(policies: dict[str, list[Record]]) -> str:
    """The searches that the board's settings are from, in words; empty where there was none."""
    searches = {
        record.tuning.model_copy(update={"trials": 0}) for rs in policies.values() for record in rs if record.tuning
    }
    return "; ".join(sorted(f"each trial {s.episodes} episodes of {s.task} {s.regime}" for s in searches))


def _trained_as(cells: Cells, policies: dict[str, list[Record]], name: str, control: str | None, size: str) -> str:
    """The policy whose training was measured, among those that share the trainings of `name`; else `name` itself.

    Policies that differ in decoding alone have one training, and so one cost of it.
    """
    runs = {record.train.run for record in policies[name]}
    sharing = [other for other, records in policies.items() if runs <= {record.train.run for record in records}]
    return next((other for other in [name, *sharing] if is_measured(cells.costs, other, control, size)), name)


def _row(cells: Cells, name: str, records: list[Record], cost: RelativeCost) -> PolicyRow:
    """One policy of a board, and the cost of its training."""
    config, episodes = records[0].policy.config, [cells.rows[record.cell] for record in records]
    pooled = [episode for rows in episodes for episode in rows]
    lengths = [episode.length for episode in pooled if episode.success_once]
    low, high = median_interval(lengths)
    effects = cells.effects
    return PolicyRow(
        policy=name,
        reference=config.get("library"),
        critic=has_critic(config),
        oracle=is_oracle(config),
        floor=is_floor(config),
        topology=topology(config),
        objective=config.get("algorithm") or (config.get("objective") or {}).get("name", "bc"),
        seeds=len(records),
        beyond=sum(record.cell in cells.beyond for record in records),
        success=success([[e.success_once for e in rows] for rows in episodes], effects.get("success")),
        at_end=success([[e.success_at_end for e in rows] for rows in episodes], effects.get("success")),
        within=[within(endpoint, episodes, records[0].task.horizon, effects[endpoint.name])
                for endpoint in cells.endpoints if endpoint.kind == "deadline"],
        stages=stages(pooled, records[0].task.stages),
        length=Length(float(median(lengths)) if lengths else None, low, high, len(lengths)),
        discounted_return=bootstrapped(
            [[row.discounted_return for row in rows] for rows in episodes], effects.get("return")
        ),
        parameters=_parameters(records[0]),
        restarts=sum(episode.restarts for episode in pooled),
        trials=records[0].tuning.trials if records[0].tuning else None,
        **asdict(cost),
    )  # fmt: skip


def _parameters(record: Record) -> dict[str, int]:
    """By component; of a reference, whose components are other ones, in total."""
    counted = record.train.parameters
    return {"total": counted["total"]} if record.kind == "reference" else counted


def _per_training(row: PolicyRow) -> float:
    """Episodes of a training; a mean where its trainings have different numbers."""
    return row.success.n / row.seeds


def usual_n(rows: Sequence[PolicyRow]) -> float:
    """The most common number of episodes of a training among a board's rows; of equally common ones the largest."""
    counts = [_per_training(row) for row in rows]
    return max(set(counts), key=lambda n: (counts.count(n), n))


def marks(row: PolicyRow, usual: float) -> list[str]:
    """What sets a row apart: another number of episodes a training than most have, trainings that the suite does not
    ask for. Rows with more trainings than others are not marked: their number stands beside them."""
    made = []
    if _per_training(row) != usual:
        made.append(f"{_per_training(row):.0f} episodes a training, most rows {usual:.0f}")
    if row.beyond:
        part = "" if row.beyond == row.seeds else f"{row.beyond} of {row.seeds} trainings "
        made.append(f"{part}beyond the suite")
    return made


def value(row: PolicyRow, endpoint: Endpoint) -> float:
    """The mean of an endpoint over the episodes of a row."""
    if endpoint.kind == "return":
        return row.discounted_return.mean
    if endpoint.kind == "deadline":
        return next(rate.rate for rate in row.within if rate.endpoint == endpoint.name)
    if endpoint.kind == "stages":
        return sum(stage.k for stage in row.stages) / (len(row.stages) * row.success.n)
    return row.success.rate


def drawn(rows: Sequence[PolicyRow], control: str | None) -> set[str]:
    """The policies of a curve with a band: the control, and the highest return with a critic and without one."""
    ours = [row for row in rows if not row.reference and not row.oracle]
    ours.sort(key=lambda row: -row.discounted_return.mean)
    best = {next((row.policy for row in ours if row.critic is critic), None) for critic in (True, False)}
    return {policy for policy in (control, *best) if policy}


def pareto_front(rows: Sequence[PolicyRow]) -> list[str]:
    """The policies that no other policy of the board beats in both training time and success."""
    real = [row for row in rows if row.time_relative and not row.oracle]
    places = {row.policy: (row.time_relative, -row.success.rate) for row in real}
    return [
        policy
        for policy, (time, failure) in places.items()
        if not any(other[0] <= time and other[1] <= failure and other != (time, failure) for other in places.values())
    ]
