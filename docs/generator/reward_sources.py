"""What a source of rewards is worth: success of policies that learned from it against its price, and its quality."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache

from horizon import drawn, framed
from markupsafe import Markup
from numbers_of_results import cells, table, written
from panels import rate_panel
from trainings import declared, endpoint_of, entry, number

from robo_orl.config.regimes import without_reward
from robo_orl.report.layers import (
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
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.record import Count, DataRef
from robo_orl.results.trainings import Estimate, design_effect, estimate

Board = tuple[str, str, str]  # suite, task, regime
KINDS = {"success": "success bits", "progress": "stage marks"}  # sources whose labels stand on an axis


def reward_rows(suite: str, task: str, regime: str, policy: str, sources: Sequence[str] = ()) -> str:
    """A row per source, of those named where some are: its annotation, and what the trainings with it solved."""
    rows, success = [], endpoint_of(suite, "success")
    for source, (data, values, made) in _named((suite, task, regime), policy, sources).items():
        each = ", ".join(number(own, success) for own in values)
        interval = f"[{100 * made.low:.0f}, {100 * made.high:.0f}] %"
        rows.append([f"`{source}`", _annotation(data), _seconds(data), f"{each} {interval}"])
    title = f"{success.title} of {_episodes(suite)}"
    return table(["source", "annotation", "seconds of annotation", title], rows)


def reward_arms(suite: str, task: str, regime: str, policies: Sequence[str], endpoints: Sequence[str]) -> str:
    """A row per source and policy in the order of the price, a column per endpoint: every training, and the interval.

    The design effect is that of all rows of an endpoint.
    """
    chosen = [one for one in declared(suite) if one.name in endpoints]
    rows = _arms((suite, task, regime), policies, chosen)
    effects = [design_effect([values[index] for _, _, values in rows]) for index in range(len(chosen))]
    made = []
    for data, policy, values in rows:
        name, price = "none" if data.reward.source == "constant" else data.reward.name, _seconds(data)
        entries = [entry(own, one, effect) for own, one, effect in zip(values, chosen, effects, strict=True)]
        made.append([f"`{name}`", price, f"`{written(policy)}`", *entries])
    return table(["source", "seconds of annotation", "policy", *(one.title for one in chosen)], made)


def _arms(board: Board, policies: Sequence[str], endpoints: Sequence[Endpoint]) -> list[tuple[DataRef, str, list]]:
    """(data, policy, per endpoint the trainings) of every source that one of the policies learned from."""
    suite, task, regime = board
    found: dict[tuple[str, str], tuple[DataRef, list]] = {}
    for key in sorted(cells(suite)):
        record, rows = cells(suite)[key]
        if (key[0], without_reward(key[1])) != (task, regime) or key[2] not in policies:
            continue
        _, values = found.setdefault((key[1], key[2]), (record.data, [[] for _ in endpoints]))
        for own, endpoint in zip(values, endpoints, strict=True):
            own.append(endpoint.values(rows, record.task.horizon))
    ordered = sorted(found, key=lambda key: (_price(found[key][0]), key[0], policies.index(key[1])))
    return [(found[key][0], key[1], found[key][1]) for key in ordered]


def reward_quality(suite: str, task: str, regime: str, policy: str, sources: Sequence[str] = ()) -> str:
    """A row per source, of those named where some are: its quality on held-out episodes."""
    rows = []
    for source, (data, _, _) in _named((suite, task, regime), policy, sources).items():
        q = data.quality
        if q is None:
            rows.append([f"`{source}`", *["all labelled"] * 6])
            continue
        numbers = [_number(value) for value in (q.auc, q.auc_of_returns, q.tau_stage)]
        rows.append([f"`{source}`", *numbers, _count(q.false_successes), _count(q.missed_successes), _count(q.hacked)])
    header = ["source", "AUC of the score", "AUC of the return", "tau with stages", "failures called a success",
              "successes missed", "failures with a high return"]  # fmt: skip
    return table(header, rows)


def reward_successes(suite: str, task: str, regime: str, policy: str, source: str) -> int:
    """The successes of all trainings with a source."""
    _, values, _ = _sources((suite, task, regime), policy)[source]
    return int(sum(own.sum() for own in values))


def reward_figure(suite: str, task: str, regime: str, policy: str, sources: Sequence[str] = ()) -> str:
    """Success against seconds of annotation, a line per kind of source, of those named where some are; those without
    annotation are dashed lines."""
    held = _named((suite, task, regime), policy, sources)
    paid = {name: row for name, row in held.items() if _price(row[0])}
    look = dict.fromkeys(held, ("circle", False))
    across, up = log_span([_price(data) for data, _, _ in paid.values()], 300, 1.5), rate_span(220)
    x, y = (
        across.encoding("seconds", "seconds of annotation, on a logarithmic axis", format="~s", grid=False),
        percent(up),
    )
    spots = [styled({"seconds": _price(data), "rate": made.mean, "low": made.low, "high": made.high, "name": name,
                     "tip": f"{name}: {100 * made.mean:.0f} %"}, data.reward.source, look)
             for name, (data, _, made) in paid.items()]  # fmt: skip
    ends = [
        styled({"x": spot["seconds"], "y": spot["rate"], "name": spot["name"]}, spot["policy"], look) for spot in spots
    ]
    layers = [curve(x, y), intervals(x, y), points(x, y), *names_at_the_edge(ends, across, up)]
    for _, _, made in (row for name, row in held.items() if name not in paid):
        layers.insert(0, reference(x, y, [{"seconds": end, "rate": made.mean} for end in (across.low, across.high)]))
    words = "; ".join(f"{name} {100 * made.mean:.0f} %" for name, (_, _, made) in held.items())
    picture = drawing(
        figure(across.pixels, up.pixels, layers, spots, (0, label_room(held))), f"Success by source: {words}"
    )
    return drawn([framed(f"{task} {regime}, {policy}: success, percent", Markup(picture))])


def reward_curves(suite: str, task: str, regime: str, policies: Sequence[str], endpoint: str) -> str:
    """A rate against labels, a panel per source, a line per policy; dashed, cloning of everything, which needs none.

    Labels are success bits, or episodes with stage marks.
    """
    board, chosen = (suite, task, regime), endpoint_of(suite, endpoint)
    rows = _arms(board, policies, [chosen])
    effect = design_effect([own for _, _, (own,) in rows])
    level = ("bc", next(own for _, _, (own,) in _arms(board, ["bc"], [chosen])))
    panels = []
    for source, arms in _lines(rows, lambda data: data.annotation.labels).items():
        look = {policy: ("circle", with_critic) for policy, with_critic in _kinds(board, arms).items()}
        caption = f"{chosen.title}, {KINDS[source]}, percent"
        panels.append(rate_panel(arms, look, "labels", chosen, effect, caption, level))
    return drawn(panels)


def reward_prices(suite: str, task: str, regime: str, policies: Sequence[str], endpoint: str) -> str:
    """The same rates against seconds of annotation, a panel per policy with a line per source."""
    board, chosen = (suite, task, regime), endpoint_of(suite, endpoint)
    rows = _arms(board, policies, [chosen])
    effect, sources = design_effect([own for _, _, (own,) in rows]), _lines(rows, _price)
    panels = []
    for policy, with_critic in _kinds(board, policies).items():
        lines = {KINDS[source]: arms[policy] for source, arms in sources.items()}
        look = dict(zip(lines, (("circle", with_critic), ("square", with_critic)), strict=True))
        caption = f"{chosen.title}, {written(policy)}, percent"
        panels.append(rate_panel(lines, look, "seconds of annotation", chosen, effect, caption))
    return drawn(panels)


def _lines(
    rows: Sequence[tuple[DataRef, str, list]], amount: Callable[[DataRef], float]
) -> dict[str, dict[str, dict[float, list]]]:
    """source -> policy -> amount -> the trainings, of the rows whose source has labels that are counted on an axis."""
    found: dict[str, dict[str, dict[float, list]]] = {source: {} for source in KINDS}
    for data, policy, (own,) in rows:
        if data.reward.source in KINDS:
            found[data.reward.source].setdefault(policy, {})[amount(data)] = own
    return {source: arms for source, arms in found.items() if arms}


def _kinds(board: Board, policies: Iterable[str]) -> dict[str, bool]:
    """policy -> whether a trained critic has a say."""
    held = {key[2]: record for key, (record, _) in cells(board[0]).items()}
    return {policy: held[policy].policy.config["critic"] is not None for policy in policies}


@cache
def _sources(board: Board, policy: str) -> dict[str, tuple[DataRef, list, Estimate]]:
    """Per source of the board: its data, the values of every training, and their mean with the interval.

    In the order of the price. The design effect is that of all sources: they share the objective and the start states.
    """
    rows = _arms(board, [policy], [endpoint_of(board[0], "success")])
    effect = design_effect([values for _, _, (values,) in rows])
    return {data.reward.name: (data, values, estimate(values, effect if len(values) > 2 else None, True))
            for data, _, (values,) in rows}  # fmt: skip


def _named(board: Board, policy: str, sources: Sequence[str]) -> dict[str, tuple[DataRef, list, Estimate]]:
    """Those of the sources that are named; all where none is."""
    return {name: row for name, row in _sources(board, policy).items() if not sources or name in sources}


def _episodes(suite: str) -> int:
    return max(record.evaluation.episodes for record, _ in cells(suite).values())


def _price(data: DataRef) -> float:
    """Seconds, as measured or as assumed."""
    return data.annotation.seconds_assumed if data.annotation.seconds is None else data.annotation.seconds


def _annotation(data: DataRef) -> str:
    made = data.annotation
    names = {
        "success": "success bits",
        "stages": "episodes with stage marks",
        "pairs": "pairs",
        "demonstrations": "demonstrations",
    }
    return f"{made.labels} {names[made.kind]}" if made.labels else "none"


def _seconds(data: DataRef) -> str:
    made = data.annotation
    return f"{made.seconds_assumed:.0f} (assumed)" if made.seconds is None and made.labels else f"{_price(data):.0f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _count(count: Count | None) -> str:
    return "" if count is None else f"{count.k} of {count.n}"


FUNCTIONS = {
    f.__name__: f
    for f in (reward_rows, reward_arms, reward_quality, reward_successes, reward_figure, reward_curves, reward_prices)
}
