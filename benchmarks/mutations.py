"""Do the tests notice? Deliberate faults, each put into a copy of the package, and the tests that fail because of it.

    python benchmarks/mutations.py [--only NAME ...] [--out docs/engineering/mutations.md]

A fault is a replacement of source text that must occur exactly once; a fault that no longer applies, and one that no
test catches, end the run with 1. Only the test files that a fault names are run, up to three failures. Each copy runs
in a process of its own, forked after torch is loaded. A quarter of an hour of one core.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

from faults import FAULTS, Fault

ROOT = Path(__file__).parents[1]


class Failures:
    """A pytest plugin that remembers which tests failed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.broken = ""

    def pytest_runtest_logreport(self, report: object) -> None:
        """Failures of set-up count as well."""
        if report.failed:
            self.names.append(report.nodeid)

    def pytest_collectreport(self, report: object) -> None:
        """A package that no longer imports is not caught by a test: it is a fault put in wrongly."""
        if report.failed:
            self.broken = f"{report.nodeid} cannot be collected"


def patched(fault: Fault, folder: Path) -> None:
    """A copy of the package and its tests with the fault in it; ValueError where it does not apply."""
    for name in ("robo_orl", "tests", "policies", "tasks", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "starts"))
        else:
            shutil.copy(source, folder / name)
    for name, text, replacement in fault.edits:
        path = folder / "robo_orl" / name
        source = path.read_text()
        if source.count(text) != 1:
            raise ValueError(f"'{text}' occurs {source.count(text)} times in {name}")
        path.write_text(source.replace(text, replacement))


def caught(fault: Fault, failures: int, answer: Connection) -> None:
    """Run the fault's tests in this process; sends the names of those that fail, or what went wrong."""
    import pytest

    with tempfile.TemporaryDirectory() as made:
        try:
            patched(fault, Path(made))
        except ValueError as error:
            answer.send(str(error))
            return
        os.chdir(made)
        sys.path.insert(0, made)
        sys.dont_write_bytecode = True
        found = Failures()
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--maxfail={failures}", "-m", "not slow"]
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            pytest.main([*options, "-k", fault.only, *fault.tests], plugins=[found])
        import robo_orl

        assert Path(robo_orl.__file__).is_relative_to(made), "the tests ran on another copy of the package"
        answer.send(found.broken or found.names)


def short(name: str) -> str:
    """tests/a/test_b.py::test_c[d] as test_b: test_c[d]."""
    file, _, test = name.partition("::")
    return f"`{Path(file).stem}`: {test.removeprefix('test_').replace('_', ' ')}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--failures", type=int, default=3, help="stop a fault's tests after so many")
    parser.add_argument("--out", type=Path, help="write the table here")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    context, rows, missed = multiprocessing.get_context("fork"), [], []
    for name in args.only:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=caught, args=(FAULTS[name], args.failures, theirs))
        process.start()
        theirs.close()
        found = ours.recv()
        process.join()
        if isinstance(found, str) or not found:
            missed.append(f"{name}: {found or 'no test catches it'}")
        else:
            rows.append(f"| {FAULTS[name].says} | {'<br>'.join(short(test) for test in found)} |")
        print(f"{name}: {found}", flush=True)
    table = "\n".join(("| fault | caught by |", "| --- | --- |", *rows)) + "\n"
    if args.out and not missed:
        args.out.write_text(f"{PREFACE}\n{table}")
    print("\n".join(missed), file=sys.stderr)
    return 1 if missed else 0


PREFACE = """# Do the tests notice?

Each row is a fault that was put on purpose into a copy of the package, and the tests that then fail (the first few;
the same tests pass without it). `python benchmarks/mutations.py --out docs/engineering/mutations.md` makes this page,
and ends with 1 where a fault goes unnoticed.
"""

if __name__ == "__main__":
    raise SystemExit(main())
