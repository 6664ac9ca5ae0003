"""Make the evaluation start states that tasks/starts/ ships, and print their hashes.

    python benchmarks/start_states.py            # all shipped tasks
    python benchmarks/start_states.py chain2     # some

States are functions of the scene's name and their index: making them again on the same versions gives the same hashes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from robo_orl.config.presets import load_task
from robo_orl.envs.registry import start_name
from robo_orl.envs.start_banks import make_eval_bank

SHIPPED = ("lift", "can", "square", "stack", "chain1", "chain2", "chain4", "chain8", "transport", "tool_hang")
FOLDER = Path(__file__).parent.parent / "tasks" / "starts"


def main(names: list[str]) -> None:
    """Write one bank per task."""
    for name in names or SHIPPED:
        task = load_task(name)
        path = FOLDER / f"{start_name(task)}.npz"
        bank = make_eval_bank(task)
        bank.save(path)
        print(f"{path.name:12} {len(bank)} states, {path.stat().st_size / 1024:.0f} KiB, sha256 {bank.sha256}")


if __name__ == "__main__":
    main(sys.argv[1:])
