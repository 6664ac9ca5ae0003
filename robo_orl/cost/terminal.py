"""A prediction or a measurement of cost, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from robo_orl.cost.launches import Launches
from robo_orl.cost.measure.step_cost import StepCost
from robo_orl.cost.predict.acting_memory import OnlineMemory
from robo_orl.cost.predict.communication import assumptions
from robo_orl.cost.predict.memory import PARTS, MemoryPrediction
from robo_orl.cost.predict.prediction import Prediction
from robo_orl.cost.profile import LargestOnCard, Measurement, StepHere

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


def memory_line(prediction: MemoryPrediction) -> str:
    """One line: the peak and its parts, the largest first."""
    parts = sorted(((size, part) for part, size in prediction.parts.items() if size), reverse=True)
    words = ", ".join(f"{WHAT.get(part, part)} {human_bytes(size)}" for size, part in parts)
    return f"{human_bytes(prediction.peak_bytes)} ({words})"


def show_prediction(prediction: Prediction, here: StepHere) -> None:
    """Memory by part, what fits, traffic, FLOPs and the least time of a step on this machine."""
    console = Console()
    checkpointing = ", checkpointing" if prediction.checkpointing else ""
    console.print(
        f"{prediction.policy} at size {prediction.size}: {prediction.parameters:,} parameters, "
        f"batch {prediction.batch}, {prediction.layout}, {prediction.precision}{checkpointing}"
    )
    memory = prediction.memory
    parts = _table("memory per process", ("part", "bytes"))
    for part in PARTS:
        if memory.parts[part]:
            parts.add_row(WHAT.get(part, part), human_bytes(memory.parts[part]))
    parts.add_row(f"[bold]peak, in the {memory.peak_phase}[/]", f"[bold]{human_bytes(memory.peak_bytes)}[/]")
    if memory.host_bytes:
        parts.add_row("in the host's memory", human_bytes(memory.host_bytes))
    console.print(parts)
    if prediction.online is not None:
        console.print(online_line(prediction.online))
    cards = _table("cards", ("card", "usable", "this batch", "largest batch"))
    for card in prediction.cards:
        fits = "fits" if card.fits else "[red]does not fit[/]"
        cards.add_row(card.card, human_bytes(card.usable_bytes), fits, f"{card.largest_batch:,}")
    console.print(cards)
    flops = prediction.flops
    console.print(
        f"FLOPs per step: {flops.model_per_step:.3g} (model), {flops.hardware_per_step:.3g} (hardware); "
        f"{flops.model_per_sample:.3g} per observation"
    )
    console.print(launches_line(prediction.launches))
    console.print(_step_here(here))
    if sum(prediction.bytes_sent_per_step.values()):
        _show_communication(console, prediction)


def online_line(online: OnlineMemory) -> str:
    """What learning online holds beside the step, in one line."""
    tokens = f"; cached tokens {human_bytes(online.token_bytes_per_frame)} a frame of data and replay"
    kept = human_bytes(online.kept_bytes_per_decision)
    of_round = f"; of a round {kept} a decision, and {human_bytes(online.keeping)} while they are computed"
    return (
        f"Online beside the step: a copy that collects {human_bytes(online.collecting)}, one that is judged at a point "
        f"{human_bytes(online.judging)}{tokens if online.token_bytes_per_frame else ''}"
        f"{of_round if online.keeping else ''}"
    )


def launches_line(launches: Launches) -> str:
    """Kernels of a step by part, in one line."""
    parts = ", ".join(f"{part} {count:,}" for part, count in launches.parts.items() if count)
    waits = f", {launches.synchronisations} times waited for" if launches.synchronisations else ""
    return (
        f"Kernels started on a GPU: {launches.total:,} a step ({parts}); {launches.passes:,} of them in the two "
        f"passes, {launches.casts:,} casts{waits}"
    )


def _step_here(here: StepHere) -> str:
    floor = (
        f"at least {here.step_s_at_least:.3g} s, its FLOPs at 100 % of the best matrix product here "
        f"({here.ceiling_flops_per_s:.3g} FLOP/s)"
    )
    where = f"Step on this machine ({here.device}, {here.threads} thread(s))"
    if here.estimate is None:
        return f"{where}: {floor}; a real step takes longer, and `train --dry-run` measures it."
    estimate = here.estimate
    sizes = ", ".join(row.size for row in estimate.rows)
    return (
        f"{where}: about {estimate.step_s:.3g} s, from steps of the sizes {sizes} measured now; the largest was "
        f"foretold from the others with an error of {estimate.error:.0%}; this step has {estimate.beyond:.3g} times "
        f"its FLOPs and takes {floor}. Reading data and traffic come on top."
    )


def _show_communication(console: Console, prediction: Prediction) -> None:
    traffic = _table("sent per process and step", ("collective", "bytes"))
    for what, size in prediction.bytes_sent_per_step.items():
        traffic.add_row(what, human_bytes(size))
    console.print(traffic)
    card = prediction.step_time[0].card
    bound = prediction.step_time[0].bound
    times = _table(
        f"step by the cost model on {card}, computation bound by {bound}", ("network", "step", "of it computing")
    )
    for time in prediction.step_time:
        times.add_row(time.link, f"{time.step_s:.3g} s", f"{time.efficiency:.0%}")
    console.print(times)
    console.print("[dim]Assumed: " + "; ".join(assumptions()) + ".[/]")


def show_largest(models: Sequence[LargestOnCard]) -> None:
    """The largest model on each card."""
    first = models[0]
    title = f"the largest {first.policy} that trains, batch {first.batch}, {first.precision}"
    table = _table(title, ("card", "usable", "depth", "backbone", "peak"))
    for model in models:
        cells = ["none fits", "", ""]
        if fits := model.largest:
            cells = [str(fits.depth), f"{fits.backbone_parameters:.3g}", human_bytes(fits.peak_bytes)]
        table.add_row(model.card, human_bytes(model.usable_bytes), *cells)
    Console().print(table)


def show_measurement(measurement: Measurement) -> None:
    """Time by phase, rates and memory of one policy, or the ratios of several."""
    rows = measurement.rows
    if len(rows) > 1:
        _show_comparison(measurement)
        return
    console, row = Console(), rows[0]
    if row.oom:
        console.print(f"[red]Out of memory[/]: {row.oom}")
        return
    table = _table(f"{row.policy} at size {row.size}, synthetic windows", ("", ""))
    for name, value in _lines(row):
        table.add_row(name, value)
    console.print(table)
    for name, launches in measurement.launches.items():
        seen = measurement.kernels_started.get(name)
        console.print(launches_line(launches) + (f"; this GPU's profiler saw {seen:,}" if seen else ""))


def _lines(row: StepCost) -> list[tuple[str, str]]:
    lines = [("step, median", f"{row.step_s * 1e3:.4g} ms")]
    if row.times:
        lines += [(f"  {phase}", f"{seconds * 1e3:.4g} ms") for phase, seconds in row.times.phases_s.items()]
    if row.acting:
        lines += [("a decision, one observation", f"{row.acting.act_s * 1e3:.4g} ms")]
    if rates := row.rates:
        lines += [("observations per second", f"{rates.observations_per_s:.4g}")]
        lines += [("MFU, HFU", f"{rates.mfu:.1%}, {rates.hfu:.1%} of {rates.ceiling_flops_per_s:.3g} FLOP/s")]
    lines += [("peak memory", human_bytes(row.peak_memory_bytes))]
    if row.launched:
        lines += [("sent per process and step", human_bytes(max(row.launched.sent_bytes_per_step)))]
    if row.predicted:
        lines += [("predicted", memory_line(row.predicted))]
    return lines


def _show_comparison(measurement: Measurement) -> None:
    rows, kernels = measurement.rows, measurement.launches
    first = rows[0]
    table = _table(
        f"size {first.size}, batch {first.batch}, synthetic windows, ratios to {first.policy}",
        ("policy", "step", "x", "memory", "x", "FLOPs x", "kernels", "x", "acts", "x"),
    )
    for row in rows:
        if row.step_s is None:
            table.add_row(row.policy, "[red]out of memory[/]" if row.oom else "not measured")
            continue
        ratios = (row.step_relative, row.memory_relative, row.flops_relative)
        step, memory, flops = map(_ratio, ratios)
        time = f"{row.step_s * 1e3:.4g} ms"
        own, base = kernels.get(row.policy), kernels.get(first.policy)
        started = [f"{own.passes:,}", _ratio(own.passes / base.passes)] if own and base else ["", ""]
        acts = [f"{row.acting.act_s * 1e3:.4g} ms", _ratio(row.acting.act_relative)] if row.acting else []
        table.add_row(row.policy, time, step, human_bytes(row.peak_memory_bytes), memory, flops, *started, *acts)
    Console().print(table)


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table
