"""The numbers of suites, read from results/ through `robo_orl.results.store`: what pages write between {{ and }}."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import median

from robo_orl.base.errors import UsageError
from robo_orl.config.presets import written_name
from robo_orl.results.budgets import read_budgets
from robo_orl.results.cost_record import CostRecord, CostRow
from robo_orl.results.intervals import PairedTest, paired_test, wilson
from robo_orl.results.record import CurvePoint, EpisodeRow, Record
from robo_orl.results.store import read_cells, read_costs
from robo_orl.sweep.cells import expand, load_suite

ROOT = Path(__file__).parents[2]
Board = tuple[str, str]  # task, regime


@cache
def cells(suite: str) -> dict[tuple[str, str, str, str, int], tuple[Record, list[EpisodeRow]]]:
    """(task, regime, policy, size, seed) -> the record of a cell and its episodes."""
    return {(r.task.name, r.regime, r.policy.name, r.size, r.seed): (r, rows) for r, rows in read_cells(folder(suite))}


@cache
def rows_of(suite: str) -> dict[tuple[str, str, str, str], list[Record]]:
    """(task, regime, policy, size) -> the records of a row, a training each, by their seeds."""
    rows: dict[tuple[str, str, str, str], list[Record]] = {}
    for (task, regime, policy, size, _), (found, _) in sorted(cells(suite).items(), key=lambda cell: cell[0]):
        rows.setdefault((task, regime, policy, size), []).append(found)
    return rows


def folder(suite: str) -> Path:
    """The results of a suite in this repository."""
    return ROOT / "results" / suite


@cache
def progress(suite: str) -> str:
    """'38 of 72 cells': the cells that were run, of those that all blocks of the suite ask for."""
    asked = len(expand(load_suite(suite)))
    return f"{len(cells(suite))} of {asked:,} cells" if folder(suite).is_dir() else f"none of its {asked:,} cells"


# -------------------------------------------------------------------------------------------------------------- success


def record(suite: str, task: str, regime: str, policy: str, size: str = "tiny", seed: int = 0) -> Record:
    """One record; KeyError where the cell was not run."""
    return cells(suite)[task, regime, policy, size, seed][0]


def k(suite: str, task: str, regime: str, policy: str, size: str = "tiny", seed: int = 0) -> int:
    """Successes."""
    return record(suite, task, regime, policy, size, seed).evaluation.success_once.k


def success(suite: str, task: str, regime: str, policy: str, size: str = "tiny", seed: int = 0) -> str:
    """'43 of 50 [74, 93] %'."""
    score = record(suite, task, regime, policy, size, seed).evaluation.success_once
    return f"{score.k} of {score.n} {_percent(score.low, score.high)} %"


def board(
    suite: str,
    policies: Sequence[str],
    boards: Sequence[Board],
    names: dict[str, str] | None = None,
    size: str = "tiny",
    **more: Callable[[str], str],
) -> str:
    """A table of successes with intervals: a row per policy, a column per (task, regime), then the columns `more`."""
    header = ["policy", *(f"{task} `{regime}`" for task, regime in boards), *more]
    rows = []
    for policy in policies:
        scores = [_score(suite, task, regime, policy, size) for task, regime in boards]
        rows.append(
            [(names or {}).get(policy, f"`{written(policy)}`"), *scores, *(column(policy) for column in more.values())]
        )
    return table(header, rows)


def seeds(
    suite: str, policies: dict[str, tuple[str, str]], boards: Sequence[Board], which: Sequence[int] = (0, 1, 2)
) -> str:
    """A row per policy name -> (label, size): successes of every training seed, and the interval of their sum."""
    rows = []
    for policy, (label, size) in policies.items():
        row = [label]
        for task, regime in boards:
            scores = [record(suite, task, regime, policy, size, seed).evaluation.success_once for seed in which]
            low, high = wilson(sum(s.k for s in scores), sum(s.n for s in scores))
            row.append(f"{', '.join(str(s.k) for s in scores)} {_percent(low, high)}")
        rows.append(row)
    return table(["", *(f"{task} `{regime}`" for task, regime in boards)], rows)


def value_error(suite: str, task: str, regime: str, policy: str, size: str = "tiny", seed: int = 0) -> str:
    """Mean absolute difference of a critic's values to the returns of the data; nothing where there is none."""
    found = cells(suite).get((task, regime, policy, size, seed))
    errors = found[0].value_errors if found else None
    return f"{errors.mean_absolute:.2f}" if errors else ""


def compared(suite: str, task: str, regime: str, first: str, second: str) -> PairedTest:
    """The exact paired test of two policies on the same start states."""
    one, two = (cells(suite)[task, regime, policy, "tiny", 0][1] for policy in (first, second))
    return paired_test([row.success_once for row in one], [row.success_once for row in two])


def row_of(suite: str, policy: str, boards: Sequence[Board]) -> str:
    """'48, 45, 21, 22': the successes of a policy on several boards."""
    return ", ".join(str(k(suite, task, regime, policy)) for task, regime in boards)


def methods(policies: Sequence[str], boards: Sequence[Board]) -> str:
    """The board of the suite `methods`, with value errors and the step time on a CPU."""
    return board(
        "methods",
        policies,
        boards,
        **{
            "value error": lambda policy: " / ".join(
                filter(None, (value_error("methods", *b, policy) for b in boards))
            ),
            "step": lambda policy: _step_of("methods", policy),
        },
    )


def retrained() -> str:
    """How far the trainings of one row lie apart, over the rows of `controls`, 100 episodes each."""
    counts = [[found.evaluation.success_once.k for found in row] for row in rows_of("controls").values()]
    apart = [max(ks) - min(ks) for ks in counts if len(ks) > 1]
    return (
        f"Trainings of one row of `controls` are up to {max(apart)} of 100 episodes apart; half of its"
        f" {len(apart)} rows with several have {median(apart):.0f} or more between them."
    )


@cache
def written(policy: str) -> str:
    """The name to type for a stored one: `qc_separate` is `qc+separate`."""
    return written_name("policies", policy)


def _score(suite: str, task: str, regime: str, policy: str, size: str) -> str:
    found = cells(suite).get((task, regime, policy, size, 0))
    if found is None:
        return ""
    score = found[0].evaluation.success_once
    return f"{score.k} {_percent(score.low, score.high)}"


def _percent(low: float, high: float) -> str:
    return f"[{100 * low:.0f}, {100 * high:.0f}]"


# ----------------------------------------------------------------------------------------------------------------- cost

ONE_PROCESS = "one process"


@cache
def costs(suite: str) -> dict[tuple[str, str, str], tuple[CostRow, CostRecord]]:
    """(engine, size, policy) -> the measured step."""
    return {
        (_engine(record), row.size, row.policy): (row, record)
        for record in read_costs(folder(suite))
        for row in record.rows
    }


def _engine(record: CostRecord) -> str:
    if not record.launched:
        return ONE_PROCESS
    return f"ZeRO-{record.zero}" if record.zero else "DDP"


def cost_row(suite: str, size: str, policy: str, engine: str = ONE_PROCESS) -> CostRow:
    """The step of one policy; KeyError where it was not measured."""
    return costs(suite)[engine, size, policy][0]


def step_ratio(suite: str, size: str, policy: str) -> str:
    """Step time over that of the base policy."""
    return f"{cost_row(suite, size, policy).step_relative:.2f}"


def memory_ratio(suite: str, size: str, policy: str) -> str:
    """Peak memory over that of the base policy."""
    return f"{cost_row(suite, size, policy).memory_relative:.2f}"


def flops_ratio(suite: str, size: str, policy: str) -> str:
    """FLOPs over those of the base policy."""
    return f"{cost_row(suite, size, policy).flops_relative:.2f}"


def cost_board(suite: str, policies: Sequence[str], sizes: Sequence[str]) -> str:
    """A table of step time and memory ratios: a row per policy, a column per size; the base is absolute."""
    rows = [[f"`{written(policy)}`", *(_cost(suite, size, policy) for size in sizes)] for policy in policies]
    return table(["policy", *sizes], rows)


def engines_board(suite: str, policies: Sequence[str], size: str) -> str:
    """Per engine the step time ratio, the peak memory of a process and the error of its prediction in percent."""
    engines = list(dict.fromkeys(engine for engine, *_ in costs(suite)))
    engines.sort(key=lambda engine: (engine != ONE_PROCESS, engine))
    rows = []
    for policy in policies:
        cells_of_row = []
        for engine in engines:
            row = cost_row(suite, size, policy, engine)
            error = 100 * (row.predicted.peak_bytes / row.peak_memory_bytes - 1)
            cells_of_row.append(f"{row.step_relative:.2f}, {_bytes(row.peak_memory_bytes)} ({error:+.1f})")
        rows.append([f"`{written(policy)}`", *cells_of_row])
    return table(["policy", *engines], rows)


def prediction_board(suite: str, policies: Sequence[str], sizes: Sequence[str]) -> str:
    """Predicted over measured peak memory in percent: a row per policy, a column per size."""
    rows = []
    for policy in policies:
        cells_of_row = []
        for size in sizes:
            row = cost_row(suite, size, policy)
            measured = row.peak_memory_bytes
            cells_of_row.append(f"{100 * (row.predicted.peak_bytes / measured - 1):+.1f}" if measured else "")
        rows.append([f"`{written(policy)}`", *cells_of_row])
    return table(["policy", *sizes], rows)


def machine(suite: str, size: str) -> str:
    """'NVIDIA H100 80GB HBM3, torch 2.11.0+cu130, 64 observations a step'."""
    record = next(record for (_, s, _), (_, record) in costs(suite).items() if s == size)
    device = record.hardware.accelerator or f"{record.hardware.cores} cores of {record.hardware.cpu}"
    return f"{device}, torch {record.versions['torch']}, {record.batch_size} observations a step"


def _cost(suite: str, size: str, policy: str) -> str:
    row, record = costs(suite).get((ONE_PROCESS, size, policy), (None, None))
    if row is None:
        return ""
    if row.oom:
        return "out of memory"
    if policy == record.base:
        return f"{1e3 * row.step_s:.0f} ms, {_bytes(row.peak_memory_bytes)}"
    step = "" if row.step_relative is None else f"{row.step_relative:.2f}, "
    return f"{step}{row.memory_relative:.2f}"


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count > 1e9 else f"{count / 1e6:.0f} MB"


def _step_of(suite: str, policy: str) -> str:
    found = costs(suite).get((ONE_PROCESS, "tiny", policy))
    return f"{found[0].step_relative:.2f}" if found else ""


# --------------------------------------------------------------------------------------------------------------- tables


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def budgets(suite: str) -> str:
    """A row per training of a suite with learning curves: the step after which it gained nothing, by each measure."""
    try:
        found = read_budgets([folder(suite)])
    except UsageError:
        return f"None of its cells was run yet: `robo-orl bench --suite {suite}`."
    rows = []
    for b in found:
        steps = [_step(step) for step in (b.by_loss, b.by_success)]
        rows.append([f"{b.task} `{b.regime}`", f"`{written(b.policy)}`", b.size, b.seed, *steps, b.sentence])
    answers = table(["data", "policy", "size", "seed", "by held-out loss", "by success", "answer"], rows)
    return f"{progress(suite)} were run.\n\n{answers}"


def learning_curves(suite: str) -> str:
    """A row per step, a column per training: held-out loss of the policy, and success on start states for tuning."""
    if not folder(suite).is_dir():
        return ""
    curves = {key: record.curve for key, (record, _) in sorted(cells(suite).items()) if record.curve is not None}
    steps = sorted({point.step for curve in curves.values() for point in curve.points})
    header = ["step", *(f"{task} `{regime}` `{written(policy)}` {size}" for task, regime, policy, size, _ in curves)]
    by_step = [{point.step: point for point in curve.points} for curve in curves.values()]
    return table(header, [[f"{step:,}", *(_point(points.get(step)) for points in by_step)] for step in steps])


def _point(point: CurvePoint | None) -> str:
    if point is None:
        return ""
    losses, s = point.losses or {}, point.success
    loss = losses.get("actor/loss", losses.get("loss"))
    return "; ".join(filter(None, (f"{loss:.4f}" if loss is not None else "", f"{s.k} of {s.n}" if s else "")))


def _step(step: int | None) -> str:
    return "-" if step is None else f"{step:,}"


FUNCTIONS = {
    f.__name__: f
    for f in (
        progress, record, k, success, board, seeds, value_error, compared, row_of, methods,
        retrained, step_ratio, memory_ratio, flops_ratio, cost_board, engines_board, prediction_board, machine,
        written, table, budgets, learning_curves,
    )
}  # fmt: skip
