"""The page of the ablations: every row of a suite against its base, on the same start states, the largest gain first.

The comparisons are those of the report: differences of the means over pairs of episodes with bootstrap intervals,
Newcombe's intervals of successes, exact sign tests with Holm's correction over all rows of all boards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from numbers_of_results import cells, folder, progress, table, written

from robo_orl.config import PolicyConfig
from robo_orl.report.compare import Difference, Outcomes, compare, paired_by_seed, verdict
from robo_orl.report.contents import load
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.intervals import holm
from robo_orl.results.record import Record
from robo_orl.results.verify import policy_of

AXES = {  # setting -> axis; of several settings of a row the first one here names it
    "backbone.size": "size",
    "action_head.kind": "head",
    "action_head.chunk": "chunk",
    "n_step": "n-step",
    "critic.topology": "topology",
    "critic.trunk_gradient": "gradient into the backbone",
    "critic.target": "target",
    "critic.tau": "rate of the target",
    "critic.loss": "loss",
    "critic.ensemble": "ensemble",
    "selection.untrained_critic": "who chooses",
    "selection.num_samples": "samples",
    "selection.noise_scale": "sampling noise",
}


@dataclass(frozen=True)
class Effect:
    """A row against the base. effects: by the name of the endpoint; p_holm: of the first, over all rows."""

    task: str
    regime: str
    axis: str
    change: str
    policy: str
    trainings: int
    effects: dict[str, Difference]
    totals: dict[str, tuple[float, float]]
    p_holm: float = 1.0

    @property
    def gain(self) -> float:
        """By which rows are sorted: of the mean discounted return."""
        return self.effects["return"].mean.mean


@cache
def effects_of(suite: str, base: str) -> list[Effect]:
    """Every row of every board against the base of its board, the largest gain first."""
    if not folder(suite).is_dir():
        return []
    contents = load(folder(suite))
    outcomes, rows, made = Outcomes(contents), _rows(suite), []
    for (task, regime, policy, size), records in rows.items():
        first = rows[task, regime, base, "tiny"]
        if records is first:
            continue
        pairs = paired_by_seed(outcomes, first, records)
        found = {e.name: compare(pairs, e, contents.effects[e.name]) for e in contents.endpoints if pairs}
        if found:
            axis, change = _changed(first[0], records[0])
            totals = {e.name: (_total(outcomes, first, e), _total(outcomes, records, e)) for e in contents.endpoints}
            name = f"{policy} {size}" if axis == "size" else policy
            made.append(Effect(task, regime, axis, change, name, len(pairs), found, totals))
    ps = holm([one.effects["return"].p for one in made])
    made = [Effect(**{**vars(one), "p_holm": p}) for one, p in zip(made, ps, strict=True)]
    return sorted(made, key=lambda one: -one.gain)


def _rows(suite: str) -> dict[tuple[str, str, str, str], list[Record]]:
    rows: dict[tuple[str, str, str, str], list[Record]] = {}
    for (task, regime, policy, size, _), (record, _) in sorted(cells(suite).items()):
        rows.setdefault((task, regime, policy, size), []).append(record)
    return rows


def _total(outcomes: Outcomes, records: list[Record], endpoint: Endpoint) -> float:
    """Successes, or the mean of another endpoint, over all trainings of a row."""
    values = [outcomes.of(record).values[endpoint.name] for record in records]
    return sum(v.sum() for v in values) if endpoint.is_binary else sum(v.mean() for v in values) / len(values)


def _changed(base: Record, row: Record) -> tuple[str, str]:
    """The axis of a row and what it changes: ('topology', 'shared -> separate')."""
    one, other = policy_of(base), policy_of(row)
    before, after = dict(_settings(one)), dict(_settings(other))
    keys = [key for key in AXES if before[key] != after[key]]
    return AXES[keys[0]], ", ".join(f"{_word(before[key])} → {_word(after[key])}" for key in keys)


def _settings(policy: PolicyConfig) -> Iterator[tuple[str, Any]]:
    """The setting of every axis; n is that of the backup, however it is written."""
    for path in AXES:
        value: Any = policy
        for key in path.split("."):
            value = getattr(value, key)
        yield path, policy.n if path == "n_step" else value


def _word(value: Any) -> str:
    return {True: "at random", False: "the critic"}.get(value, "") if isinstance(value, bool) else f"{value}"


# ------------------------------------------------------------------------------------------------------------ the page


def ablation_table(suite: str, task: str, regime: str, base: str = "qc") -> str:
    """A row per setting of a board: its difference from the base by return, success and one deadline."""
    found = [one for one in effects_of(suite, base) if (one.task, one.regime) == (task, regime)]
    if not found:
        return f"None of these cells was run yet: `robo-orl bench --suite {suite}`."
    header = [
        "axis",
        "base → row",
        "row",
        "return, difference",
        "successes, difference",
        "within 60 %",
        "trainings",
        "p",
    ]
    rows = []
    for one in found:
        success, late = ([f"{count:.0f}" for count in one.totals[name]] for name in ("success", "within_60"))
        by_success = one.effects["success"]
        rows.append([
            one.axis, one.change, f"`{written(one.policy)}`", _gain(one),
            f"{' → '.join(success)}, {_interval(by_success.difference, by_success.low, by_success.high, 2)}",
            " → ".join(late), one.trainings, f"{one.p_holm:.3f}" if one.p_holm >= 0.001 else "<0.001",
        ])  # fmt: skip
    return table(header, rows)


def _gain(one: Effect) -> str:
    """The difference by return, bold where it is told apart from the base."""
    gain = one.effects["return"].mean
    text = _interval(gain.mean, gain.low, gain.high, 3)
    return f"**{text}**" if verdict(one.p_holm, one.effects["return"]) != "undecided" else text


def _interval(value: float, low: float, high: float, digits: int) -> str:
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def ablations_say(suite: str, base: str = "qc") -> str:
    """The rows that are told apart from the base, in a sentence, and how many are not."""
    found = effects_of(suite, base)
    apart = {"better": [], "worse": []}
    for one in found:
        if (word := verdict(one.p_holm, one.effects["return"])) in apart:
            apart[word].append(f"{one.axis} {one.change} on {one.task} `{one.regime}`")
    if not found:
        return "Nothing was run yet."
    parts = [f"{word} than the base: {'; '.join(names)}" for word, names in apart.items() if names]
    rest = len(found) - sum(map(len, apart.values()))
    parts.append(f"{rest} of {len(found)} rows cannot be told apart from it")
    return f"Of {progress(suite)} that were run, by return, {'. '.join(parts)}."


FUNCTIONS = {f.__name__: f for f in (ablation_table, ablations_say)}
