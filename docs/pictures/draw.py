"""The drawings of README and docs as SVG: `python docs/pictures/draw.py` writes them beside this file.

Each drawing has its own ground and follows the reader's light or dark scheme, so that it can be read on either.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

STYLE = """
  text { font-family: ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink); }
  svg { --ground: #ffffff; --edge: #d0d7de; --ink: #1f2328; --soft: #59636e; --policy: #dbeafe; --policy-edge: #2563eb;
    --critic: #fde7d3; --critic-edge: #c2570c; --data: #eef1f4; --data-edge: #818b98; }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #161b22; --edge: #3d444d; --ink: #e6edf3; --soft: #9da7b3; --policy: #12305c;
      --policy-edge: #6ea8fe; --critic: #4a2a10; --critic-edge: #f0a060; --data: #2a3038; --data-edge: #8b949e; }
  }
  .ground { fill: var(--ground); stroke: var(--edge); }
  .policy { fill: var(--policy); stroke: var(--policy-edge); }
  .critic { fill: var(--critic); stroke: var(--critic-edge); }
  .data { fill: var(--data); stroke: var(--data-edge); } .still { stroke-dasharray: 4 3; }
  .flow { stroke: var(--soft); fill: none; stroke-width: 1.5; marker-end: url(#flow); }
  .gradient { stroke: var(--critic-edge); fill: none; stroke-width: 3; marker-end: url(#gradient); }
  .stop { stroke: var(--critic-edge); stroke-width: 3; }
  .soft { fill: var(--soft); } .flow-head { fill: var(--soft); } .gradient-head { fill: var(--critic-edge); }
"""
HEADS = (
    '<marker id="flow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" class="flow-head"/></marker>'
    '<marker id="gradient" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="4" markerHeight="4" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" class="gradient-head"/></marker>'
)
TOPOLOGIES = {
    "shared": "trains the policy's backbone",
    "shared_detached": "reads it, gradient stopped",
    "frozen": "backbone is not trained",
    "separate_small": "a small backbone of its own",
    "separate": "a backbone of the same size",
}


def picture(width: int, height: int, title: str, body: list[str]) -> str:
    """A whole SVG file."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n<defs>{HEADS}</defs>\n"
        f'<rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def box(x: float, y: float, w: float, h: float, kind: str, label: str, size: int = 13) -> str:
    """A rounded box with its label in the middle."""
    return (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}" rx="5" stroke-width="1.5"/>'
        f'<text x="{x + w / 2}" y="{y + h / 2 + size * 0.35}" text-anchor="middle" font-size="{size}">{label}</text>'
    )


def text(
    x: float, y: float, label: str, size: int = 13, kind: str = "", anchor: str = "middle", weight: int = 400
) -> str:
    """One line of text."""
    look = f'class="{kind}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    return f'<text x="{x}" y="{y}" {look}>{label}</text>'


def arrow(x1: float, y1: float, x2: float, y2: float, kind: str = "flow") -> str:
    """A straight arrow."""
    return f'<path class="{kind}" d="M{x1} {y1} L{x2} {y2}"/>'


# ---------------------------------------------------------------------------------------------------------------- ideas


def idea() -> str:
    """One backbone and an action head; a critic attached to it in five ways."""
    width, body = 1000, []
    body.append(
        text(20, 32, "One backbone, one action head, and a critic in five topologies", 17, anchor="start", weight=600)
    )
    for column, (name, says) in enumerate(TOPOLOGIES.items()):
        body += panel(16 + column * 194, 48, name, says)
    body.append(arrow(24, 332, 62, 332, "gradient"))
    body.append(text(72, 337, "gradient of the value loss into the backbone", 13, "soft", "start"))
    body.append('<path class="stop" d="M398 324 L398 340"/>')
    body.append(text(410, 337, "stopped", 13, "soft", "start"))
    body.append('<rect class="policy still" x="500" y="324" width="28" height="16" rx="3" stroke-width="1.5"/>')
    body.append(text(538, 337, "not trained", 13, "soft", "start"))
    body.append(text(984, 337, "everything else is equal: data, budget, action head", 13, "soft", "end"))
    return picture(width, 356, "One backbone, an action head and a critic in five topologies", body)


def panel(x: float, y: float, name: str, says: str) -> list[str]:
    """One topology, 186 wide and 262 high."""
    mid, own = x + 93, name.startswith("separate")
    policy_x = x + 8
    body = [f'<rect x="{x}" y="{y}" width="186" height="262" rx="6" fill="none" stroke="var(--edge)"/>']
    body.append(box(policy_x, y + 18, 80, 34, "policy", "action head", 12))
    body.append(box(x + 98, y + 18, 80, 34, "critic", "critic"))
    body.append(box(x + 33, y + 176, 120, 28, "data", "observation"))
    if own:
        small = name == "separate_small"
        w, h, top = (50, 30, y + 104) if small else (80, 56, y + 90)
        body.append(box(policy_x, y + 90, 80, 56, "policy", "backbone"))
        body.append(box(x + 138 - w / 2, top, w, h, "critic", "small" if small else "backbone", 12 if small else 13))
        body += [arrow(policy_x + 40, y + 90, policy_x + 40, y + 54), arrow(x + 70, y + 176, policy_x + 40, y + 148)]
        body += [arrow(x + 130, top, x + 130, y + 54), arrow(x + 116, y + 176, x + 138, top + h + 2)]
        body.append(arrow(x + 148, y + 54, x + 148, top - 2, "gradient"))
    else:
        still = " still" if name == "frozen" else ""
        body.append(box(x + 23, y + 90, 140, 56, "policy" + still, "backbone"))
        body += [
            arrow(x + 58, y + 90, x + 50, y + 54),
            arrow(x + 116, y + 90, x + 126, y + 54),
            arrow(mid, y + 176, mid, y + 148),
        ]
        if name == "shared":
            body.append(arrow(x + 150, y + 54, x + 140, y + 88, "gradient"))
        else:
            body.append(f'<path class="stop" d="M{x + 134} {y + 72} L{x + 160} {y + 72}"/>')
            body.append(
                f'<path class="gradient" style="marker-end: none" d="M{x + 148} {y + 54} L{x + 147} {y + 70}"/>'
            )
    body.append(text(mid, y + 229, name, 14, weight=600))
    body.append(text(mid, y + 248, says, 12, "soft"))
    return body


def pair() -> str:
    """An episode, a window of it, and the pair of observations that both losses read."""
    body = [
        text(
            20,
            32,
            "A window: a pair of observations, and the chunk of actions from each",
            17,
            anchor="start",
            weight=600,
        )
    ]
    for frame in range(16):
        x = 24 + frame * 59
        kind = "policy" if frame in (3, 8) else "data"
        body.append(box(x, 96, 46, 34, kind, f"o<tspan font-size='9' dy='3'>{frame}</tspan>"))
        if frame < 15:
            body.append(arrow(x + 46, 113, x + 58, 113))
    t, n = 24 + 3 * 59, 24 + 8 * 59
    body.append(text(t + 23, 86, "t", 15, weight=600))
    body.append(text(n + 23, 86, "t + n", 15, weight=600))
    for x, label, y in (
        (t, "chunk: h actions from t", 140),
        (n, "chunk: h actions from t + n", 172),
    ):
        w = 5 * 59 - 12
        body.append(f'<rect class="policy" x="{x}" y="{y}" width="{w}" height="24" rx="4" stroke-width="1.2"/>')
        body.append(text(x + 10, y + 16, label, 12, anchor="start"))
    body.append(f'<path class="gradient" d="M{n + 23} 66 C{n - 60} 40 {t + 90} 40 {t + 30} 70"/>')
    body.append(text((t + n) / 2 + 14, 86, "n rewards, then the value", 13, "soft"))
    body.append(
        text(
            20,
            226,
            "One backbone pass over both frames trains cloning twice and gives the critic the features of both.",
            13,
            "soft",
            "start",
        )
    )
    return picture(1000, 244, "A window of paired observations and action chunks", body)


PICTURES: dict[str, Callable[[], str]] = {"idea": idea, "pair": pair}

if __name__ == "__main__":
    for stem, draw in PICTURES.items():
        (Path(__file__).parent / f"{stem}.svg").write_text(draw())
