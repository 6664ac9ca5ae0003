"""The two steps of a bench that are no commands of their own: cost measurement and value error.

    python -m robo_orl.sweep.steps cost REQUEST.json
    python -m robo_orl.sweep.steps value-error RUN DATA [TASK]

Each runs in its own process, so that its peak memory is its own, and prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import PolicyConfig, TaskConfig


def cost(request: Path) -> dict[str, Any]:
    """The interleaved cost rows of the policies in a request file."""
    from robo_orl.cost.measure.interleaved import cost_table

    values = json.loads(request.read_text())
    policies = [PolicyConfig.model_validate(policy) for policy in values["policies"]]
    task = TaskConfig.model_validate(values["task"])
    return {"rows": cost_table(policies, task, steps=values["steps"])}


def value_error(run: Path, data: Path, task: str | None = None) -> dict[str, Any]:
    """The error of the run's critic against the Monte-Carlo returns of the data, which are of `task` of the run's."""
    from robo_orl.evaluate.value_error import value_error as measure

    return measure(run, data=data, task=task).to_json()


def main(arguments: list[str]) -> int:
    """Run one step; as on the command line, a fault is one sentence and exit code 2 or 1."""
    try:
        match arguments:
            case ["cost", request]:
                result = cost(Path(request))
            case ["value-error", run, data, *task] if len(task) <= 1:
                result = value_error(Path(run), Path(data), *task)
            case _:
                raise UsageError(
                    f"Unknown step '{' '.join(arguments)}': cost REQUEST.json or value-error RUN DATA [TASK]."
                )
    except (UsageError, RunError) as error:
        print(json.dumps({"error": str(error)}))
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
