"""A slice of a cost grid on a machine that has torch and perhaps nothing else.

    python -m robo_orl.cost.measure.slice PLAN.json --out FOLDER [--minutes 9]

PLAN.json is written by `robo-orl bench --suite cost`; benchmarks/cost_plan.json is that of the shipped suite. The same
command again does what is missing. Packages that are not installed are named, and what needs them is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from robo_orl.base.errors import RunError, UsageError
from robo_orl.cost.measure.plain_schemas import install


def main(arguments: list[str] | None = None) -> int:
    """Run one slice; exit code 2 for a plan that cannot be read, 1 where nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m robo_orl.cost.measure.slice", description=__doc__.split("\n")[0])
    parser.add_argument("plan", type=Path, help="a plan in JSON")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the rows")
    parser.add_argument("--minutes", type=float, default=9.0, help="start no cell that would end later (default: 9)")
    asked = parser.parse_args(arguments)
    stood_in_for = install()
    from robo_orl.cost.measure.grid import run

    try:
        plan = json.loads(asked.plan.read_text())
    except (OSError, ValueError) as error:
        print(f"{asked.plan} is no plan: {error}", file=sys.stderr)
        return 2
    try:
        summary = run(plan, asked.out, asked.minutes, tell=lambda line: print(line, flush=True))
    except (UsageError, RunError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    summary["missing"] = stood_in_for + summary["missing"]
    print(json.dumps(summary, indent=1))
    return 0 if summary["measured"] + summary["there_before"] else 1


if __name__ == "__main__":
    sys.exit(main())
