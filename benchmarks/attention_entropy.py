"""Does the attention of larger critics collapse onto single tokens, and does holding its entropy help?

    python benchmarks/attention_entropy.py [--sizes tiny,xs,s] [--seeds 0,1,2] [--runs runs/attention_entropy]

`qc+separate`, whose critic has a Transformer of its own, is trained with the entropy of every layer's attention logged,
and with it held at `backbone.entropy_target`, on the same data; the entropy is a share of ln(tokens): 1 is attention to
all alike, 0 to one token. A row is a training: the mean of its last 200 steps in every layer of the policy's backbone
and of the critic's, the lowest layer on the way, and success on 100 start states that all rows share. A log changes no
number of a training. Trainings and evaluations already made are kept; a killed call is started again with the same
command.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean

from ledger import Ledger, parser, shown

TASK, REGIME, EPISODES, STEPS, BATCH = "chain2", "stitch", 200, 2000, 128
LAST = 200  # steps that an entropy is the mean of
NAME = re.compile(r"(backbone|critic_backbone)/attention_entropy_(\d+)")


def command(*words: str) -> str:
    """stdout of one command of robo-orl, which resumes what it finds."""
    whole = [sys.executable, "-m", "robo_orl", *words]
    return subprocess.run(whole, check=True, capture_output=True, text=True).stdout


def training(run: Path, data: Path, size: str, measure: str, seed: int) -> dict[str, object]:
    """Train and judge one row."""
    settings = {"policy.backbone.size": size, "policy.backbone.entropy": measure, "policy.optim.steps": STEPS,
                "policy.optim.batch_size": BATCH}  # fmt: skip
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    command("train", "--policy", "qc+separate", "--task", TASK, "--data", str(data), "--out", str(run),
            "--seed", str(seed), "--tracker", "none", *words)  # fmt: skip
    judged = json.loads(command("eval", str(run), "--episodes", "100", "--workers", "1", "--json"))
    return entropies(run) | {"k": judged["success_once"]["k"], "n": judged["success_once"]["n"]}


def entropies(run: Path) -> dict[str, object]:
    """Of both backbones: the last of every layer, and the lowest of any layer on the way."""
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for step in steps:
        for name, value in step.items():
            if part := NAME.fullmatch(name):
                found.setdefault(part[1], {}).setdefault(part[2], []).append((step["step"], value))
    return {
        whose: {
            "last": [
                round(fmean(v for at, v in values if at > STEPS - LAST), 4) for _, values in sorted(layers.items())
            ],
            "lowest": round(min(value for values in layers.values() for _, value in values), 4),
        }
        for whose, layers in found.items()
    }


def main() -> None:
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--sizes", default="tiny,xs,s")
    arguments.add_argument("--seeds", default="0,1,2")
    arguments.add_argument("--runs", type=Path, default=Path("runs/attention_entropy"))
    options = arguments.parse_args()
    ledger = Ledger(options, {"task": TASK, "regime": REGIME, "demonstrations": EPISODES, "steps": STEPS,
                              "batch": BATCH})  # fmt: skip
    data = options.runs / f"{TASK}_{REGIME}.hdf5"
    if not data.exists():
        command("data", "generate", "--task", TASK, "--regime", REGIME, "--episodes", str(EPISODES), "--out", str(data))
    wanted = {
        f"{size} {measure} {seed}": (size, measure, int(seed))
        for seed, size, measure in itertools.product(
            options.seeds.split(","), options.sizes.split(","), ("log", "control")
        )  # a whole comparison by one training before the next
    }
    todo = ledger.missing(wanted)
    for name in shown(todo, "trainings", len(todo)):
        ledger.keep(name, training(options.runs / name.replace(" ", "_"), data, *wanted[name]))


if __name__ == "__main__":
    main()
