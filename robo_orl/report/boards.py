"""Records to leaderboards: one board per (task, regime, size), one row per policy with its training seeds pooled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from robo_orl.report.contents import Cells, control_rank, has_critic, is_plain_bc, topology
from robo_orl.results.intervals import median_interval, score, two_level_bootstrap
from robo_orl.results.record import EpisodeRow, Record

BoardKey = tuple[str, str, str, str]  # task name, task digest, regime, size


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


def board(cells: Cells, key: BoardKey, policies: dict[str, list[Record]]) -> dict[str, Any]:
    """One leaderboard; rows are sorted by success, then by discounted return."""
    task, digest, regime, size = key
    first = min((records[0] for records in policies.values()), key=lambda record: record.data.filter is not None)
    control = control_of(policies)
    rows = [row(cells, name, records, policies.get(control or "")) for name, records in policies.items()]
    rows.sort(key=lambda r: (-r["success"]["rate"], -r["discounted_return"]["mean"], r["policy"]))
    return {
        "task": task, "task_digest": digest, "regime": regime, "size": size, "control": control,
        "horizon": first.task.horizon, "control_hz": first.task.control_hz, "padding": first.task.padding,
        "stages": first.task.stages, "gamma": first.evaluation.gamma,
        "data": {"episodes": first.data.episodes, "frames": first.data.frames,
                 "success": first.data.success.model_dump()},
        "tuning": tuning(policies), "rows": rows,
    }  # fmt: skip


def tuning(policies: dict[str, list[Record]]) -> str:
    """The searches that the board's settings are from, in words; empty where none was asked for."""
    searches = {
        record.tuning.model_copy(update={"trials": 0}) for rs in policies.values() for record in rs if record.tuning
    }
    return "; ".join(sorted(f"each trial {s.episodes} episodes of {s.task} {s.regime}" for s in searches))


def row(cells: Cells, name: str, records: list[Record], control: list[Record] | None) -> dict[str, Any]:
    """One policy of a board."""
    config, episodes = records[0].policy.config, [cells.rows[record.cell] for record in records]
    pooled = [episode for rows in episodes for episode in rows]
    lengths = [episode.length for episode in pooled if episode.success_once]
    low, high = median_interval(lengths)
    return {
        "policy": name,
        "reference": config.get("library"),
        "critic": has_critic(config),
        "topology": topology(config),
        "objective": config.get("algorithm") or (config.get("objective") or {}).get("name", "bc"),
        "seeds": len(records),
        "success": success([[e.success_once for e in rows] for rows in episodes]),
        "at_end": success([[e.success_at_end for e in rows] for rows in episodes]),
        "stages": stages(pooled, records[0].task.stages),
        "length": {"median": float(median(lengths)) if lengths else None, "low": low, "high": high, "n": len(lengths)},
        "discounted_return": discounted_return(episodes),
        "parameters": _parameters(records[0]),
        "restarts": sum(episode.restarts for episode in pooled),
        "trials": records[0].tuning.trials if records[0].tuning else None,
        **relative_to(records, control),
    }


def _parameters(record: Record) -> dict[str, int]:
    """By component; of a reference, whose components are other ones, in total."""
    counted = record.train.parameters
    return {"total": counted["total"]} if record.kind == "reference" else counted


def success(seeds: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """k of n with its 95 % interval.

    One training seed: Wilson. Several: the wider of Wilson on the pooled count and of the two-level bootstrap.
    """
    pooled = score(sum(map(sum, seeds)), sum(map(len, seeds)))
    low, high, kind = pooled.low, pooled.high, "wilson"
    if len(seeds) > 1:
        _, low_seeds, high_seeds = two_level_bootstrap([[float(outcome) for outcome in seed] for seed in seeds], 2_000)
        low, high, kind = min(low, low_seeds), max(high, high_seeds), "two-level"
    return {"k": pooled.k, "n": pooled.n, "rate": pooled.rate or 0.0, "low": low, "high": high, "interval": kind}


def stages(rows: Sequence[EpisodeRow], names: Sequence[str]) -> list[dict[str, Any]]:
    """Every stage: how often it was reached, and how often by the episodes that had reached the one before it."""
    result = []
    for index, name in enumerate(names):
        before = [row for row in rows if index == 0 or row.stages[index - 1]]
        k = sum(row.stages[index] for row in rows)
        given = score(sum(row.stages[index] for row in before), len(before))
        result.append({"name": name, "k": k, "n": len(rows),
                       "conditional": {**given.model_dump(), "rate": given.rate}})  # fmt: skip
    return result


def discounted_return(seeds: Sequence[Sequence[EpisodeRow]]) -> dict[str, Any]:
    """Its mean over the episodes with a 95 % bootstrap interval (seeds, then episodes)."""
    return bootstrapped([[row.discounted_return for row in rows] for rows in seeds])


def bootstrapped(seeds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """A mean with its 95 % interval over seeds, then episodes; no interval where every resample is the same.

    A bootstrap of equal values has no width, which says nothing about the next episode.
    """
    mean, low, high = two_level_bootstrap(seeds, 2_000)
    ends = {"low": low, "high": high} if high > low else {"low": None, "high": None}
    return {"mean": mean, **ends, "n": sum(map(len, seeds))}


def relative_to(records: Sequence[Record], control: Sequence[Record] | None) -> dict[str, Any]:
    """Cost of training as measured in the cells, relative to the control's cells: indicative, not interleaved."""
    if not control:
        return {"cell_time_relative": None, "cell_memory_relative": None, "steps_relative": None}
    memory, reference = _memory(records), _memory(control)
    kinds = {record.train.peak_memory_kind for record in (*records, *control)}
    return {
        "cell_time_relative": _seconds(records) / _seconds(control) if _seconds(control) else None,
        "cell_memory_relative": memory / reference if memory and reference and len(kinds) == 1 else None,
        "steps_relative": records[0].train.steps / control[0].train.steps,
    }


def _seconds(records: Sequence[Record]) -> float:
    return fmean(record.train.step_s_median * record.train.steps for record in records)


def _memory(records: Sequence[Record]) -> float | None:
    known = [record.train.peak_memory_bytes for record in records if record.train.peak_memory_bytes]
    return fmean(known) if known else None
