"""Results of a benchmark that takes minutes: kept row by row, taken up again when interrupted, with an estimate."""

from __future__ import annotations

import json
import os
import platform
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from robo_orl import __version__
from robo_orl.base.files import atomic_file
from robo_orl.base.machine import hardware

PACKAGES = ("robosuite", "mujoco", "numba", "numpy", "scipy", "torch")


def parser(description: str, out: str | Path) -> ArgumentParser:
    """The options that every kept benchmark has: --out and --again."""
    arguments = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path(out).with_suffix(".json"))
    arguments.add_argument("--again", action="store_true", help="measure anew what the file already holds")
    return arguments


def machine() -> dict[str, Any]:
    """Cores that may be used, and the processor's name."""
    here = hardware()
    return {"cores": here.cores, "processor": here.cpu}


def measured_on() -> dict[str, Any]:
    """The machine of a row of the cost benchmarks: accelerator, processor, threads, load and versions, now."""
    import torch

    here = hardware()
    return {
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cpu": here.cpu,
        "cores": here.cores,
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "robo_orl": __version__},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class Ledger:
    """A JSON file of rows by name. Rows of another machine, other versions or other settings are never mixed in."""

    def __init__(self, options: Namespace, settings: dict[str, Any]):
        self.path = options.out
        self._head = {
            "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_told(sys.argv[1:])]),
            "settings": settings,
            "machine": machine(),
            "versions": {name: version(name) for name in PACKAGES},
        }
        self.rows: dict[str, dict[str, Any]] = {} if options.again else self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        there = json.loads(self.path.read_text())
        changed = [key for key in ("settings", "machine", "versions") if there.get(key) != self._head[key]]
        if changed:
            print(f"{self.path} holds other {' and '.join(changed)}: measuring anew.", file=sys.stderr)
            return {}
        return there["rows"]

    def missing(self, names: Iterable[str]) -> list[str]:
        """The names that have no row yet."""
        todo = [name for name in names if name not in self.rows]
        kept = [name for name in self.rows if name not in todo]
        if kept:
            print(f"Kept from {self.path}: {', '.join(kept)} (--again measures anew).", file=sys.stderr)
        return todo

    def keep(self, name: str, row: dict[str, Any]) -> None:
        """Add a row and write the file; the machine's load is noted with it."""
        self.rows[name] = row | {"load_average": round(os.getloadavg()[0], 1)}
        with atomic_file(self.path) as partial:
            partial.write_text(json.dumps(self._head | {"rows": self.rows}, indent=1) + "\n")
        print(json.dumps({name: row}), flush=True)


def _told(arguments: list[str]) -> list[str]:
    """The arguments worth writing down: not where the result goes, nor that it was measured again."""
    told, skip = [], False
    for argument in arguments:
        if not skip and argument != "--again" and not argument.startswith("--out"):
            told.append(argument)
        skip = argument == "--out"
    return told


def shown(items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    """The same items, with a bar on stderr that says how long the rest will take."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        line = bar.add_task(label, total=total)
        for item in items:
            yield item
            bar.advance(line)
