"""Write report.html and report.json of a results folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.base.files import write_text
from robo_orl.report.contents import load
from robo_orl.report.cost_page import build_cost_page
from robo_orl.report.document import document
from robo_orl.report.page import render
from robo_orl.results.container import is_container


def default_out(results: Path) -> Path:
    """The folder of a report: a working folder itself; packed results stay as they are, theirs is runs/report-NAME."""
    return Path("runs") / f"report-{results.resolve().name}" if is_container(results) else results


def build(results: Path, out: Path) -> dict[str, Any]:
    """Write out/report.html and out/report.json, each complete or not at all; out/cost.html too where a grid left rows.

    results: a working folder of `robo-orl bench`, finished or not, or a container. Returns the paths, the answer, and
    how many cells the report rests on. Raises UsageError for a folder without results or an `out` that is a file.
    """
    results, out = Path(results), Path(out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; the report needs a folder.")
    made = document(load(results))
    html, data = out / "report.html", out / "report.json"
    write_text(data, json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    write_text(html, render(made, cost_page=build_cost_page(results, out) is not None))
    return {
        "html": str(html),
        "json": str(data),
        "answer": made["headline"]["short"],
        "cells": len(made["cells"]),
        "costs": len(made["cost"]),
        "absent": len(made["absent"]),
        "superseded": made["superseded"],
    }
