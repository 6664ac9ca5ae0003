"""The page of learning online: what the report says of each start and method, as tables of a page."""

from __future__ import annotations

from functools import cache
from typing import Any

from numbers_of_benchmarks import benchmark
from numbers_of_results import cells, folder, table, written

from robo_orl.report.numbers import p_value
from robo_orl.report.online import OnlineBoard, OnlineRow, online_boards
from robo_orl.results.online_estimators import Change

NOTHING = "None of these cells was run yet: `robo-orl bench --suite {suite} --blocks 1`."


@cache
def boards(suite: str) -> list[OnlineBoard]:
    """The boards of a suite in results/."""
    return online_boards([record for record, _ in cells(suite).values()]) if folder(suite).is_dir() else []


def _sections(suite: str, rows: Any) -> str:
    """A heading and a table for each board; rows: board -> header and rows."""
    parts = []
    for board in boards(suite):
        header, lines = rows(board)
        if lines:
            title = f"{board.task} `{board.regime}`, from `{written(board.start)}`"
            parts.append(f"**{title}**, {_start(board)}\n\n{table(header, lines)}")
    return "\n\n".join(parts) or NOTHING.format(suite=suite)


def _start(board: OnlineBoard) -> str:
    score = board.start_score
    return f"which solves {score.mean * score.n:.0f} of {score.n} {_percent(score.low, score.high)} %"


def online_changes(suite: str) -> str:
    """Success less that of the start at each named step, paired, with its interval; then the deepest point and null."""

    def rows(board: OnlineBoard) -> tuple[list[str], list[list]]:
        steps = sorted({change.step for row in board.rows for change in row.changes})
        header = ["method", "trainings", *(f"{step:,} steps" for step in steps), "deepest; null's 95 %; p"]
        return header, [_changes(row, steps) for row in board.rows]

    return _sections(suite, rows)


def _changes(row: OnlineRow, steps: list[int]) -> list:
    by_step = {change.step: change for change in row.changes}
    shown = [_points(by_step[step]) if step in by_step else "" for step in steps]
    deepest = [f"{_signed(-d.depth)} at {d.step:,}; {_signed(-d.null_high)}; {p_value(d.p)}" for d in row.deepest]
    return [f"`{written(row.policy)}`", row.trainings, *shown, "<br>".join(deepest)]


def _points(change: Change) -> str:
    text = f"{_signed(change.difference)} [{_signed(change.low)}, {_signed(change.high)}]"
    return f"**{text}**" if change.low > 0 or change.high < 0 else text


def online_times(suite: str) -> str:
    """Recovery, steps to +20 points, area, regret and what is lost, a row per method."""

    def rows(board: OnlineBoard) -> tuple[list[str], list[list]]:
        header = [
            "method",
            "success at the end",
            "recovered",
            "+20 points",
            "area, %",
            "regret, points",
            "lost of solved, %",
        ]
        return header, [_times(row) for row in board.rows]

    return _sections(suite, rows)


def _times(row: OnlineRow) -> list:
    lost = "" if row.lost is None else f"{100 * row.lost[0]:.0f} {_percent(*row.lost[1:])}"
    success, regret = row.success, row.regret
    return [
        f"`{written(row.policy)}`",
        f"{success.mean * success.n:.0f} of {success.n} {_percent(success.low, success.high)}",
        _events(row.recovery),
        _events(row.gain) if row.gain.of else "no room",
        f"{100 * row.area.mean:.0f} {_percent(row.area.low, row.area.high)}",
        f"{_signed(regret.mean)} [{_signed(regret.low)}, {_signed(regret.high)}]",
        lost,
    ]


def _events(events: Any) -> str:
    median = "" if events.median is None else f", median {events.median:,}"
    return f"{events.seen} of {events.of}{median}"


def online_account(suite: str) -> str:
    """The account beside success, and the share of the published budget."""

    def rows(board: OnlineBoard) -> tuple[list[str], list[list]]:
        header = ["method", "success at the end", "environment steps", "warm-up", "pilots", "updates"]
        header += ["simulation, acting, learning; evaluation, s", "peak memory, GB", "of the published budget"]
        return header, [_account(row) for row in board.rows]

    return _sections(suite, rows)


def _account(row: OnlineRow) -> list:
    account, success = row.account, row.success
    seconds = ", ".join(f"{account[name]:,.0f}" for name in ("simulation_s", "acting_s", "learning_s"))
    share = "none is published" if row.share is None else f"{100 * row.share:.2g} % of {row.published}'s"
    return [
        f"`{written(row.policy)}`",
        f"{success.mean * success.n:.0f} of {success.n}",
        *(f"{account[name]:,.0f}" for name in ("env_steps", "warm_up_steps", "pilot_steps", "updates")),
        f"{seconds}; {account['evaluation_s']:,.0f}",
        f"{account['peak_memory_bytes'] / 1e9:.2f}",
        share,
    ]


def online_critics(suite: str) -> str:
    """Bias and error of each critic on what it acts, at each point."""

    def rows(board: OnlineBoard) -> tuple[list[str], list[list]]:
        header = [
            "method",
            "step",
            "decisions",
            "bias",
            "mean of value − return, absolute",
            "rank correlation",
            "success above failure",
        ]
        return header, [_critic(row, point) for row in board.rows for point in row.critic]

    return _sections(suite, rows)


def _critic(row: OnlineRow, point: dict[str, Any]) -> list:
    numbers = [f"{point['bias']:+.3f}".replace("-", "−"), f"{point['mean_absolute']:.3f}"]
    ranks = [f"{point[name]:.2f}" if point[name] is not None else "" for name in ("correlation", "outcome_auc")]
    return [f"`{written(row.policy)}`", f"{point['step']:,}", f"{point['decisions']:,}", *numbers, *ranks]


def online_speed() -> str:
    """CPU time of updates and decisions, from benchmarks/online_speed.json."""
    found = benchmark("online_speed")
    header = ["method", "update, ms", "decision of one of 3, ms", "of 8, ms", "ratio", "60,000 steps, minutes"]
    rows = [
        [f"`{row['method']}`", *(f"{row[name]:.1f}" for name in ("update_ms", "decision_before_ms", "decision_now_ms"))]
        + [f"{row['decision_ratio']:.2f}", f"{row['minutes_of_60000_steps']:.1f}"]
        for row in found["rows"]
    ]
    return f"{table(header, rows)}\n\nMedians of n = {found['n']}, at a load of {found['load']:.0f} on the machine."


def online_memory() -> str:
    """Predicted memory by size and layout, from benchmarks/online_memory.json."""
    header = [
        "size",
        "method",
        "parameters",
        "learn",
        "step, GB",
        "a copy that acts, GB",
        "at a point, GB",
        "TFLOP a step",
    ]
    rows = []
    for row in benchmark("online_memory"):
        held = [row["peak"], row["collecting"], row["peak"] + row["collecting"] + row["judging"]]
        counts = [_short(row["params"]), _short(row["trained"])]
        sizes = [f"{value / 1e9:.3g}" for value in held]
        rows.append([row["size"], f"`{row['method']}`", *counts, *sizes, f"{row['flops'] / 1e12:.2g}"])
    return table(header, rows)


def online_memory_ratio(size: str) -> str:
    """A separate critic beside a backbone that stays, at one size."""
    rows = {row["method"]: row for row in benchmark("online_memory") if row["size"] == size}
    whole = {name: row["peak"] + row["collecting"] + row["judging"] for name, row in rows.items()}
    step = rows["qc+separate"]["peak"] / rows["qc"]["peak"]
    return (
        f"At {size} a critic with a backbone of its own holds {step:.1f} times the step of a backbone that stays, and "
        f"{whole['qc+separate'] / whole['qc']:.1f} times with both copies that act."
    )


def _short(count: int) -> str:
    return f"{count / 1e6:.3g}M" if count < 1e9 else f"{count / 1e9:.3g}B"


def online_say(suite: str) -> str:
    """Who dips at the switch and who does not, by the paired intervals of the records."""
    lines = []
    for board in boards(suite):
        parts = []
        for row in board.rows:
            below = [change for change in row.changes if change.high < 0]
            parts.append(_sentence(row, below))
        lines.append(f"- {board.task} `{board.regime}` from `{written(board.start)}`: {'; '.join(parts)}.")
    return "\n".join(lines) or "Nothing was run yet."


def _sentence(row: OnlineRow, below: list[Change]) -> str:
    name = f"`{written(row.policy)}`"
    if not below:
        return f"{name} is nowhere surely below its start"
    deepest = min(below, key=lambda change: change.difference)
    last = max(change.step for change in below)
    until = f", and at no point after {last:,}" if last < row.changes[-1].step else ", at the last point"
    return f"{name} is below its start by {_points(deepest).strip('*')} points at {deepest.step:,} steps{until}"


def _signed(value: float) -> str:
    return f"{100 * value:+.0f}".replace("-", "−").replace("+0", "0")


def _percent(low: float, high: float) -> str:
    return f"[{100 * low:.0f}, {100 * high:.0f}]"


FUNCTIONS = {
    f.__name__: f
    for f in (
        online_changes,
        online_times,
        online_account,
        online_critics,
        online_say,
        online_speed,
        online_memory,
        online_memory_ratio,
    )
}
