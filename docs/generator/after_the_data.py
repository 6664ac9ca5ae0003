"""The page of learning online: what the report says of each start and method, as tables of a page."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from horizon import drawn, framed
from numbers_of_benchmarks import benchmark
from numbers_of_results import cells, folder, table, written

from robo_orl.report.layers import SHAPES, Look
from robo_orl.report.numbers import p_value
from robo_orl.report.online import OnlineBoard, OnlineRow, online_boards, online_figures
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


def online_curves(suite: str, published: bool = False) -> str:
    """Success against environment steps with bands, the first steps after the switch and to the end, of every board;
    with `published` only the figures beside published curves."""
    figures = []
    for board in boards(suite):
        for title, picture in online_figures(asdict(board), _look(board)):
            if title.startswith("beside published") == published:
                figures.append(framed(f"{board.task} {board.regime}, from {board.start}: {title}", picture))
    return drawn(figures) if figures else ""


def _look(board: OnlineBoard) -> Look:
    """Shapes in the order of the rows; a row with a critic is filled."""
    critics = {row.policy for row in board.rows if row.critic}
    names = [
        board.start,
        *(row.policy for row in board.rows),
        *(f"published: {one['method']}" for one in board.published),
    ]
    return {name: (list(SHAPES)[at % len(SHAPES)], name in critics) for at, name in enumerate(names)}


def _methods(suite: str, method: str) -> list[OnlineRow]:
    return [row for board in boards(suite) for row in board.rows if row.method == method]


def online_solved(suite: str, method: str) -> str:
    """'83, 146 and 180': the start states that a method has solved at every point, of all trainings."""
    names = {row.policy for row in _methods(suite, method)}
    lines = [[p["k"] for p in one["points"]] for b in boards(suite) for one in b.curves if one["policy"] in names]
    return "; ".join(f"{', '.join(map(str, line[:-1]))} and {line[-1]}" for line in lines)


def online_change(suite: str, policy: str, step: int) -> str:
    """The points that a policy is above or below its start at a step, with their interval."""
    (row,) = [row for board in boards(suite) for row in board.rows if row.policy == policy]
    return _points(next(change for change in row.changes if change.step == step)).strip("*")


def online_steps(suite: str) -> str:
    """'0, 1,000 and 5,000': the steps of the points of a suite's first row."""
    *first, last = [f"{change.step:,}" for change in boards(suite)[0].rows[0].changes]
    return f"{'; '.join(first)} and {last}"


def online_updates(suite: str, method: str) -> str:
    """The updates that a method made, the mean over trainings."""
    return ", ".join(f"{row.account['updates'] - row.account['skipped']:.0f}" for row in _methods(suite, method))


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


def online_whole() -> str:
    """A whole run by the clock, from benchmarks/online_whole.json."""
    found = benchmark("online_whole")
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found["shares"].items() if share >= 0.005)
    minutes = [f"{found[name] / 60:.1f}" for name in ("wall_s", "collect_and_learn_s")]
    points = f"{found['points']} points of {found['episodes_of_a_point']} episodes"
    counts = (
        f"{found['env_steps']:,} environment steps of {found['episodes']:,} episodes and {found['updates']:,} updates"
    )
    return (
        f"{counts} took {minutes[0]} minutes, {minutes[1]} of them without {points}; of the process that learns: "
        f"{shares} (n = 1)."
    )


def online_memory() -> str:
    """Predicted memory and time of every method by size, from benchmarks/online_memory.json."""
    header = ["method", "laid on", "learn at 1b"]
    header += [f"step at {size}, GB" for size in ("tiny", "1b", "7b")]
    header += [f"with copies at {size}, GB" for size in ("1b", "7b")]
    header += ["TFLOP an update at 1b", "ms an update at 1b", "TFLOP a chunk at 1b"]
    return table(header, [_method(*key, rows) for key, rows in _by_method().items()])


def _method(base: str, method: str, rows: dict[str, dict[str, Any]]) -> list:
    """A method's row. Sizes that were not computed are empty."""
    peaks = [f"{rows[size]['peak'] / 1e9:.3g}" if size in rows else "" for size in ("tiny", "1b", "7b")]
    copies = [f"{_with_copies(rows[size]) / 1e9:.3g}" if size in rows else "" for size in ("1b", "7b")]
    one, update = rows["1b"], rows["1b"]["flops"] / 1e12
    time = [f"{update:.2g}", f"{1000 * one['step_s']:.0f}", f"{one['updates'] * update:.2g}"]
    return [f"`{method}`", f"`{base}`", _short(one["trained"]), *peaks, *copies, *time]


def _by_method() -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """(base, method) -> size -> row."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in benchmark("online_memory"):
        found.setdefault((row["base"], row["method"]), {})[row["size"]] = row
    return found


def _with_copies(row: dict[str, Any]) -> int:
    return row["peak"] + row["collecting"] + row["judging"]


def online_memory_ratio(size: str) -> str:
    """A separate critic beside a shared one and none, at one size, off-policy and on-policy."""
    rows = {row["method"]: row for row in benchmark("online_memory") if row["size"] == size}

    def times(one: str, other: str) -> str:
        step, copies = rows[one]["peak"] / rows[other]["peak"], _with_copies(rows[one]) / _with_copies(rows[other])
        return f"{step:.1f} times the step, and {copies:.1f} times with both copies that act"

    return (
        f"At {size} a critic with a backbone of its own holds, against a backbone that stays (`qc`), "
        f"{times('qc+separate', 'qc')}; against one that policy and critic train (`qc+whole`) "
        f"{times('qc+separate', 'qc+whole')}. Against `grpo`, which needs no critic, `ppo` with a separate one holds "
        f"{times('ppo+separate', 'grpo')}; with one on the policy's backbone {times('ppo', 'grpo')}."
    )


def online_memory_check() -> str:
    """How far predictions are from steps made here, from benchmarks/online_memory_check.json."""
    rows = benchmark("online_memory_check")
    worst = max(rows, key=lambda row: abs(row["error"]))
    sizes = ", ".join(dict.fromkeys(row["size"] for row in rows))
    return (
        f"Checked against {len(rows)} steps that were made ({sizes}): the largest difference of a peak is "
        f"{abs(100 * worst['error']):.2g} % (`{worst['method']}` at {worst['size']})."
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
    text = f"{round(100 * value, 6):+.0f}"  # rounded first: -3.5 is one number whatever arithmetic led to it
    return "0" if text in ("+0", "-0") else text.replace("-", "−")


def _percent(low: float, high: float) -> str:
    return f"[{100 * low:.0f}, {100 * high:.0f}]"


FUNCTIONS = {
    f.__name__: f
    for f in (
        online_curves,
        online_change,
        online_solved,
        online_steps,
        online_updates,
        online_changes,
        online_times,
        online_account,
        online_critics,
        online_say,
        online_speed,
        online_whole,
        online_memory,
        online_memory_check,
        online_memory_ratio,
    )
}
