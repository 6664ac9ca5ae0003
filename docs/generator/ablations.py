"""The page of the ablations: every row of a suite against its base, on the same start states, the largest gain first.

The comparisons are those of the report: differences of the means over pairs of episodes with bootstrap intervals,
Newcombe's intervals of successes, exact sign tests with Holm's correction over all rows of all boards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from numbers_of_results import cells, folder, table, written

from robo_orl.config import PolicyConfig
from robo_orl.objectives import OBJECTIVES
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
    "critic.target_flow_steps": "Euler steps of a backup",
    "critic.loss": "loss",
    "critic.ensemble": "ensemble",
    "selection.untrained_critic": "who chooses",
    "selection.num_samples": "samples",
    "selection.noise_scale": "sampling noise",
}


@dataclass(frozen=True)
class Effect:
    """A row against the base. effects, totals, p_holm: by the name of the endpoint, p over all rows."""

    task: str
    regime: str
    axis: str
    change: str
    policy: str
    trainings: int
    effects: dict[str, Difference]
    totals: dict[str, tuple[float, float]]
    p_holm: dict[str, float]

    @property
    def gain(self) -> float:
        """By which rows are sorted: of the mean discounted return."""
        return self.effects["return"].mean.mean

    def verdict(self, endpoint: str) -> str:
        """better, worse or undecided, as the report says it."""
        return verdict(self.p_holm[endpoint], self.effects[endpoint])


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
            seeds = {record.seed for record in records}
            same = [record for record in first if record.seed in seeds]  # the base's trainings that are compared
            totals = {e.name: (_total(outcomes, same, e), _total(outcomes, records, e)) for e in contents.endpoints}
            name = f"{policy} {size}" if axis == "size" else policy
            made.append(Effect(task, regime, axis, change, name, len(pairs), found, totals, {}))
    for endpoint in contents.endpoints:
        for one, p in zip(made, holm([one.effects[endpoint.name].p for one in made]), strict=True):
            one.p_holm[endpoint.name] = p
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
    """The setting of every axis; n and the Euler steps are those of the backup, wherever they are written."""
    for path in AXES:
        value: Any = policy
        for key in path.split("."):
            value = getattr(value, key)
        if path == "critic.target_flow_steps" and value is None:
            value = OBJECTIVES[policy.objective.name].Params(**policy.objective.params).flow_steps
        yield path, policy.n if path == "n_step" else value


def _word(value: Any) -> str:
    return {True: "at random", False: "the critic"}.get(value, "") if isinstance(value, bool) else f"{value}"


# ------------------------------------------------------------------------------------------------------------ the page


def ablation_table(suite: str, task: str, regime: str, base: str = "qc") -> str:
    """A row per setting of a board: its difference from the base by return, success and one deadline."""
    found = [one for one in effects_of(suite, base) if (one.task, one.regime) == (task, regime)]
    if not found:
        return f"None of these cells was run yet: `robo-orl bench --suite {suite}`."
    header = ["axis", "base → row", "row", "return", "successes", "within 60 %", "trainings"]
    rows = []
    for one in found:
        by_return, by_success = (_told(one, name, _difference(one, name)) for name in ("return", "success"))
        success, late = (" → ".join(f"{count:.0f}" for count in one.totals[name]) for name in ("success", "within_60"))
        setting, row = one.change, f"`{written(one.policy)}`"
        rows.append([one.axis, setting, row, by_return, f"{success}, {by_success}", late, one.trainings])
    return table(header, rows)


def _told(one: Effect, endpoint: str, text: str) -> str:
    """A difference with its p, bold where the row is told apart from the base."""
    p = one.p_holm[endpoint]
    shown = f"**{text}**" if one.verdict(endpoint) != "undecided" else text
    return f"{shown}, p {p:.2g}" if p >= 0.001 else f"{shown}, p < 0.001"


def _difference(one: Effect, endpoint: str) -> str:
    """'+0.04 [-0.19, +0.25]': of mean returns, or of the rate of a binary endpoint."""
    if endpoint == "return":
        gain = one.effects[endpoint].mean
        return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    rate = one.effects[endpoint]
    return f"{rate.difference:+.2f} [{rate.low:+.2f}, {rate.high:+.2f}]"


def ablated(suite: str, task: str, regime: str, policy: str, endpoint: str, base: str = "qc") -> str:
    """The difference of one row from the base with its interval."""
    (one,) = [e for e in effects_of(suite, base) if (e.task, e.regime, e.policy) == (task, regime, policy)]
    return _difference(one, endpoint)


def ablations_say(suite: str, base: str = "qc") -> str:
    """By return and by success: the rows that are told apart from the base, and how many are not."""
    found = effects_of(suite, base)
    if not found:
        return "Nothing was run yet."
    return "\n".join(f"- By {endpoint}: {_sentence(found, endpoint)}." for endpoint in ("return", "success"))


def _sentence(found: list[Effect], endpoint: str) -> str:
    parts = []
    for word in ("better", "worse"):
        rows = [one for one in found if one.verdict(endpoint) == word]
        names = [f"{one.axis} {one.change} ({one.task} `{one.regime}`)" for one in rows]
        parts += [f"{word} than the base with {'; '.join(names)}"] if names else []
    rest = sum(one.verdict(endpoint) == "undecided" for one in found)
    return "; ".join([*parts, f"{rest} of {len(found)} rows cannot be told apart from it"])


FUNCTIONS = {f.__name__: f for f in (ablated, ablation_table, ablations_say)}
