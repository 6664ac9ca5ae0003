"""Stands in for the process that judges copies of the weights.

JUDGE=die ends it with code 3 at its first copy, hang makes it wait, keep leaves the copies as curve/kept_STEP.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

curve = Path(sys.argv[1]) / "curve"
while copies := sorted(curve.glob("step_*")):
    if os.environ.get("JUDGE") == "die":
        sys.exit(3)
    if os.environ.get("JUDGE") == "hang":
        time.sleep(60)
    step = int(copies[0].name.split("_")[1])
    assert (copies[0] / "agent.safetensors").exists() and not (copies[0] / "optimizer.safetensors").exists()
    point = {"step": step, "wall_s": 1.0, "losses": {"loss": 1 / step}}
    row = {
        "step": step,
        "task": "toy",
        "every": 1,
        "episodes": 0,
        "loop": "exact",
        "held_out_sha256": "a",
        "point": point,
    }
    with (curve / "points.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    if os.environ.get("JUDGE") == "keep":
        copies[0].rename(curve / f"kept_{step}")
        continue
    shutil.rmtree(copies[0])
