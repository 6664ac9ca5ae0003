"""The command `robo-orl list`."""

from __future__ import annotations

from typing import Annotated

import typer

from robo_orl.base.errors import unknown
from robo_orl.base.text import notice
from robo_orl.cli.options import Json, show


def list_presets(
    kind: Annotated[
        str, typer.Argument(help="policies, variants, tasks, suites, sizes, objectives or references (default: all).")
    ] = "",
    as_json: Json = False,
) -> None:
    """List what can be named: policies and tasks, variants to join to them (qc+separate), suites, sizes and methods."""
    from robo_orl.cli.catalogue import KINDS, catalogue
    from robo_orl.cli.tables import listing

    if kind and kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    kinds = [kind] if kind else list(KINDS)
    show({name: catalogue(name) for name in kinds}, as_json, listing)
    if "objectives" in kinds:
        from robo_orl.objectives import OBJECTIVES

        for error in OBJECTIVES.broken.values():
            notice(str(error))
