"""The horizon page: stages of the shipped records, fits that may say 'cannot tell', and processes of known values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from markupsafe import Markup
from numbers_of_benchmarks import benchmark
from numbers_of_results import cells, table, written
from trainings import endpoint_of, entry, values_of

from robo_orl.report.layers import (
    band,
    curve,
    figure,
    intervals,
    label_room,
    log_span,
    names_at_the_edge,
    percent,
    points,
    rate_span,
    reference,
    styled,
)
from robo_orl.report.vega import drawing
from robo_orl.results.fits import Interval, PowerFit, Size, power_fit, success_fit
from robo_orl.results.intervals import wilson
from robo_orl.results.record import Record
from robo_orl.results.stage_fits import StageFit, chains_of, stage_fits
from robo_orl.results.trainings import design_effect

# --------------------------------------------------------------------------------------------------------------- stages


@cache
def fits_of_stages(suite: str, regime: str, policies: tuple[str, ...]) -> list[StageFit]:
    """The stage fits of a suite; the first policy is the control."""
    found = list(cells(suite).values())
    return stage_fits({policy: chains_of(found, policy, regime) for policy in policies}, policies[0])


def stage_effects(suite: str, regime: str, policies: Sequence[str]) -> str:
    """A row per policy: the log odds of a later stage, of a chain twice as long, of its first stage, and what of the
    last is beyond the control."""
    header = ["policy", "a stage later", "a chain twice as long", "its stage 1 alone", "stage 1, beyond the control"]
    rows = [
        [
            f"`{written(f.policy)}`",
            f.per_stage,
            f.per_doubling,
            f.first_stage,
            f.first_beyond_control or "is the control",
        ]
        for f in fits_of_stages(suite, regime, tuple(policies))
    ]
    return table(header, rows)


def beyond(suite: str, regime: str, control: str, policy: str) -> Interval:
    """The log odds of a policy's stage 1 for each doubling of the chain, less the control's."""
    return fits_of_stages(suite, regime, (control, policy))[1].first_beyond_control


def stage_counts(suite: str, regime: str, policies: Sequence[str], stage: int = 1) -> str:
    """A row per policy: k of n of a stage by the length of the chain."""
    fits = fits_of_stages(suite, regime, tuple(policies))
    lengths = [k for k in fits[0].counts if k >= stage]
    rows = []
    for fit in fits:
        counts = [fit.counts[k][stage - 1] for k in lengths]
        rows.append([f"`{written(fit.policy)}`", *(_counted(c.k, c.n) for c in counts)])
    return table(["policy", *(f"{k} stage{'s' if k > 1 else ''}" for k in lengths)], rows)


def powers(suite: str, regime: str, policies: Sequence[str]) -> str:
    """A row per policy: the successes that p^k of stage 1 of the shortest chain gives, beside those measured."""
    fits = fits_of_stages(suite, regime, tuple(policies))
    lengths = list(fits[0].counts)
    rows = []
    for fit in fits:
        first = fit.counts[lengths[0]][0]
        n = first.n
        whole = [f"{n * first.rate**k:.0f} / {fit.counts[k][-1].k}" for k in lengths[1:]]
        rows.append([f"`{written(fit.policy)}`", f"{first.k} of {n}", *whole])
    return table(["policy", "p", *(f"{k} stages: p^k / measured" for k in lengths[1:])], rows)


def stages_say(suite: str, regime: str, policies: Sequence[str]) -> str:
    """The plain sentences of the fits."""
    control, *others = fits_of_stages(suite, regime, tuple(policies))
    named = {fit.policy: f"`{written(fit.policy)}`" for fit in (control, *others)}
    sentences = [
        f"Stage 1 of {named[control.policy]}, which has no critic, {control.says()}"
        f" (log odds {control.first_stage} for every doubling)."
    ]
    sentences += [f"That of {named[fit.policy]} {fit.says()} ({fit.first_beyond_control})." for fit in others]
    if control.trainings < 2:
        sentences.append("One training each: the intervals cover start states, and no other training.")
    return " ".join(sentences)


def _counted(k: int, n: int) -> str:
    low, high = wilson(k, n)
    return f"{k} of {n} [{100 * low:.0f}, {100 * high:.0f}]"


# --------------------------------------------------------------------------------------------------------- value errors


def value_error_fit(suite: str, regime: str, policy: str, tasks: Sequence[str]) -> PowerFit:
    """The exponent of a critic's value error against the decisions allowed."""
    sizes = []
    for task in tasks:
        found = {s: r for (t, g, p, _, s), (r, _) in cells(suite).items() if (t, g, p) == (task, regime, policy)}
        errors = [found[seed].value_errors.mean_absolute for seed in sorted(found)]
        sizes.append(Size.of(next(iter(found.values())).task.horizon, errors))
    return power_fit(sizes)


def horizon_board(suite: str, regime: str, tasks: Sequence[str], policies: Sequence[str], endpoint: str) -> str:
    """A row per policy, a column per task: the number of every training with its interval."""
    chosen = endpoint_of(suite, endpoint)
    columns, header = [], ["policy"]
    for task in tasks:
        values = {policy: values_of(suite, task, regime, policy, endpoint) for policy in policies}
        effect = design_effect([own for own in values.values() if own])
        columns.append({policy: entry(own, chosen, effect) if own else "" for policy, own in values.items()})
        horizon = next(r.task.horizon for (t, g, *_), (r, _) in cells(suite).items() if (t, g) == (task, regime))
        header.append(f"{task}, {horizon:,} decisions")
    return table(header, [[f"`{written(policy)}`", *(column[policy] for column in columns)] for policy in policies])


def success_slopes(suite: str, regime: str, tasks: Sequence[str], policies: Sequence[str]) -> str:
    """A row per policy: the log odds of success for each doubling of the decisions, and what the fit says of none."""
    rows = []
    for policy in policies:
        held = {record.task.horizon: record for task in tasks for record in _records(suite, task, regime, policy)}
        values = [values_of(suite, task, regime, policy, "success") for task in tasks]
        fit = success_fit([Size.of(h, own) for h, own in zip(held, values, strict=True)])
        slope = Interval(*(np.log(2) * bound for bound in (fit.slope.value, fit.slope.low, fit.slope.high)))
        rows.append([f"`{written(policy)}`", slope, f"{fit.outcome.kind}: {fit.outcome.reason}"])
    return table(["policy", "log odds a doubling of the decisions", "is it 0?"], rows)


def own_value_fits(suite: str, regime: str, tasks: Sequence[str], policies: Sequence[str]) -> str:
    """A row per critic: at each horizon its error against what its own policy gets from stored states, its bias there,
    and its error against the data's returns from the same states; then the exponent of the first."""
    rows = []
    for policy in policies:
        held = {task: _records(suite, task, regime, policy) for task in tasks}
        sizes = [Size.of(own[0].task.horizon, [r.own_policy.own.mean_absolute for r in own]) for own in held.values()]
        fit = power_fit(sizes)
        rows.append([f"`{written(policy)}`", *(_own_value(own) for own in held.values()), fit.slope, fit.outcome.kind])
    return table(["critic", *tasks, "exponent", "1 or 2?"], rows)


def _own_value(records: Sequence[Record]) -> str:
    """'0.05, +0.02, 0.07': means over trainings."""
    held = [(r.own_policy.own.mean_absolute, r.own_policy.own.bias, r.own_policy.data.mean_absolute) for r in records]
    own, bias, data = np.mean(held, 0)
    return f"{own:.3f}, {bias:+.3f}, {data:.3f}"


def _records(suite: str, task: str, regime: str, policy: str) -> list[Record]:
    """The records of every training, in the order of the seeds."""
    keys = [key for key in sorted(cells(suite)) if key[:3] == (task, regime, policy)]
    return [cells(suite)[key][0] for key in keys]


def value_error_fits(suite: str, regime: str, tasks: Sequence[str], policies: Sequence[str]) -> str:
    """A row per critic: the exponent, the verdict between 1 and 2, and what grows beside the horizon."""
    rows = []
    for policy in policies:
        fit = value_error_fit(suite, regime, policy, tasks)
        rows.append([f"`{policy}`", fit.slope, f"{fit.outcome.kind}: {fit.outcome.reason}", fit.sizes])
    return table(["critic", "exponent of the value error", "1 or 2?", "horizons"], rows)


def value_exponents(suite: str, regime: str, tasks: Sequence[str], policies: Sequence[str]) -> str:
    """'1.02 [0.50, 1.54] for `iql`': the exponents alone."""
    fits = {policy: value_error_fit(suite, regime, policy, tasks) for policy in policies}
    return " and ".join(f"{fit.slope} for `{written(policy)}`" for policy, fit in fits.items())


def grows_beside(suite: str, regime: str, tasks: Sequence[str], policy: str = "iql") -> str:
    """A row per task: what is not held equal while the chain grows."""
    rows = []
    for task in tasks:
        record = cells(suite)[task, regime, policy, "tiny", 0][0]
        data, horizon = record.data, record.task.horizon
        gamma = record.value_errors.gamma if record.value_errors else 0.0
        passes = record.train.steps * record.train.batch_size / data.frames
        rows.append(
            [task, horizon, f"{100 * (1 - data.success.rate):.0f} %", f"{gamma:g}", f"{gamma**10:.2f}", f"{passes:.1f}"]
        )
    return table(["task", "decisions", "failures in the data", "gamma", "gamma^10", "passes over the data"], rows)


# --------------------------------------------------------------------------------------------------------------- rung 0


def rungs() -> str:
    """A row per arm of benchmarks/horizon_rungs.json: the exponent of the tolerable error, derived and measured."""
    result = benchmark("horizon_rungs")
    low, high = result["settings"]["derived"]
    first, last = result["settings"]["horizons"][0], result["settings"]["horizons"][-1]
    header = [
        "process, errors",
        "derived",
        f"measured, H {low} to {high}",
        f"H {first} to {last:,}",
        f"at H = {last:,}",
    ]
    rows = []
    for name, arm in result["arms"].items():
        fit, expected = arm["fits"]["tolerated"], arm["expected"]["tolerated"]
        rows.append(
            [name, "no power law" if expected is None else f"{expected:.2f}", _interval(fit["slope_derived"]),
             _interval(fit["slope"]), _prediction(arm["prediction"])]
        )  # fmt: skip
    return table(header, rows)


def rung_parts() -> str:
    """A row per arm: exponents of the error's common part and of the difference that changes the ranking."""
    rows = []
    for name, arm in benchmark("horizon_rungs")["arms"].items():
        if "common" in arm["fits"] and arm["expected"]["common"] is not None:
            derived = arm["expected"]
            rows.append([name, f"{derived['common']:g} / {_interval(arm['fits']['common']['slope'])}",
                         f"{derived['difference']:g} / {_interval(arm['fits']['difference']['slope'])}"])  # fmt: skip
    return table(["process, errors", "common part: derived / measured", "difference: derived / measured"], rows)


def rung_slope(name: str, over: str = "slope") -> str:
    """'-1.16 [-1.16, -1.16]': the measured exponent of one arm; over: slope or slope_derived."""
    return _interval(benchmark("horizon_rungs")["arms"][name]["fits"]["tolerated"][over])


def rung_factor(one: str, several: str) -> str:
    """'2.0 to 2.3 (derived: 2.1 to 2.8)': eps* of one arm over that of another, over the horizons of the derivation."""
    result = benchmark("horizon_rungs")
    low, high = result["settings"]["derived"]
    ratios = [
        np.median(b["tolerated"]) / np.median(a["tolerated"])
        for a, b in zip(*(result["arms"][name]["rows"] for name in (one, several)), strict=True)
        if low <= a["horizon"] <= high
    ]
    derived = sorted({f"{value:g}" for value in result["arms"][several]["expected"]["factor"]})
    return f"{min(ratios):.1f} to {max(ratios):.1f} (derived: {' to '.join(derived)})"


def rung_derived(name: str) -> str:
    """'-1.12': the exponent of one arm that was derived."""
    return f"{benchmark('horizon_rungs')['arms'][name]['expected']['tolerated']:.2f}"


def rung_misses() -> str:
    """'5 of 8 predictions of the largest horizon missed, by up to 12 %': of the arms that have a power law."""
    arms = [a for a in benchmark("horizon_rungs")["arms"].values() if a["expected"]["tolerated"] is not None]
    off = [abs(a["prediction"]["measured"] / a["prediction"]["value"]["value"] - 1) for a in arms]
    missed = sum(not a["prediction"]["inside"] for a in arms)
    return f"{missed} of {len(arms)} predictions of the largest horizon missed, by up to {100 * max(off):.0f} %"


def rung_settings() -> str:
    """'8 seeds of 400 error functions each'."""
    settings = benchmark("horizon_rungs")["settings"]
    return f"{settings['seeds']} seeds of {settings['draws']} error functions each"


def segments() -> str:
    """The value of a risk that is worth 1, as backups of n steps and chunks of n actions find it."""
    result = benchmark("horizon_rungs")["segments"]
    ways = list(result["rows"][0]["values"])
    rows = [[row["n"], *(f"{row['values'][way]:.3g}" for way in ways)] for row in result["rows"]]
    return table(["n", *ways], rows)


def segments_setting() -> str:
    """The process of `segments` in a sentence."""
    at = benchmark("horizon_rungs")["segments"]
    return (
        f"{at['decisions']} decisions lead to {at['optimum']:g} if all are right; the data are right in"
        f" {100 * at['right']:.0f} % of them; {at['sure']:g} is to be had for sure."
    )


def lock_fits() -> str:
    """A row per learner on the combination lock: how each error grows, and whether the longest lock was predicted."""
    result = benchmark("lock")
    names = {"q_error": "Q", "common_error": "common part", "difference_error": "difference"}
    rows = []
    for arm, errors in result["fits"].items():
        for error, fit in errors.items():
            rows.append(
                [arm, names[error], _interval(fit["slope"]), fit["outcome"]["kind"], _prediction(fit["prediction"])]
            )
    return table(["learner", "error of", "exponent", "1 or 2?", "the longest lock"], rows)


def _interval(values: dict[str, float]) -> str:
    return str(Interval(**values))


def _prediction(prediction: dict[str, Any] | None) -> str:
    if prediction is None:
        return ""
    low, high = (prediction["value"][end] for end in ("low", "high"))
    verdict = "inside" if low <= prediction["measured"] <= high else "outside"
    return f"predicted {low:.3g} to {high:.3g}, then {prediction['measured']:.3g}: {verdict}"


# -------------------------------------------------------------------------------------------------------------- figures


def stage_figure(suite: str, regime: str, policies: Sequence[str]) -> str:
    """A panel per policy: success of stage 1 against the length of the chain, over the control's dashed line."""
    control, *others = fits_of_stages(suite, regime, tuple(policies))
    critics = {r.policy.name for r, _ in cells(suite).values() if r.policy.config["critic"] is not None}
    return drawn([_stage_panel(fit, control, fit.policy in critics) for fit in (control, *others)])


def _stage_panel(fit: StageFit, control: StageFit, critic: bool) -> Markup:
    own, behind = _stage_rows(fit, critic), _stage_rows(control, False)
    x = log_span(fit.counts, 184).encoding("k", "stages in the chain", values=list(fit.counts), grid=False)
    y = percent(rate_span(120), ticks=(0, 0.5, 1))
    layers = [band(x, y, behind), reference(x, y, behind), curve(x, y), intervals(x, y), points(x, y)]
    words = ", ".join(f"{row['k']} stage{'s' if row['k'] > 1 else ''}: {row['tip']}" for row in own)
    picture = drawing(figure(184, 120, layers, own), f"Stage 1 of {fit.policy}: {words}")
    return framed(f"{written(fit.policy)}: stage 1", picture)


def _stage_rows(fit: StageFit, critic: bool) -> list[dict[str, Any]]:
    look = {fit.policy: ("circle", critic)}
    rows = [(k, stages[0], *wilson(stages[0].k, stages[0].n)) for k, stages in fit.counts.items()]
    return [styled({"k": k, "rate": c.rate, "low": low, "high": high, "tip": f"{c.k} of {c.n}"}, fit.policy, look)
            for k, c, low, high in rows]  # fmt: skip


def rung_figure() -> str:
    """The tolerable error against the horizon, on logarithmic axes."""
    arms = benchmark("horizon_rungs")["arms"]
    shown = {name: [(r["horizon"], float(np.median(r["tolerated"]))) for r in arm["rows"]] for name, arm in arms.items()
             if arm["expected"]["tolerated"] is not None}  # fmt: skip
    look = {name: ("circle", not name.startswith("cloning")) for name in shown}
    across = log_span([h for own in shown.values() for h, _ in own], 284, 1.1)
    up = log_span([value for own in shown.values() for _, value in own], 278, 1.4)
    horizons = [h for h, _ in next(iter(shown.values()))]
    x = across.encoding("h", "horizon H, decisions", values=horizons[::2], grid=False, format=",")
    y = up.encoding("error", None, format=".0e", domain=False, ticks=False)
    rows = [styled({"h": h, "error": value, "tip": f"{name}, H {h}: {value:.3g}"}, name, look)
            for name, own in shown.items() for h, value in own]  # fmt: skip
    ends = [styled({"x": own[-1][0], "y": own[-1][1]}, name, look) for name, own in shown.items()]
    layers = [curve(x, y), points(x, y), *names_at_the_edge(ends, across, up)]
    words = "; ".join(f"{name}: {own[0][1]:.2g} to {own[-1][1]:.2g}" for name, own in shown.items())
    picture = drawing(figure(across.pixels, up.pixels, layers, rows, (0, label_room(shown))),
                      f"Tolerable error per backup against the horizon. {words}")  # fmt: skip
    return drawn([framed("Error per backup at which half of the greedy policies still succeed", picture)])


def framed(caption: str, picture: Markup) -> Markup:
    return Markup("<figure><figcaption>{}</figcaption>{}</figure>").format(caption, picture)


def drawn(figures: Sequence[Markup]) -> str:
    return str(Markup('<div class="drawn">{}</div>').format(Markup("").join(figures)))


FUNCTIONS = {
    f.__name__: f
    for f in (
        beyond, horizon_board, success_slopes, own_value_fits, stage_effects, stage_counts, powers,
        stages_say, value_error_fits, value_exponents, grows_beside, rungs, rung_parts, rung_slope,
        rung_factor, rung_derived, rung_misses, rung_settings, segments, segments_setting, lock_fits,
        stage_figure, rung_figure,
    )
}  # fmt: skip
