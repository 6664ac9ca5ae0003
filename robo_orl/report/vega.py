"""Vega-Lite for pages: drawings made when the page is, and the library itself for pages that redraw what they show.

Both come from vl-convert, the Vega project's own package, whose wheel carries the JavaScript of Vega, Vega-Lite and
Vega-Embed: nothing is downloaded when a page is made or read. Why Vega-Lite and not Plotly: its bundle is 0.9 MB where
Plotly's smallest is 1.1 and the one in its wheel 4.6; it draws SVG whose text can be searched, read aloud and coloured
by the page's own style; and one specification gives a drawing without JavaScript and one that answers to filters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from robo_orl.base.files import cache_folder, write_text
from robo_orl.base.text import printable
from robo_orl.report.packed import packed

VEGA_LITE = "6.4"
Spec = dict[str, Any]  # a Vega-Lite specification: JSON

CONFIG: Spec = {  # colours are the page's: dark mode and print follow without drawing again
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None, "continuousWidth": 300, "continuousHeight": 190},
    "axis": {
        "labelColor": "var(--muted)", "titleColor": "var(--muted)", "gridColor": "var(--rule)", "labelFontSize": 11,
        "domainColor": "var(--track)", "tickColor": "var(--track)", "titleFontWeight": "normal", "titleFontSize": 11.5,
        "labelLimit": 400, "titleLimit": 600, "tickCount": 5,
    },
    "header": {"labelColor": "var(--ink)", "labelFontSize": 12.5, "labelFontWeight": 600, "titleColor": "var(--muted)",
               "labelLimit": 400, "labelAnchor": "start"},
    "legend": {"labelColor": "var(--ink)", "titleColor": "var(--muted)", "labelLimit": 400, "orient": "top"},
    "text": {"color": "var(--ink)", "fontSize": 11.5},
}  # fmt: skip


def specification(data: Spec, **parts: Any) -> Spec:
    """A whole specification of data and its parts, with the look of all pages."""
    return {"$schema": f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE}.json", "config": CONFIG, "data": data,
            **parts}  # fmt: skip


def values(rows: Sequence[Mapping[str, Any]]) -> Spec:
    """Data of a drawing, inline."""
    return {"values": list(rows)}


def drawing(spec: Spec, words: str) -> Markup:
    """A specification as SVG for a page. words: its text alternative; a mark's `description` shows on hover."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
    root = ElementTree.fromstring(re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg))
    _compact(root)
    root.attrib |= {"role": "img", "aria-label": printable(words)}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


# Said once for a whole picture by its text alternative, or what SVG takes for granted.
DROPPED = {"role", "aria-roledescription", "aria-hidden", "aria-label", "pointer-events", "class", "version",
           "font-family", "stroke-miterlimit"}  # fmt: skip
PLACES = {"transform", "d", "x2", "y2"}  # to a tenth of a pixel
TAKEN_FOR_GRANTED = (("opacity", "1"), ("transform", "translate(0,0)"), ("stroke-dasharray", "1,0"), ("x2", "0"),
                     ("y2", "0"))  # fmt: skip
SHARED = ("fill", "stroke", "stroke-width", "font-size", "font-weight", "text-anchor", "stroke-dasharray")


def _compact(element: ElementTree.Element) -> None:
    """Drop what is empty or said elsewhere; marks get titles; what all children share stands on their group."""
    kept = []
    for child in element:
        described = child.get("aria-label") if child.get("aria-roledescription") in ("point", "bar", "tick") else None
        _compact(child)
        if described:
            ElementTree.SubElement(child, "title").text = described
        if _draws_nothing(child):
            continue
        kept.extend(child if child.tag == "g" and not child.attrib else [child])
    element[:] = kept
    for name in DROPPED & element.attrib.keys():
        del element.attrib[name]
    for name in PLACES & element.attrib.keys():
        element.set(name, re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", element.get(name)))
    for name, plain in TAKEN_FOR_GRANTED:
        if element.get(name) == plain:
            del element.attrib[name]
    _share(element)


def _share(element: ElementTree.Element) -> None:
    for name in SHARED if element.tag == "g" and len(element) > 1 else ():
        own = {child.get(name) for child in element}
        if len(own) == 1 and None not in own and name not in element.attrib:
            element.set(name, own.pop())
            for child in element:
                del child.attrib[name]


def _draws_nothing(element: ElementTree.Element) -> bool:
    """Whether it is an empty group, an empty path, or the path behind a view that no colour fills."""
    if element.tag == "g":
        return len(element) == 0
    return element.tag == "path" and (element.attrib.keys() <= {"d", "transform"} or element.get("d") == "")


@cache
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, 0.9 MB, which gives a page the function `vegaEmbed`.

    Putting it together takes seconds, so that it is kept in the cache of this user.
    """
    import vl_convert

    kept = cache_folder() / f"vega-{version('vl-convert-python')}-{VEGA_LITE}.js"
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    names = "window.vegaEmbed = vegaEmbed;"
    script = f"(() => {{{vl_convert.javascript_bundle(names, vl_version=VEGA_LITE)}}})();\n"
    write_text(kept, script)
    return script


@cache
def packed_bundle() -> str:
    """The bundle for a page that is read from files: a script of 0.4 MB that gives the page the promise `vegaReady`."""
    run = """script => {
    const element = document.createElement("script");
    element.textContent = script;
    document.head.append(element);
  }"""
    about = "// Vega, Vega-Lite and Vega-Embed (https://vega.github.io, BSD licence), compressed.\n"
    return about + packed(bundle(), "vegaReady", run)
