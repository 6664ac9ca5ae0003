"""A picture of a report or of a page of the leaderboard, as the documentation shows them:

    python -m robo_orl.report.picture results/quick docs/report.png
    python -m robo_orl.report.picture site/leaderboard/index.html docs/pictures/leaderboard.png --at filters \\
        --width 1180 --height 820
    python -m robo_orl.report.picture site/leaderboard/index.html docs/pictures/leaderboard_phone.png \\
        --at figure-memory --width 390 --height 780 --theme dark

The source is a working folder of `bench`, a container or a page. Needs playwright's Python package and a Chromium
(Debian: chromium).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import atomic_file
from robo_orl.base.text import notice
from robo_orl.report.build import build

PATIENCE_MS = 120_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def browser_path() -> str | None:
    """The first Chromium of this machine, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium; a RunError with the remedy where there is none."""
    path = browser_path()
    if path is None:
        raise RunError("A picture needs Chromium, which is not installed (Debian: apt-get install chromium).")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise RunError("A picture needs playwright's Python package: pip install playwright.") from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # root has no sandbox
        try:
            yield browser
        finally:
            browser.close()


def picture(source: Path, out: Path, **size: Any) -> None:
    """Write a PNG of a report; `size` is that of `photograph`. source: a results folder or a report.html."""
    if not source.exists():
        raise UsageError(f"There is no {source}.")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        html = source if source.suffix == ".html" else Path(build(source, Path(folder)).html)
        photograph(browser, html, out, **size)


def photograph(
    browser: Any, html: Path, out: Path, width: int = 1200, height: int = 1500, theme: str = "light", at: str = ""
) -> None:
    """Write a PNG of a page from its top, or from the element with the id `at`, `width` x `height` pixels; height 0:
    all of the page."""
    page = browser.new_page(viewport={"width": width, "height": height or 800}, color_scheme=theme)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(html.resolve().as_uri(), wait_until="domcontentloaded")
    if at:
        scroll = "id => document.getElementById(id).scrollIntoView({behavior: 'instant'})"
        page.evaluate(scroll, at)
        page.wait_for_function("id => !document.getElementById(id).matches('.plot:not([data-drawn])')", arg=at)
        page.wait_for_timeout(500)  # figures above have other heights once they are drawn
        page.evaluate(scroll, at)
    with atomic_file(out) as temporary:
        temporary.write_bytes(page.screenshot(full_page=not height))
    page.close()


def main() -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Take a picture of a report, or of a page.")
    parser.add_argument("source", type=Path, help="results folder or page")
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("--width", type=int, default=1200, help="pixels; 390 is a phone")
    parser.add_argument("--height", type=int, default=1500, help="pixels; 0: the whole page")
    parser.add_argument("--at", default="", metavar="ID", help="begin at the element with this id, not at the top")
    parser.add_argument("--theme", choices=["light", "dark"], default="light")
    chosen = parser.parse_args()
    try:
        picture(chosen.source, chosen.out, width=chosen.width, height=chosen.height, theme=chosen.theme, at=chosen.at)
    except (UsageError, RunError) as error:
        notice(str(error))
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
