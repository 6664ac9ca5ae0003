"""The figure of the largest model that trains on a card, per method: predicted, a panel a card.

A row: {"policy", "card", "usable_bytes", "batch", "precision", "largest": measure/largest.py's answer or None}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from robo_orl.report.svg import drawing, shortened, tag, text

LEFT, WIDTH, STEP = 150.0, 120.0, 22.0


def section(rows: Sequence[dict[str, Any]]) -> Markup:
    """Heading, note and panels; empty without rows."""
    if not rows:
        return Markup("")
    cards = list(dict.fromkeys((row["card"], row["usable_bytes"]) for row in rows))
    most = max([row["largest"]["backbone_parameters"] for row in rows if row["largest"]] + [1])
    panels = [_panel(card, usable, [row for row in rows if row["card"] == card], most) for card, usable in cards]
    first = rows[0]
    note = (
        f"Predicted, on one card without ZeRO or checkpointing: {first['batch']} observations a step, "
        f"{first['precision']}. Numbers are those of the policy's backbone, which is what acts; a layout that keeps "
        "other backbones beside it has room for a smaller one. The dial is the depth, in brackets."
    )
    return tag(
        "section", tag("h2", "The largest model that fits"), tag("p", note, class_="note"),
        tag("div", *panels, class_="panels large"), id="largest",
    )  # fmt: skip


def _panel(card: str, usable: int, rows: Sequence[dict[str, Any]], most: int) -> Markup:
    marks: list[Markup] = []
    for index, row in enumerate(rows):
        y, found = index * STEP, row["largest"]
        marks.append(text(LEFT - 8, y + 14, shortened(row["policy"]), "label", "end"))
        if found is None:
            marks.append(text(LEFT + 4, y + 14, "none", "tick"))
            continue
        wide = WIDTH * found["backbone_parameters"] / most
        tip = f"{row['policy']}: depth {found['depth']}, {found['peak_bytes'] / 1e9:.3g} GB at the peak"
        marks.append(tag("rect", tag("title", tip), x=LEFT, y=y + 3, width=max(wide, 1.0), height=14.0, class_="room"))
        marks.append(text(LEFT + wide + 6, y + 14, told(found), "tick"))
    words = "; ".join(f"{row['policy']} {told(row['largest']) if row['largest'] else 'none'}" for row in rows)
    picture = drawing(LEFT + WIDTH + 90, max(1, len(rows)) * STEP, f"Largest model on {card}: {words}", *marks)
    caption = tag("figcaption", f"{card} ", tag("span", f"{usable / 1e9:.3g} GB for tensors", class_="sub"))
    return tag("figure", caption, picture)


def told(found: dict[str, Any]) -> str:
    """Numbers of the backbone and the depth."""
    count = found["backbone_parameters"]
    return f"{count / 1e9:.3g} B ({found['depth']})" if count >= 1e9 else f"{count / 1e6:.3g} M ({found['depth']})"
