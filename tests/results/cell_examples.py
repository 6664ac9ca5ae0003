"""A made-up cell whose record is consistent, for the tests of store and verification."""

import hashlib

from robo_orl.config import DataRequest, EvaluationRequest, PolicyConfig, sha256_of
from robo_orl.config.presets import load_task
from robo_orl.results.addresses import cell_key, data_key, evaluation_request, run_key
from robo_orl.results.record import (
    Code,
    Count,
    DataRef,
    EpisodeRow,
    Evaluation,
    Hardware,
    PolicyRef,
    Record,
    SuiteRef,
    TaskRef,
    TrainingCost,
    ValueErrors,
)
from robo_orl.results.store import rows_text
from robo_orl.results.summary import summarise
from robo_orl.results.verification.tasks import START_BANKS

TASK = load_task("chain2")
STAGES = ["cube_1_placed", "cube_2_placed"]
GAMMA, BANK = 0.99, START_BANKS["chain2"]
CONFIG = {"name": "bc", "backbone": {"size": "tiny"}, "optim": {"steps": 10, "batch_size": 64}}
CRITIC = {
    "name": "qc", "backbone": {"size": "tiny"}, "action_head": {"kind": "flow"}, "critic": {"topology": "shared"},
    "objective": {"name": "qc"}, "optim": {"steps": 10, "batch_size": 64},
}  # fmt: skip
VALUE_ERRORS = ValueErrors(n=50, mean_absolute=0.2, bias=0.1, correlation=0.5, gamma=GAMMA)
SUITE_CONFIG = {
    "name": "quick",
    "version": 1,
    "groups": [{"tasks": ["chain2"], "regimes": ["mg"], "policies": ["bc"], "sizes": ["tiny"], "seeds": [0, 1]}],
    "data": {"episodes": 200},
    "evaluation": {"episodes": 20},
}


def example_rows(n=20, seed=0, config=CONFIG):
    return [_row(index, seed, config) for index in range(n)]


def _row(i, seed, config):
    first, solved = i % 3 != 1, i % 3 == 0
    steps = [20 + i if first else None, 40 + i if solved else None]
    return EpisodeRow(
        episode=i, start=i, seed=0, success_once=solved, success_at_end=solved, stages=[first, solved],
        length=40 + i if solved else TASK.horizon, wall_s=0.2, stage_steps=steps, starts_sha256=BANK, loop="exact",
        discounted_return=sum(0.5 * GAMMA ** (step - 1) for step in steps if step is not None),
        request=example_request(seed, config), horizon=TASK.horizon,
        fingerprint=sha256_of([i, seed, config["name"]])[:16],
    )  # fmt: skip


def example_run(seed=0, config=CONFIG, regime="mg"):
    data = data_key(TASK.digest(), regime, DataRequest(episodes=200))
    return run_key(data, PolicyConfig.model_validate(config), seed)


def example_key(seed=0, config=CONFIG, n=20, regime="mg"):
    policy = PolicyConfig.model_validate(config)
    return cell_key(example_run(seed, config, regime), policy, EvaluationRequest(episodes=n))


def checkpoint(seed, config):
    return sha256_of(["checkpoint", seed, config["name"]])


def example_request(seed=0, config=CONFIG):
    policy = PolicyConfig.model_validate(config)
    return evaluation_request(policy, TASK.digest(), checkpoint(seed, config), 0, BANK, "exact")


def example_record(rows, seed=0, config=CONFIG, **changes):
    critic = 2 if "critic" in config else 0
    values = {
        "cell": example_key(seed, config, len(rows)),
        "suite": SuiteRef(name="quick", version=1),
        "task": TaskRef(
            name="chain2", digest=TASK.digest(), version=1, horizon=400, control_hz=20, padding=0, stages=STAGES
        ),
        "regime": "mg",
        "policy": PolicyRef(
            name=config["name"], digest=PolicyConfig.model_validate(config).digest(), config=config
        ),
        "size": "tiny",
        "seed": seed,
        "data": DataRef(sha256=sha256_of("data"), seed=0, episodes=200, frames=9000, success=Count(k=90, n=200)),
        "train": TrainingCost(
            run=example_run(seed, config), steps=10, batch_size=64, wall_s=1.0, steps_per_s=10.0, samples_per_s=640.0,
            step_s_median=0.1, peak_memory_bytes=None, peak_memory_kind="none",
            parameters={"backbone": 3, "action_head": 1, "critic": critic, "target": critic, "total": 4 + 2 * critic},
        ),
        "evaluation": Evaluation(
            **summarise(rows, STAGES), gamma=GAMMA, episodes_file="episodes.jsonl",
            episodes_sha256=hashlib.sha256(rows_text(rows).encode()).hexdigest(), starts_sha256=BANK, loop="exact",
            seed=0, wall_s=3.0, checkpoint_sha256=checkpoint(seed, config),
        ),
        "value_errors": VALUE_ERRORS if critic else None,
        "versions": {"python": "3", "robo_orl": "0"},
        "hardware": Hardware(cpu="a cpu", cores=2, memory_bytes=None),
        "code": Code(version="0", commit=None, dirty=None),
        "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Record(**(values | changes))
