"""A prediction or a measurement of cost, on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from robo_orl.cost.predict.prediction import PARTS

UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
WHAT = {
    "optimizer": "optimiser",
    "master": "master weights",
    "targets": "targets and averages",
    "inputs": "batch, scales",
}


def human_bytes(count: float) -> str:
    """Decimal units, three digits."""
    for size, unit in UNITS:
        if abs(count) >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def memory_line(found: dict[str, Any]) -> str:
    """One line: the peak and its parts, the largest first."""
    parts = sorted(((size, part) for part, size in found["parts"].items() if size), reverse=True)
    told = ", ".join(f"{WHAT.get(part, part)} {human_bytes(size)}" for size, part in parts)
    return f"{human_bytes(found['peak_bytes'])} ({told})"


def show_prediction(found: dict[str, Any]) -> None:
    """Memory by part, what fits, traffic and FLOPs."""
    console = Console()
    console.print(
        f"{found['policy']} at size {found['size']}: {found['parameters']:,} parameters, batch {found['batch']}, "
        f"{found['layout']}, {found['precision']}{', checkpointing' if found['checkpointing'] else ''}"
    )
    memory = found["memory"]
    parts = _table("memory per process", ("part", "bytes"))
    for part in PARTS:
        if memory["parts"][part]:
            parts.add_row(WHAT.get(part, part), human_bytes(memory["parts"][part]))
    parts.add_row(f"[bold]peak, in the {memory['peak_phase']}[/]", f"[bold]{human_bytes(memory['peak_bytes'])}[/]")
    if memory["host_bytes"]:
        parts.add_row("in the host's memory", human_bytes(memory["host_bytes"]))
    console.print(parts)
    cards = _table("cards", ("card", "usable", "this batch", "largest batch"))
    for row in found["cards"]:
        fits = "fits" if row["fits"] else "[red]does not fit[/]"
        cards.add_row(row["card"], human_bytes(row["usable_bytes"]), fits, f"{row['largest_batch']:,}")
    console.print(cards)
    flops = found["flops"]
    console.print(
        f"FLOPs per step: {flops['model_per_step']:.3g} (model), {flops['hardware_per_step']:.3g} (hardware); "
        f"{flops['model_per_sample']:.3g} per observation"
    )
    if found["communication"]["total"]:
        _show_communication(console, found)


def _show_communication(console: Console, found: dict[str, Any]) -> None:
    traffic = _table("sent per process and step", ("collective", "bytes"))
    for what, size in found["communication"]["bytes_sent_per_step"].items():
        traffic.add_row(what, human_bytes(size))
    console.print(traffic)
    times = _table(f"step by the cost model on {found['step_time'][0]['card']}", ("network", "step", "of it computing"))
    for row in found["step_time"]:
        times.add_row(row["link"], f"{row['step_s']:.3g} s", f"{row['efficiency']:.0%}")
    console.print(times)
    console.print("[dim]Assumed: " + "; ".join(found["assumptions"]) + ".[/]")


def show_measurement(found: dict[str, Any]) -> None:
    """Time by phase, rates and memory, or what did not fit."""
    console = Console()
    if found.get("oom"):
        console.print(f"[red]Out of memory[/]: {found['oom']}")
        return
    rows = _table(f"{found['policy']} at size {found['size']}, synthetic windows", ("", ""))
    for name, value in _told(found):
        rows.add_row(name, value)
    console.print(rows)


def _told(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("step, median", f"{found['step_s'] * 1e3:.4g} ms")]
    rows += [(f"  {phase}", f"{seconds * 1e3:.4g} ms") for phase, seconds in found.get("phases_s", {}).items()]
    if "mfu" in found:
        rows += [("observations per second", f"{found['observations_per_s']:.4g}")]
        rows += [("MFU, HFU", f"{found['mfu']:.1%}, {found['hfu']:.1%} of {found['ceiling_flops_per_s']:.3g} FLOP/s")]
        rows += [("peak memory", human_bytes(found["memory"]["peak_bytes"]))]
        rows += [("predicted", memory_line(found["predicted"]))]
    else:
        rows += [("peak memory, the largest process", human_bytes(max(found["peak_bytes"])))]
        rows += [("sent per process and step", human_bytes(max(found["sent_bytes_per_step"])))]
    return rows


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table
