"""Stands in for `python -m robo_orl ...` in tests of the bench: same options, same files, no learning.

FAKE_BEHAVIOUR (JSON) changes it: {"fail": "text found in the command"}, {"sleep": seconds}, {"log": file of calls},
{"likes": learning rate} with which every episode succeeds, instead of every other one; {"fast": learning rate} with
which successes come 20 decisions sooner; {"completes": true}: a call
that came to its end is in the log once more.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import yaml

behaviour = json.loads(os.environ.get("FAKE_BEHAVIOUR", "{}"))
words = sys.argv[1:]


def option(name):
    return words[words.index(f"--{name}") + 1]


def tell(**call):
    if "log" in behaviour:
        with open(behaviour["log"], "a") as file:
            file.write(json.dumps(call) + "\n")


def data():
    if words[1] == "info":
        return {"episodes": int(Path(words[2]).read_text().split()[-1])}
    out = Path(option("out"))
    out.parent.mkdir(parents=True, exist_ok=True)
    if words[1] in ("edit", "relabel"):
        recorded = Path(words[2]).read_text()
        out.write_text(f"{' '.join(words[3:-3])} of {recorded}")
        episodes = int(recorded.split()[-1])
        return {"episodes": episodes} | ({"reward": rewards(episodes)} if words[1] == "relabel" else {})
    out.write_text(f"{option('task')} {option('regime')} {option('seed')} {option('episodes')}")
    return {"episodes": int(option("episodes"))}


def rewards(episodes):
    """What a source with stage marks says of itself, where a fake model missed no success."""
    labels = yaml.safe_load(Path(option("reward")).read_text()).get("labels")
    quality = (
        {"episodes": episodes - labels, "success_k": 1, "auc": 1.0, "hacked": {"k": 0, "n": 1}} if labels else None
    )
    account = {"kind": "stages", "labels": labels or episodes, "seconds": None, "seconds_assumed": 15.0}
    return {"annotation": account, "quality": quality, "kept": episodes}


def train():
    out = Path(option("out"))
    out.mkdir(parents=True, exist_ok=True)
    assert Path(option("data")).exists(), "training began before its data were there"
    (out / "metrics.jsonl").write_text('{"step": 5}\n')
    (out / "policy").write_text(Path(option("algo" if words[0] == "reference" else "policy")).read_text())
    policy = policy_of(out)
    critic = policy.get("critic")
    target = 3 if critic and critic["target"] != "none" else 0
    parameters = {"backbone": 10, "action_head": 2, "critic": 3 if critic else 0, "target": target}
    own = policy.get("settings", {}).get("train")  # of a reference
    batch = own["batch_size"] if own else policy["optim"]["batch_size"]
    steps = (
        own["num_epochs"] * policy["settings"]["experiment"]["epoch_every_n_steps"] if own else policy["optim"]["steps"]
    )
    (out / "task").write_text(option("task"))
    asked = dict(w.removeprefix("--set=evaluation.").split("=", 1) for w in words if w.startswith("--set=evaluation."))
    if asked:
        assert Path(asked["held_out"]).exists(), "training began before its held-out data were there"
        write_points(out, int(asked["every"]), int(asked["episodes"]), policy["optim"]["steps"])
    return {
        "steps": steps, "wall_s": 1.0, "step_s": 0.1, "samples_per_s": batch / 0.1, "peak_memory_bytes": 1000,
        "peak_memory_of": "resident memory", "parameters": parameters, "finished": True,
    }  # fmt: skip


def write_points(out, every, n, steps):
    from robo_orl.results.curves import StoredPoint, add_point
    from robo_orl.results.intervals import score
    from robo_orl.results.record import CurvePoint

    task = yaml.safe_load(Path(option("task")).read_text())["name"]
    for step in range(every, steps + 1, every):
        point = CurvePoint(step=step, wall_s=0.1 * step, success=score(n // 2, n), losses={"loss": 1 / step})
        common = {"every": every, "episodes": n, "loop": "exact", "starts_sha256": "c" * 64}
        add_point(out, StoredPoint(step=step, task=task, held_out_sha256="d" * 64, point=point, **common))


def policy_of(run):
    return yaml.safe_load((run / "policy").read_text())


def has_rate(run, key):
    policy = policy_of(run)
    return key in behaviour and policy["optim"]["lr"] == behaviour[key]


def evaluate():
    from robo_orl.base.files import file_sha256
    from robo_orl.config.presets import load_task
    from robo_orl.results.record import EpisodeRow
    from robo_orl.results.store import rows_text
    from robo_orl.results.summary import summarise

    assert Path(words[1]).exists(), "evaluation began before its run was there"
    out, n = Path(option("out")), int(option("episodes"))
    out.mkdir(parents=True, exist_ok=True)
    run = Path(words[1])
    horizon = load_task(option("task") if "--task" in words else (run / "task").read_text()).horizon
    sees = policy_of(run).get("observation", {}).get("instruction")
    searches = any("look_ahead=" in word and not word.endswith("look_ahead=0") for word in words)
    won = [i % 2 == 0 or has_rate(run, "likes") for i in range(n)]
    first = 30 if has_rate(run, "fast") else 50
    rows = [
        EpisodeRow(
            episode=i, start=i, seed=0, success_once=won[i], success_at_end=won[i], stages=[True, won[i]],
            length=first + i if won[i] else horizon,
            discounted_return=0.99 ** (first - 1 + i) if won[i] else 0.0, wall_s=0.1,
            look_ahead_decisions=400 if searches else None,
        )
        for i in range(n)
    ]  # fmt: skip
    (out / "episodes.jsonl").write_text(rows_text(rows))
    scores = summarise(rows, ["first", "second"])
    dumped = json.loads(json.dumps(scores, default=lambda value: value.model_dump()))
    return dumped | {
        "gamma": 0.99, "episodes_file": "episodes.jsonl", "episodes_sha256": file_sha256(out / "episodes.jsonl"),
        "starts_sha256": hashlib.sha256(b"bank").hexdigest(), "loop": "exact", "seed": 0, "wall_s": 1.0, "speed": {},
        "sentences": ["do it"] if sees else [],
    }  # fmt: skip


def online():
    """A run that loses half of what its start solved at the switch and has it all by its last point."""
    start, out, judged = Path(words[1]), Path(option("out")), Path(option("evaluation"))
    assert (start / "policy").exists() and Path(option("data")).exists() and (judged / "episodes.jsonl").exists()
    policy, steps = yaml.safe_load(Path(option("policy")).read_text()), int(option("steps"))
    (out / "eval").mkdir(parents=True, exist_ok=True)
    (out / "policy").write_text(Path(option("policy")).read_text())
    (out / "task").write_text((start / "task").read_text())
    words[1:2] = [str(out), "--episodes", str(policy["online"]["evaluation"]["episodes"])]
    words[words.index("--out") + 1] = str(out / "eval")
    (out / "eval" / "eval.json").write_text(json.dumps(evaluate()))
    from robo_orl.config.online import PointsConfig
    from robo_orl.results.intervals import score

    n = policy["online"]["evaluation"]["episodes"]
    solved = [i for i in range(n) if i % 2 == 0]

    elsewhere = ["another"] if "--task" in words else []  # of a start that learned several, one is forgotten by half

    def judged_as(starts, kept=solved):
        other = {"success": score(len(kept), n).model_dump(), "solved": kept}
        others = {"others": dict.fromkeys(elsewhere, other)} if elsewhere else {}
        return {
            "success": score(len(starts), n).model_dump(), "solved": starts, "stages": {}, "discounted_return": 0.5,
            "calibration": None, "seconds": 1.0, **others,
        }  # fmt: skip

    grid = PointsConfig.model_validate(policy["online"]["evaluation"]).until(steps)
    rows = [{"kind": "start"} | judged_as(solved)]
    for at in grid:
        starts = solved if at == grid[-1] else solved[::2]
        rows.append({"kind": "point", "at": at, "env_steps": at, "updates": at // 2} | judged_as(starts, solved[:1]))
    (out / "online.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seconds = dict.fromkeys(("simulation_s", "acting_s", "learning_s", "wall_s", "evaluation_s"), 1.0)
    return seconds | {
        "env_steps": steps, "warm_up_steps": 0, "episodes": 9, "updates": steps // 2, "critic_only_updates": 0,
        "peak_memory_bytes": 1000, "steps": steps,
    }  # fmt: skip


def value_error():
    return {"n": 10, "mean_absolute": 0.1, "bias": -0.05, "correlation": 0.7, "gamma": 0.99, "more": 1}


def ranking():
    order = {"states": 8, "tied": 2, "kendall": 0.4, "low": 0.1, "high": 0.6, "spearman": 0.5}
    selection = policy_of(Path(words[1]))["selection"]
    samples = next((int(w.rpartition("=")[2]) for w in words if "num_samples" in w), selection.get("num_samples", 1))
    return {
        "episodes": int(option("ranking")), "starts": option("starts"), "seed": int(option("seed")), "every": 8,
        "samples": samples, "look_ahead": 50, "gamma": 0.99, "overall": order, "simulated": 8 * samples,
        "stages": [order | {"name": "first"}, {"name": "second", "states": 0, "tied": 0}],
    }  # fmt: skip


def profile():
    files = [Path(after) for word, after in zip(words, words[1:], strict=False) if word in ("--policy", "--beside")]
    policies = [yaml.safe_load(file.read_text()) for file in sorted(files, key=lambda f: str(f) != option("policy"))]
    if "--largest" in words:
        return {"largest": [largest(policies[0], words[i + 1]) for i, word in enumerate(words) if word == "--card"]}
    rows = [
        {
            "policy": p["name"], "size": p["backbone"]["size"], "topology": (p["critic"] or {}).get("topology"),
            "step_s": 0.1 * (i + 1), "step_relative": i + 1.0, "peak_memory_bytes": 1000, "memory_relative": 1.0,
            "memory_kind": "resident memory", "flops_per_sample": 1e6, "flops_relative": 1.0, "threads": 1,
            "parameters": {"backbone": 10, "critic": 2 if p["critic"] else 0},
            "steps": int(option("steps")), "oom": None, "batch": 8,
        }
        for i, p in enumerate(policies)
    ]  # fmt: skip
    return {"rows": rows, "world": int(option("world")) if "--world" in words else 1, "load_before": 0.5}


def largest(policy, card):
    found = {"depth": 4, "size": "d4", "backbone_parameters": 10, "parameters": 20, "peak_bytes": 30}
    return {"policy": policy["name"], "batch": 8, "precision": "fp32", "card": card, "usable_bytes": 40,
            "largest": None if "4090" in card else found}  # fmt: skip


kind = next((name for name in ("value-error", "ranking") if f"--{name}" in words), words[0])
tell(kind=kind, command=words, threads=os.environ.get("OMP_NUM_THREADS"), pid=os.getpid())
time.sleep(behaviour.get("sleep", 0.0))
if behaviour.get("fail") and behaviour["fail"] in " ".join(words):
    print("Traceback (most recent call last):\nValueError: the fake was told to fail.", file=sys.stderr)
    sys.exit(1)
work = {
    "data": data, "train": train, "reference": train, "eval": evaluate, "value-error": value_error, "profile": profile,
    "ranking": ranking, "online": online,
}  # fmt: skip
print("chatter that is not the answer")
print(json.dumps(work[kind]()))
if behaviour.get("completes"):
    tell(kind="completed", command=words)
