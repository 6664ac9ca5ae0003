"""Vega-Lite for pages: drawings made when the page is, and the library itself for pages that redraw what they show.

Both come from vl-convert, the Vega project's own package, whose wheel carries the JavaScript of Vega, Vega-Lite and
Vega-Embed: nothing is downloaded when a page is made or read. Why Vega-Lite and not Plotly: its bundle is 0.9 MB where
Plotly's smallest is 1.1 and the one in its wheel 4.6; it draws SVG whose text can be searched, read aloud and coloured
by the page's own style; and one specification gives a drawing without JavaScript and one that answers to filters.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from robo_orl.base.files import cache_folder, write_text

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
CRITIC = {"field": "critic", "type": "nominal", "legend": None,
          "scale": {"domain": [True, False], "range": ["var(--critic)", "var(--free)"]}}  # fmt: skip


def specification(data: Spec, **parts: Any) -> Spec:
    """A whole specification of data and its parts, with the look of all pages."""
    return {"$schema": f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE}.json", "config": CONFIG, "data": data,
            **parts}  # fmt: skip


def values(rows: list[Mapping[str, Any]] | list[dict[str, Any]]) -> Spec:
    """Data of a drawing, inline."""
    return {"values": rows}


def drawing(spec: Spec) -> str:
    """The SVG of a specification, whose marks carry their values as text for readers and for the tooltip."""
    import vl_convert

    return vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)


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
    """The bundle for a page that is read from files: a script of 0.4 MB that gives the page the promise `vegaReady`.

    Compressed, because a folder has no server that would do it; a browser unpacks it (`DecompressionStream`, in all of
    them since 2023).
    """
    packed = base64.b64encode(gzip.compress(bundle().encode(), 9, mtime=0)).decode()
    return f"""// Vega, Vega-Lite and Vega-Embed (https://vega.github.io, BSD licence), compressed.
window.vegaReady = (async () => {{
  const bytes = Uint8Array.from(atob("{packed}"), character => character.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
}})();
"""
