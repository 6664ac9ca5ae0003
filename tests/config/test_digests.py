"""A digest is taken of what decides a result: no default, no description, no order."""

import pytest
from pydantic import Field

from robo_orl import config
from robo_orl.config import GammaConfig, PolicyConfig, Strict, TaskConfig, sha256_of
from robo_orl.config.presets import load_policy, load_task

# The defaults that digests leave out. Another default of one of these computes something else under an old address:
# where that is meant, raise the version of the step that it changes (sweep/cells.py) together with the value here.
DEFAULTS = {
    "TaskConfig": {"version": 1, "params": {}, "reward": "success", "control_hz": 20, "padding": 0.0,
                   "instruction": ""},
    "View": {"size": 84, "look": "plain"},
    "DataRequest": {"episodes": 200, "seed": 0, "loop": "exact", "view": None, "reward": None},
    "LabelNoise": {"flip": 0.0, "missing": 0.0, "near_miss": 0.0, "late": 0, "late_share": 1.0},
    "RewardConfig": {"version": 1, "params": {}, "labels": None, "rest": "failure", "best": 0.25, "seed": 0},
    "EvaluationRequest": {"episodes": 200, "seed": 0, "loop": "exact", "starts": "test"},
    "LoraConfig": {"rank": 16, "alpha": 32.0, "targets": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj",
                                                          "up_proj", "down_proj"]},
    "BackboneConfig": {"kind": "transformer", "size": "tiny", "stem": "conv", "patch": 32, "checkpointing": False,
                       "compile": False, "entropy": "off", "entropy_target": 0.8, "weights": None, "download": False,
                       "frozen": False, "cache": False, "lora": None, "layers": 1, "action_queries": 0,
                       "stop_expert_gradient": False},
    "ObservationConfig": {"low_dim": None, "cameras": [], "image_size": 84, "history": 1, "instruction": False,
                          "shift": 4, "jitter": 0.0},
    "ActionHeadConfig": {"kind": "l1", "chunk": 10, "execute": 5, "flow_steps": 10, "acting": None, "min_std": None,
                         "modes": None, "bins": None, "blocks": None},
    "CriticConfig": {"topology": "shared", "target": "head_ema", "loss": "mse", "ensemble": 2, "aggregate": "mean",
                     "tau": 0.005, "bins": 101, "value_range": (0.0, 1.0), "small_size": "tiny",
                     "trunk_gradient": 1.0},
    "ExtractionConfig": {"params": {}},
    "ObjectiveConfig": {"name": "bc", "params": {}, "extraction": None},
    "GammaConfig": {"fixed": None, "matched": None},
    "OptimConfig": {"steps": 3000, "batch_size": 128, "lr": 0.001, "critic_lr": None, "weight_decay": 0.0001,
                    "warmup_steps": 100, "schedule": "cosine", "clip_norm": 1.0, "policy_ema": 0.0,
                    "precision": "fp32", "accumulation": 1},
    "SelectionConfig": {"num_samples": 1, "untrained_critic": False, "noise_scale": 1.0, "acting": None},
    "PolicyConfig": {"critic": None, "gamma": GammaConfig(fixed=0.99), "n_step": None},
    "ReferenceConfig": {"low_dim": None},
}  # fmt: skip


@pytest.mark.parametrize("schema", DEFAULTS)
def test_a_default_that_digests_leave_out_is_what_it_was(schema):
    fields = getattr(config, schema).model_fields
    assert {name: fields[name].default for name in DEFAULTS[schema]} == DEFAULTS[schema]


class Inner(Strict):
    """A nested schema."""

    description: str = ""
    first: int = 1


class Grown(Strict):
    """A schema that got fields after results were stored."""

    name: str = ""
    description: str = ""
    first: int = 1
    second: int | None = None
    inner: Inner = Inner()
    other: Inner | None = None
    several: list[Inner] = Field([])
    free: dict[str, object] = {}


@pytest.mark.parametrize(
    "values, identity",
    [
        ({}, {}),
        ({"first": 1, "second": None, "inner": {"first": 1}, "several": []}, {}),
        ({"description": "words", "inner": {"description": "words"}}, {}),
        ({"second": 2}, {"second": 2}),
        ({"inner": {"first": 2, "description": "words"}}, {"inner": {"first": 2}}),
        ({"other": {}}, {"other": {}}),
        ({"several": [{"first": 1}, {"first": 2}]}, {"several": [{}, {"first": 2}]}),
        ({"free": {"description": "a value like others", "x": None}},
         {"free": {"description": "a value like others", "x": None}}),
    ],
)  # fmt: skip
def test_the_identity_is_what_differs_from_the_defaults(values, identity):
    grown = Grown.model_validate(values)
    assert grown.identity() == identity and grown.digest() == sha256_of(identity)
    assert Grown.model_validate(identity).digest() == grown.digest()
    assert Grown.model_validate(grown.model_dump(mode="json")).digest() == grown.digest()


def test_a_required_value_is_always_part_of_a_digest():
    task = {"env": "lift", "stages": ["a"], "max_seconds": 10}
    one, other = TaskConfig(name="a", **task), TaskConfig(name="b", **task)
    assert one.digest() != other.digest() and one.identity(exclude=["name"]) == other.identity(exclude=["name"])


@pytest.mark.parametrize("load, name", [(load_policy, "qc+separate"), (load_task, "chain2+40hz")])
def test_a_description_is_no_part_of_a_digest(load, name):
    loaded = load(name)
    assert loaded.model_copy(update={"description": "in other words"}).digest() == loaded.digest()


def test_a_default_that_is_another_than_the_schemas_is_part_of_the_digest():
    """An empty discount differs from the default one, which is not the schema's own."""
    policy = PolicyConfig(name="p")
    assert policy.identity() == {"name": "p"}
    assert PolicyConfig(name="p", gamma=GammaConfig(fixed=0.99)).digest() == policy.digest()
    assert PolicyConfig(name="p", gamma=GammaConfig(matched=2)).identity()["gamma"] == {"matched": 2.0}
    assert PolicyConfig(name="p", critic={}).identity()["critic"] == {}
