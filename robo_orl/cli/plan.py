"""The plan of a bench as lines that a terminal of 80 columns holds."""

from __future__ import annotations

import textwrap
from typing import Any

from robo_orl.base.text import print_line
from robo_orl.cost.terminal import human_bytes
from robo_orl.sweep.live_view import clock

WIDTH = 80
HEAD = ("kind", "jobs", "time, one core each", "memory each", "GPUs each")


def print_plan(plan: dict[str, Any]) -> None:
    """Print a Forecast."""
    _say("suite", f"{plan['suite']} in {plan['folder']}")
    _say("cells", f"{plan['cells']}: {plan['done']} done, {plan['missing']} missing{_failed(plan['failed'])}")
    if plan["cost_cells"]:
        _say("costs", f"{plan['cost_cells']} measurements missing")
    where = "" if plan["machines"] == 1 else f"{plan['machines']} machines, "
    _say("machines", f"{where}{plan['cores']} cores, {plan['gpus']} GPUs; times are those of: {plan['machine']}")
    print_line("")
    rows = [HEAD, *(_row(kind) for kind in plan["kinds"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows if plan["kinds"] else ():
        numbers = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        print_line("  ".join([row[0].ljust(widths[0]), *numbers]))
    print_line("")
    _say("time", _time(plan))
    there = plan["memory_there_bytes"]
    of = f" of {human_bytes(there)} on the largest machine" if there else ""
    _say("memory", f"{human_bytes(plan['memory_bytes'])} asked for at most, all jobs together{of}")
    _say("disk", f"{human_bytes(plan['disk_bytes'])}, {human_bytes(plan['disk_free_bytes'])} free")
    if plan["budget"] is not None:
        _say("budget", _budget(plan["budget"], plan["missing"] - plan["failed"]))


def _say(title: str, text: str) -> None:
    for index, line in enumerate(textwrap.wrap(text, WIDTH - 10, break_long_words=False) or [""]):
        print_line(f"{title if index == 0 else '':<10}{line}")


def _row(kind: dict[str, Any]) -> tuple[str, ...]:
    time = clock(kind["seconds"]) if kind["unknown"] == 0 else f"not known of {kind['unknown']}"
    return kind["kind"], str(kind["jobs"]), time, human_bytes(kind["memory_bytes"]), f"{kind['gpus']:g}"


def _failed(count: int) -> str:
    return f", {count} of them failed twice alike: --retry-failed tries them" if count else ""


def _time(plan: dict[str, Any]) -> str:
    records = f"{plan['records']} records of this kind of machine"
    if not plan["kinds"]:
        return "nothing is left to do"
    if plan["wall_s"] is None:
        return f"not known: {records} tell nothing like some of the jobs; run a part of them first"
    return f"{clock(plan['wall_s'])} on all cores, from {records}"


def _budget(budget: dict[str, Any], missing: int) -> str:
    text = f"{budget['minutes']:g} minutes: {budget['cells']} of {missing} missing cells"
    return f"{text}; the first that is left is {budget['first_left']}" if budget["first_left"] else f"{text}, all"
