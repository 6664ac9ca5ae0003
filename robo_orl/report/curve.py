"""Success against the decisions allowed: the curve behind every deadline."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from robo_orl.report.contents import Cells
from robo_orl.report.scores import success
from robo_orl.results.endpoints import success_curve, success_times
from robo_orl.results.record import Record

STEPS = 20


@dataclass(frozen=True)
class CurveRow:
    """The episodes of one policy solved within each of a curve's decisions; the 95 % band where it is drawn."""

    policy: str
    n: int
    k: list[int]
    low: list[float] | None
    high: list[float] | None


@dataclass(frozen=True)
class Curve:
    """Success against the decisions allowed, at equal steps up to the limit.

    Drawn with a band: the policy with a critic and the one without that have the highest return, and the control.
    """

    decisions: list[int]
    rows: list[CurveRow]


def curve(
    cells: Cells, policies: Mapping[str, Sequence[Record]], names: Sequence[str], drawn: Collection[str], horizon: int
) -> Curve:
    """The curves of the policies `names` at STEPS equal steps up to the limit; those in `drawn` have a band."""
    decisions = sorted({max(1, horizon * step // STEPS) for step in range(1, STEPS + 1)})
    rows = []
    for name in names:
        times = [success_times(cells.rows[record.cell]) for record in policies[name]]
        k = sum(success_curve(seed, decisions) for seed in times)
        band = [success([seed <= d for seed in times]) for d in decisions] if name in drawn else None
        low, high = ([getattr(rate, end) for rate in band] if band else None for end in ("low", "high"))
        rows.append(CurveRow(name, sum(map(len, times)), [int(count) for count in k], low, high))
    return Curve(decisions, rows)
