"""A panel of a page: a rate of several trainings against an amount, a line with its band per policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from horizon import framed
from markupsafe import Markup
from numbers_of_results import written

from robo_orl.report.layers import (
    Look,
    band,
    curve,
    figure,
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
from robo_orl.results.trainings import DesignEffect, Estimate, estimate

Trainings = Sequence[np.ndarray]  # of each training the values of its episodes


def rate_panel(
    arms: Mapping[str, Mapping[float, Trainings]],
    look: Look,
    amount: str,
    endpoint: Endpoint,
    effect: DesignEffect | None,
    caption: str,
    level: tuple[str, Trainings] | None = None,
) -> Markup:
    """A line per policy of arms: policy -> amount -> trainings, with 95 % bands, the amount on a logarithmic axis.

    Bands hold another training where there are three, else other episodes of the same ones. level: a name and the
    trainings of what needs none of the amount, a dashed line.
    """

    def made_of(own: Trainings) -> Estimate:
        return estimate(own, effect if len(own) > 2 else None, endpoint.is_binary)

    rows = [
        styled({"amount": n, "rate": made.mean, "low": made.low, "high": made.high, "tip":
                f"{written(policy)}, {n:g} {amount}: {100 * made.mean:.0f} %"}, policy, look)
        for policy, arm in arms.items() for n, own in sorted(arm.items()) for made in [made_of(own)]
    ]  # fmt: skip
    amounts = sorted({row["amount"] for row in rows})
    across, up = log_span(amounts, 220, 1.15), rate_span(180)
    x = across.encoding("amount", amount, values=amounts, grid=False, format="d")
    y = percent(up)
    last = {row["policy"]: row for row in rows}
    ends = [styled({"x": row["amount"], "y": row["rate"], "name": written(policy)}, policy, look)
            for policy, row in last.items()]  # fmt: skip
    layers = [band(x, y), curve(x, y), points(x, y)]
    words = [row["tip"] for row in rows]
    if level is not None:
        name, rate = level[0], made_of(level[1]).mean
        layers.insert(0, reference(x, y, [{"amount": end, "rate": rate} for end in (across.low, across.high)]))
        words.append(f"{name}: {100 * rate:.0f} %")
    room = label_room([written(policy) for policy in last])
    drawn = figure(across.pixels, up.pixels, [*layers, *names_at_the_edge(ends, across, up)], rows, (0, room))
    return framed(caption, drawing(drawn, f"{caption}. " + "; ".join(words)))
