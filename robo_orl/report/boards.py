"""Leaderboards of records: one board per (task, regime, size), one row per policy with its training seeds pooled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from robo_orl.report.contents import Cells, control_rank, has_critic, is_plain_bc, topology
from robo_orl.report.costs import relative_cost
from robo_orl.results.intervals import median_interval, score, two_level_bootstrap
from robo_orl.results.record import EpisodeRow, PlannedCell, Record

BoardKey = tuple[str, str, str, str]  # task name, task digest, regime, size


@dataclass(frozen=True)
class SuccessRate:
    """k of n with its 95 % interval; interval: wilson, or two-level over several training seeds."""

    k: int
    n: int
    rate: float
    low: float
    high: float
    interval: str


@dataclass(frozen=True)
class ConditionalRate:
    """k of the n episodes that reached the stage before, with the Wilson interval."""

    k: int
    n: int
    low: float
    high: float
    rate: float | None


@dataclass(frozen=True)
class StageRow:
    """One stage: k of all n episodes reached it."""

    name: str
    k: int
    n: int
    conditional: ConditionalRate


@dataclass(frozen=True)
class Length:
    """Decisions of the n successes."""

    median: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Mean:
    """A mean over n episodes with its 95 % interval."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class PolicyRow:
    """One policy of a board. Names with `relative` are ratios to the board's control (see costs.RelativeCost)."""

    policy: str
    reference: str | None
    critic: bool
    topology: str | None
    objective: str
    seeds: int
    success: SuccessRate
    at_end: SuccessRate
    stages: list[StageRow]
    length: Length
    discounted_return: Mean
    parameters: dict[str, int]
    restarts: int
    trials: int | None
    cell_time_relative: float | None
    cell_memory_relative: float | None
    steps_relative: float | None
    time_relative: float | None
    memory_relative: float | None
    flops_relative: float | None
    cost_n: int
    cost_source: str | None


@dataclass(frozen=True)
class BoardData:
    """The data set of a board; success: {"k", "n"} of its episodes."""

    episodes: int
    frames: int
    success: dict[str, int]


@dataclass(frozen=True)
class AbsentCell:
    """A cell of a board without a record."""

    policy: str
    seed: int
    state: str
    reason: str


@dataclass(frozen=True)
class Board:
    """One leaderboard; rows are sorted by success, then by discounted return. pareto: names of policies."""

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
    rows: list[PolicyRow]
    index: int
    pareto: list[str]
    absent: list[AbsentCell]


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
    rows = [_row(cells, name, records, controls, control, size) for name, records in policies.items()]
    rows.sort(key=lambda row: (-row.success.rate, -row.discounted_return.mean, row.policy))
    return Board(
        task=task,
        task_digest=digest,
        regime=regime,
        size=size,
        control=control,
        horizon=first.task.horizon,
        control_hz=first.task.control_hz,
        padding=first.task.padding,
        stages=first.task.stages,
        gamma=first.evaluation.gamma,
        data=BoardData(first.data.episodes, first.data.frames, first.data.success.model_dump()),
        tuning=tuning(policies),
        rows=rows,
        index=index,
        pareto=pareto_front(rows),
        absent=[_absent(cell) for cell in cells.absent
                if (cell.task, cell.regime) == (task, regime) and cell.size in (size, "reference")],
    )  # fmt: skip


def _absent(cell: PlannedCell) -> AbsentCell:
    return AbsentCell(cell.policy, cell.seed, cell.state, cell.reason)


def tuning(policies: dict[str, list[Record]]) -> str:
    """The searches that the board's settings are from, in words; empty where there was none."""
    searches = {
        record.tuning.model_copy(update={"trials": 0}) for rs in policies.values() for record in rs if record.tuning
    }
    return "; ".join(sorted(f"each trial {s.episodes} episodes of {s.task} {s.regime}" for s in searches))


def _row(
    cells: Cells, name: str, records: list[Record], controls: list[Record], control: str | None, size: str
) -> PolicyRow:
    """One policy of a board. controls: the records of the policy `control`, empty without one."""
    config, episodes = records[0].policy.config, [cells.rows[record.cell] for record in records]
    pooled = [episode for rows in episodes for episode in rows]
    lengths = [episode.length for episode in pooled if episode.success_once]
    low, high = median_interval(lengths)
    return PolicyRow(
        policy=name,
        reference=config.get("library"),
        critic=has_critic(config),
        topology=topology(config),
        objective=config.get("algorithm") or (config.get("objective") or {}).get("name", "bc"),
        seeds=len(records),
        success=success([[e.success_once for e in rows] for rows in episodes]),
        at_end=success([[e.success_at_end for e in rows] for rows in episodes]),
        stages=stages(pooled, records[0].task.stages),
        length=Length(float(median(lengths)) if lengths else None, low, high, len(lengths)),
        discounted_return=bootstrapped([[row.discounted_return for row in rows] for rows in episodes]),
        parameters=_parameters(records[0]),
        restarts=sum(episode.restarts for episode in pooled),
        trials=records[0].tuning.trials if records[0].tuning else None,
        **asdict(relative_cost(cells.costs, (name, control, size), records, controls)),
    )


def _parameters(record: Record) -> dict[str, int]:
    """By component; of a reference, whose components are other ones, in total."""
    counted = record.train.parameters
    return {"total": counted["total"]} if record.kind == "reference" else counted


def success(seeds: Sequence[Sequence[bool]]) -> SuccessRate:
    """k of n with its 95 % interval.

    One training seed: Wilson. Several: the wider of Wilson on the pooled count and of the two-level bootstrap.
    """
    pooled = score(sum(map(sum, seeds)), sum(map(len, seeds)))
    low, high, interval = pooled.low, pooled.high, "wilson"
    if len(seeds) > 1:
        _, low_seeds, high_seeds = two_level_bootstrap([[float(outcome) for outcome in seed] for seed in seeds], 2_000)
        low, high, interval = min(low, low_seeds), max(high, high_seeds), "two-level"
    return SuccessRate(pooled.k, pooled.n, pooled.rate or 0.0, low, high, interval)


def stages(rows: Sequence[EpisodeRow], names: Sequence[str]) -> list[StageRow]:
    """Every stage: its count over all episodes, and over the episodes that reached the stage before."""
    result = []
    for index, name in enumerate(names):
        before = [row for row in rows if index == 0 or row.stages[index - 1]]
        given = score(sum(row.stages[index] for row in before), len(before))
        conditional = ConditionalRate(given.k, given.n, given.low, given.high, given.rate)
        result.append(StageRow(name, sum(row.stages[index] for row in rows), len(rows), conditional))
    return result


def bootstrapped(seeds: Sequence[Sequence[float]]) -> Mean:
    """A mean with its 95 % interval over seeds, then episodes; no interval where every resample is the same.

    A bootstrap of equal values has no width, which says nothing about the next episode.
    """
    mean, low, high = two_level_bootstrap(seeds, 2_000)
    return Mean(mean, *((low, high) if high > low else (None, None)), sum(map(len, seeds)))


def pareto_front(rows: Sequence[PolicyRow]) -> list[str]:
    """The policies that no other policy of the board beats in both training time and success."""
    places = {row.policy: (row.time_relative, -row.success.rate) for row in rows if row.time_relative}
    return [
        policy
        for policy, (time, failure) in places.items()
        if not any(other[0] <= time and other[1] <= failure and other != (time, failure) for other in places.values())
    ]
