"""A made-up cell whose record is consistent, for the tests of store and verification."""

from robo_orl.config import PolicyConfig
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
)
from robo_orl.results.store import rows_text
from robo_orl.results.summary import summarise


def example_rows(n=20):
    return [
        EpisodeRow(
            episode=i, start=i, seed=0, success_once=i % 3 == 0, success_at_end=i % 3 == 0,
            stages=[i % 3 != 1, i % 3 == 0], length=40 + i, discounted_return=0.1 * (i % 3), wall_s=0.2,
        )
        for i in range(n)
    ]  # fmt: skip


def example_record(rows, key="ab" * 32, **changes):
    import hashlib

    config = {"name": "bc", "backbone": {"size": "tiny"}}
    values = {
        "cell": key,
        "suite": SuiteRef(name="quick", version=1),
        "task": TaskRef(
            name="chain2", digest="d", version=1, horizon=320, control_hz=20, padding=0, stages=["one", "two"]
        ),
        "regime": "mg",
        "policy": PolicyRef(name="bc", digest=PolicyConfig.model_validate(config).digest(), config=config),
        "size": "tiny",
        "seed": 0,
        "data": DataRef(sha256="s", seed=0, episodes=200, frames=9000, success=Count(k=90, n=200)),
        "train": TrainingCost(
            run="r", steps=10, batch_size=64, wall_s=1.0, steps_per_s=10.0, samples_per_s=640.0, step_s_median=0.1,
            peak_memory_bytes=None, peak_memory_kind="none", parameters={"backbone": 3, "action_head": 1, "total": 4},
        ),
        "evaluation": Evaluation(
            **summarise(rows, ["one", "two"]), gamma=0.99, episodes_file="episodes.jsonl",
            episodes_sha256=hashlib.sha256(rows_text(rows).encode()).hexdigest(), starts_sha256="b", loop="exact",
            seed=0, wall_s=3.0,
        ),
        "versions": {"python": "3"},
        "hardware": Hardware(cpu="a cpu", cores=2, memory_bytes=None),
        "code": Code(version="0", commit=None, dirty=None),
        "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Record(**(values | changes))
