"""Hooks of mkdocs: the generated reference pages, the leaderboard, and the numbers of results/ and benchmarks/.

A page writes `{{ table(...) }}` or `{{ success(...) }}`; `numbers_of_results.py` and `numbers_of_benchmarks.py` have
the functions. Nothing generated is in git.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
import ablations  # noqa: E402
import after_the_data  # noqa: E402
import beside_published  # noqa: E402
import findings  # noqa: E402
import gains  # noqa: E402
import horizon  # noqa: E402
import numbers_of_benchmarks  # noqa: E402
import numbers_of_results  # noqa: E402
import reference  # noqa: E402
import reward_sources  # noqa: E402
import searched  # noqa: E402
import trainings  # noqa: E402

from robo_orl.report.leaderboard.site import gather, render  # noqa: E402
from robo_orl.results.store import results_folders  # noqa: E402

LIST_BY_ACCIDENT = re.compile(r"^[ ]+\d+[.)] .*$", re.MULTILINE)
"""A number that a page's function put at the beginning of a line within a paragraph, and a full stop."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add one page per room of the package to the section Reference."""
    section = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    section.append({"Python": [{room: path} for room, path in reference.api_pages()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, text in reference.pages().items():
        files.append(File.generated(config, path, content=text))
    for path, content in leaderboard().items():
        files.append(File.generated(config, f"leaderboard/{path}", content=content))
    return files


@cache
def leaderboard() -> dict[str, str | bytes]:
    """The pages of `make leaderboard`; the tests of results/ verify what they are made of."""
    return render(gather(results_folders([HERE.parents[1] / "results"])))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill in the numbers; a mistake names its page."""
    if "{{" not in markdown and "{%" not in markdown:
        return markdown
    try:
        text = environment().from_string(markdown).render()
    except Exception as error:
        raise RuntimeError(f"{page.file.src_uri}: {error}") from error
    if broken := LIST_BY_ACCIDENT.search(text):
        raise RuntimeError(
            f"{page.file.src_uri}: a number begins the line {broken[0].strip()!r}: Markdown makes a list of it"
        )
    return text


def environment() -> jinja2.Environment:
    """Jinja2 with the functions that pages call; an unknown name is an error."""
    env = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    modules = (
        ablations, after_the_data, beside_published, numbers_of_results, numbers_of_benchmarks, findings, gains,
        horizon, reference, reward_sources, searched, trainings,
    )  # fmt: skip
    for module in modules:
        env.globals.update(module.FUNCTIONS)
    return env
