"""Numbers as people read them. On the page each one is <data value="...">: the exact value stays machine-readable."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup, escape

NOT_MEASURED = Markup('<span class="none" title="not measured">–</span>')


def percent(value: float) -> str:
    """0.904 as 90 %."""
    return f"{100 * value:.0f}"


def points(value: float) -> str:
    """A difference of shares as signed percentage points."""
    return f"{100 * value:+.0f}".replace("-", "−") if round(100 * value) else "0"


def ratio(value: float) -> str:
    """1.042 as 1.04×."""
    return f"{value:.2f}×" if value < 10 else f"{value:.1f}×"


def p_value(value: float) -> str:
    """Three decimals, or less than one thousandth."""
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def short(value: float) -> str:
    """Three significant digits without an exponent."""
    return f"{value:.3g}" if 1e-4 <= abs(value) < 1e4 or value == 0 else human(value)


def three(value: float) -> str:
    """Three decimals."""
    return f"{value:.3f}".replace("-", "−")


def signed(value: float) -> str:
    """A signed number of three significant digits."""
    return f"{value:+.3g}".replace("-", "−") if value else "0"


def human(value: float) -> str:
    """6300000 as 6.3M."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            scaled = value / unit
            return f"{scaled:.3g}{name}" if scaled < 100 else f"{scaled:.0f}{name}"
    return f"{value:.3g}"


def gigabytes(value: float) -> str:
    """Bytes as GiB."""
    return f"{value / 2**30:.2f} GiB"


def milliseconds(value: float) -> str:
    """Seconds as milliseconds."""
    return f"{1000 * value:.3g} ms"


def plain(value: float) -> str:
    """The number itself."""
    return f"{value:g}" if isinstance(value, float) else f"{value:,}".replace(",", "\u202f")


STYLES = {
    f.__name__: f
    for f in (percent, points, ratio, p_value, short, three, signed, human, gigabytes, milliseconds, plain)
}


def num(value: Any, style: str = "plain") -> Markup:
    """A number for the page, or a dash where nothing was measured."""
    if value is None:
        return NOT_MEASURED
    return Markup(f'<data value="{value!r}">{escape(STYLES[style](value))}</data>')


def plain_number(value: Any, style: str = "plain") -> Markup:
    """A number as `num` shows it, without its exact value: for pages whose exact values are in files beside them."""
    return NOT_MEASURED if value is None else escape(STYLES[style](value))


def span(low: float | None, high: float | None, style: str = "percent") -> Markup:
    """An interval in brackets."""
    if low is None or high is None:
        return Markup("")
    return Markup(f'<span class="ci">[{num(low, style)}, {num(high, style)}]</span>')
