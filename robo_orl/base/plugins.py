"""Objectives, backbones and environments that other installed packages bring, by entry points.

    [project.entry-points."robo_orl.objectives"]      # also robo_orl.backbones, robo_orl.environments
    steady = "my_package.steady:SteadyCloning"

What a package registers runs as its own code, as everything does that is installed; configurations load nothing.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TypeVar

from robo_orl.base.errors import RunError, UsageError

T = TypeVar("T")


def with_outside(ours: dict[str, T], kind: str) -> dict[str, T]:
    """A registry of ours and what other packages add to it. kind: objectives, backbones or environments.

    Raises:
        UsageError: a package takes a name that is taken.
        RunError: a package's entry cannot be imported.
    """
    found = dict(ours)
    for entry in entry_points(group=f"robo_orl.{kind}"):
        owner = entry.dist.name if entry.dist else entry.value
        if entry.name in found:
            raise UsageError(f"Package {owner} registers '{entry.name}' in {kind}, which is taken; it must be renamed.")
        try:
            found[entry.name] = entry.load()
        except (ImportError, AttributeError) as error:
            raise RunError(f"Package {owner} registers '{entry.name}' in {kind}, but {entry.value}: {error}.") from None
    return found
