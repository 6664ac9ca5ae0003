"""What a user varies, as values: the schemas of policies/, tasks/, tasks/suites/ and of a run; unknown keys refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from robo_orl.errors import UsageError, unknown

T = TypeVar("T", bound="Strict")


# The mark of a field that is younger than stored results, `Field(..., json_schema_extra=ADDED)`: it is left out of what
# is printed and hashed while it has its default, so that configurations without it keep their digests.
ADDED = {"added": True}


class Strict(BaseModel):
    """A frozen schema that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        silent = {n for n, f in fields.items() if f.json_schema_extra == ADDED and getattr(self, n) == f.default}
        return {name: value for name, value in serialize(self).items() if name not in silent}

    def digest(self) -> str:
        """The sha256 of the canonical JSON: equal configurations have equal digests."""
        return sha256_of(self.model_dump(mode="json"))


def sha256_of(value: Any) -> str:
    """The sha256 of a JSON value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# -------------------------------------------------------------------------------------------- policies

Topology = Literal["shared", "shared_detached", "frozen", "separate_small", "separate"]
# The one dial: depth; width = 32 * depth (models/backbones). From l on depths are even: heads are then 64 wide.
SIZES = {"tiny": 3, "xs": 4, "s": 8, "m": 14, "l": 20, "xl": 30, "1b": 44, "3b": 62, "7b": 84}


class LoraConfig(Strict):
    """Low-rank adapters on the language model of a vlm backbone; everything else of it stays as it is."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0, description="adapters are scaled by alpha / rank")
    targets: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], min_length=1
    )


class BackboneConfig(Strict):
    """What turns an observation into tokens."""

    kind: str = "transformer"
    size: str = Field("tiny", description="a name of `robo-orl list sizes`")
    stem: Literal["conv", "patch"] = Field(
        "conv",
        description="how the native backbone reads pixels: stride-2 convolutions, or one linear map per patch",
        json_schema_extra=ADDED,
    )
    patch: int = Field(32, ge=2, description="pixels per side and token of an image", json_schema_extra=ADDED)
    checkpointing: bool = Field(
        False,
        description="keep only each block's input and compute the rest again in backward",
        json_schema_extra=ADDED,
    )
    compile: bool = Field(False, description="torch.compile each block", json_schema_extra=ADDED)
    entropy: Literal["off", "log", "control"] = Field(
        "off",
        description="of the attention, per layer: log it, or also hold it at entropy_target",
        json_schema_extra=ADDED,
    )
    entropy_target: float = Field(
        0.8, gt=0, lt=1, description="share of ln(tokens); 0 = one token, 1 = all alike", json_schema_extra=ADDED
    )
    weights: str | None = Field(
        None, description="of a vlm: a folder or a name on Hugging Face's hub; default: random", json_schema_extra=ADDED
    )
    download: bool = Field(False, description="ask the network for weights that are not here", json_schema_extra=ADDED)
    frozen: bool = Field(
        False, description="the vlm is not trained; proprioception joins its tokens", json_schema_extra=ADDED
    )
    cache: bool = Field(
        False, description="compute what a frozen vlm says about every frame once, on disk", json_schema_extra=ADDED
    )
    lora: LoraConfig | None = Field(None, description="train low-rank adapters of the vlm", json_schema_extra=ADDED)
    layers: int = Field(
        1,
        ge=1,
        description="layers of the vlm that the action head reads, the last one included",
        json_schema_extra=ADDED,
    )
    action_queries: int = Field(
        0,
        ge=0,
        description="tokens that the vlm decodes in parallel, one per step of the chunk",
        json_schema_extra=ADDED,
    )
    stop_expert_gradient: bool = Field(
        False, description="the action head's loss does not reach the vlm", json_schema_extra=ADDED
    )

    @model_validator(mode="after")
    def _has_a_target_to_hold(self) -> BackboneConfig:
        if self.entropy != "control" and self.entropy_target != 0.8:
            raise ValueError("entropy_target is held by entropy: control only")
        return self


class ObservationConfig(Strict):
    """What a policy sees, whatever its backbone. Nothing else is loaded, rendered or sent."""

    low_dim: list[str] | None = Field(
        None,
        min_length=1,
        description="keys of vectors; default: all of the data, the true poses of objects ('object') included",
    )
    cameras: list[str] = Field([], description="e.g. [agentview, robot0_eye_in_hand]")
    image_size: int = Field(84, ge=16, description="pixels per side, as in the data")
    history: int = Field(1, ge=1, description="k: frames up to now, one decision apart")
    instruction: bool = Field(False, description="whether it reads the task's instruction")
    shift: int = Field(4, ge=0, description="augmentation: images move by up to so many pixels; 0 = off")
    jitter: float = Field(0.0, ge=0, lt=1, description="augmentation: brightness, contrast and saturation by 1 +- this")

    @model_validator(mode="after")
    def _looks_where_it_can(self) -> ObservationConfig:
        if len(set(self.cameras)) != len(self.cameras):
            raise ValueError("cameras names one of them twice")
        blind = [n for n in ("image_size", "shift", "jitter") if getattr(self, n) != type(self).model_fields[n].default]
        if blind and not self.cameras:
            raise ValueError(f"{blind[0]} does nothing without cameras")
        return self


class ActionHeadConfig(Strict):
    """What turns tokens into a chunk of h actions."""

    kind: Literal["l1", "flow", "gaussian", "gmm", "bins", "flow_expert", "parallel_l1", "parallel_bins"] = "l1"
    chunk: int = Field(10, ge=1, description="h: actions predicted at once")
    execute: int = Field(5, ge=1, description="actions executed before the policy is asked again")
    flow_steps: int = Field(10, ge=1, description="Euler steps of the flow head")
    acting: Literal["sample", "mode", "low_noise"] | None = Field(
        None, description="how one action is chosen; default: the head's own way", json_schema_extra=ADDED
    )
    min_std: float | None = Field(None, gt=0, lt=1, description="least standard deviation", json_schema_extra=ADDED)
    modes: int | None = Field(None, ge=1, description="components of the gmm head", json_schema_extra=ADDED)
    bins: int | None = Field(None, ge=3, description="K: values of a number of the bins head", json_schema_extra=ADDED)
    blocks: int | None = Field(None, ge=1, description="blocks of the flow_expert head", json_schema_extra=ADDED)

    @model_validator(mode="after")
    def _executes_what_it_predicts(self) -> ActionHeadConfig:
        if self.execute > self.chunk:
            raise ValueError(f"execute ({self.execute}) cannot exceed chunk ({self.chunk})")
        return self


class CriticConfig(Strict):
    """The axis this project exists for."""

    topology: Topology = "shared"
    target: Literal["head_ema", "full_ema", "none"] = "head_ema"
    loss: Literal["mse", "bce", "hl_gauss"] = "mse"
    ensemble: int = Field(2, ge=1)
    aggregate: Literal["mean", "min"] = "mean"
    tau: float = Field(0.005, gt=0, le=1, description="EMA rate of the target")
    bins: int = Field(101, ge=3, description="K: value bins of hl_gauss")
    value_range: tuple[float, float] = Field((0.0, 1.0), description="support of hl_gauss, bounds of bce")
    small_size: str = Field("tiny", description="the size of separate_small's own backbone")


class ExtractionConfig(Strict):
    """How the policy follows from the critic; a name alone stands for its defaults."""

    kind: Literal["awr", "ddpg_bc", "best_of_n", "advantage_condition", "distil"]
    params: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _a_kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class ObjectiveConfig(Strict):
    """A name of `robo-orl list objectives` and its parameters (validated by the objective's own schema)."""

    name: str = "bc"
    params: dict[str, Any] = {}
    extraction: ExtractionConfig | None = Field(
        None, description="default: the objective's own", json_schema_extra=ADDED
    )


class GammaConfig(Strict):
    """The discount per decision: `fixed`, or matched to the horizon H of the task as 1 - matched/H."""

    fixed: float | None = Field(None, gt=0, le=1)
    matched: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _exactly_one(self) -> GammaConfig:
        if (self.fixed is None) == (self.matched is None):
            raise ValueError("gamma takes either 'fixed' or 'matched'")
        return self

    def value(self, horizon: int) -> float:
        """gamma for a task of `horizon` decisions."""
        return self.fixed if self.fixed is not None else 1.0 - self.matched / horizon


class OptimConfig(Strict):
    """One AdamW, one schedule; critic_lr is a parameter group of the same optimiser."""

    steps: int = Field(3000, ge=1)
    batch_size: int = Field(128, ge=2, description="observations through the backbone per step = 2 x pairs, all ranks")
    lr: float = Field(1e-3, gt=0)
    critic_lr: float | None = Field(None, gt=0, description="default: lr")
    weight_decay: float = Field(1e-4, ge=0)
    warmup_steps: int = Field(100, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float = Field(1.0, ge=0, description="one global norm over policy and critic; 0 = off")
    policy_ema: float = Field(0.0, ge=0, lt=1, description="averaging of the acting policy's weights; 0 = off")
    precision: Literal["fp32", "bf16"] = "fp32"
    fused: bool = Field(
        False, description="AdamW as one kernel a tensor: faster, rounds otherwise", json_schema_extra=ADDED
    )

    @model_validator(mode="after")
    def _pairs(self) -> OptimConfig:
        if self.batch_size % 2:
            raise ValueError("batch_size counts observations, two per pair: it must be even")
        return self


class SelectionConfig(Strict):
    """How the acting policy chooses among its samples."""

    num_samples: int = Field(1, ge=1, description="N: best of N by the critic; 1 = the policy's own sample")
    untrained_critic: bool = Field(False, description="control: rank by a freshly initialised critic")


class PolicyConfig(Strict):
    """What learns: backbone + action head + critic + objective."""

    name: str
    description: str = ""
    observation: ObservationConfig = Field(ObservationConfig(), json_schema_extra=ADDED)
    backbone: BackboneConfig = BackboneConfig()
    action_head: ActionHeadConfig = ActionHeadConfig()
    critic: CriticConfig | None = None
    objective: ObjectiveConfig = ObjectiveConfig()
    gamma: GammaConfig = GammaConfig(fixed=0.99)
    n_step: int | None = Field(None, ge=1, description="n of the pair (t, t+n); default: the chunk h")
    optim: OptimConfig = OptimConfig()
    selection: SelectionConfig = SelectionConfig()

    @property
    def n(self) -> int:
        """Frames between the two observations of a pair."""
        return self.n_step or self.action_head.chunk

    @property
    def size(self) -> str:
        """The backbone's size."""
        return self.backbone.size

    @property
    def steps(self) -> int:
        """Steps of its training."""
        return self.optim.steps

    @property
    def batch_size(self) -> int:
        """Observations per step."""
        return self.optim.batch_size


class ReferenceConfig(Strict):
    """An algorithm of another library, trained and judged beside our policies (robo_orl/references)."""

    name: str = Field(description="how its row is called")
    description: str = ""
    algorithm: str = Field(description="a name of robo_orl.references.algorithms")
    library: str = Field(description="whose classes it is made of, with the version")
    settings: dict[str, Any] = Field(description="the library's own configuration, resolved: algo, train, experiment")
    low_dim: list[str] | None = Field(None, min_length=1, description="keys that it sees; default: all of the data")

    @property
    def size(self) -> str:
        """Beside our sizes: the library's own networks."""
        return "reference"

    @property
    def steps(self) -> int:
        """Gradient steps of its training."""
        return self.settings["train"]["num_epochs"] * self.settings["experiment"]["epoch_every_n_steps"]

    @property
    def batch_size(self) -> int:
        """Sequences per gradient step."""
        return self.settings["train"]["batch_size"]

    @property
    def selection(self) -> SelectionConfig:
        """It acts as its library has it act."""
        return SelectionConfig()

    @property
    def critic(self) -> None:
        """Its values are not read: they mean something else in every algorithm."""


# -------------------------------------------------------------------------------------------- tasks


class TaskConfig(Strict):
    """What is done. Everything here is part of the task's hash: change any of it and it is another task."""

    name: str
    description: str = ""
    version: int = 1
    env: str = Field(description="a name of the registry in robo_orl/envs")
    params: dict[str, Any] = Field({}, description="the scene's own parameters, e.g. cubes: 2")
    stages: list[str] = Field(min_length=1, description="predicates in order; the last one is success")
    reward: Literal["success", "stages"] = Field(
        "success", description="success: 1 at success; stages: 1/len(stages) when each is first reached in order"
    )
    control_hz: int = Field(20, ge=1, le=100, description="decisions per second: 10, 20 or 40")
    padding: float = Field(0.0, ge=0, description="dead time in seconds at the start and after each stage")
    max_seconds: float = Field(gt=0, description="time-out, dead time excluded; the episode also ends at success")
    instruction: str = ""

    @property
    def horizon(self) -> int:
        """Decisions until the time-out."""
        dead = self.padding * len(self.stages)
        return round((self.max_seconds + dead) * self.control_hz)


# -------------------------------------------------------------------------------------------- pictures


class View(Strict):
    """What pictures are taken: of these cameras, size x size pixels, in the look of envs/rendering.py."""

    cameras: tuple[str, ...] = Field(min_length=1)
    size: int = Field(84, ge=16, le=1024, description="pixels per side")
    look: Literal["plain", "full"] = Field("plain", description="full: robosuite's own shadows; plain: much faster")


# -------------------------------------------------------------------------------------------- runs

Regime = Literal["ph", "mh", "mg", "stitch", "paired"]


class TaskData(Strict):
    """One more task that a run learns, and its data."""

    task: TaskConfig
    data: str = Field(description="path of the HDF5 file")
    filter: str | None = Field(None, description="the episodes of this mask of the file only")
    weight: float = Field(1.0, gt=0, description="how often a pair is of this task, beside the others' weights")


class RunConfig(Strict):
    """One training run, fully resolved."""

    policy: PolicyConfig
    task: TaskConfig
    data: str = Field(description="path of the HDF5 file")
    filter: str | None = Field(None, description="train on the episodes of this mask of the file only")
    more: list[TaskData] = Field([], description="other tasks learned by the same policy", json_schema_extra=ADDED)
    weight: float = Field(1.0, gt=0, description="of `task` beside those in `more`", json_schema_extra=ADDED)
    seed: int = 0
    checkpoint_every: int = Field(1000, ge=1)
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    expect: dict[str, Any] = Field({}, description="what accelerate must resolve to, e.g. zero_stage: 2, processes: 2")


# --------------------------------------------------------------------------------------------------------------- suites


class PolicyChoice(Strict):
    """A policy of a suite: a preset, or a preset under another name with some settings changed."""

    use: str = Field(description="name of a file in policies/, or a path")
    name: str = Field("", description="how the row is called; default: the name of the preset")
    set: dict[str, Any] = Field({}, description="laid on the preset, e.g. {critic: {topology: separate}}")

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value


class ReferenceChoice(Strict):
    """An algorithm of another library as a row of a suite: a name alone, or with settings of that library's own."""

    use: str = Field(description="a name of `robo-orl reference --algo`, or the path of a file")
    name: str = Field("", description="how the row is called; default: robomimic_NAME")
    set: dict[str, Any] = Field({}, description="e.g. {train: {num_epochs: 100}}; the suite's `set` is for policies")

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value


class GridConfig(Strict):
    """A product of tasks, regimes, policies, sizes and seeds; what it sets goes before the suite's own settings."""

    tasks: list[str] = Field(min_length=1)
    regimes: list[str] = Field(min_length=1)
    policies: list[PolicyChoice] = Field(min_length=1)
    sizes: list[str] = Field([], description="backbone sizes; none: each policy's own")
    seeds: list[int] = Field([0], min_length=1, description="training seeds")
    references: list[ReferenceChoice] = Field(
        [], description="algorithms of robomimic beside the policies", json_schema_extra=ADDED
    )
    set: dict[str, Any] = Field({}, description="laid on every policy, e.g. {optim: {steps: 500}}")
    together: dict[str, float] = Field(
        {},
        description="a policy learns all tasks at once and is judged on each: task -> how often a pair is of it",
        json_schema_extra=ADDED,
    )

    @model_validator(mode="after")
    def _weighs_every_task(self) -> GridConfig:
        if not self.together:
            return self
        if sorted(self.together) != sorted(self.tasks) or len(self.tasks) < 2:
            raise ValueError(f"together gives each of several tasks a weight, here {', '.join(self.tasks)}")
        if min(self.together.values()) <= 0:
            raise ValueError("a weight in together must be above 0")
        if self.references:
            raise ValueError("references learn one task each: put them into a group without together")
        return self


class DataRequest(Strict):
    """The data set of every task and regime of a suite."""

    episodes: int = Field(200, ge=1)
    seed: int = 0
    loop: Literal["exact", "fast", "stock"] = "exact"
    view: View | None = Field(None, description="pictures to record", json_schema_extra=ADDED)


class EvaluationRequest(Strict):
    """The evaluation of every cell: the first `episodes` start states of a bank of the task, last checkpoint."""

    episodes: int = Field(200, ge=1)
    seed: int = 0
    loop: Literal["exact", "fast", "stock"] = "exact"
    starts: Literal["test", "tuning"] = Field(
        "test", description="tuning: those that `robo-orl tune` chooses on", json_schema_extra=ADDED
    )


class CostRequest(Strict):
    """One interleaved measurement; every row is relative to the first policy, which should be plain BC."""

    task: str
    policies: list[PolicyChoice] = Field(min_length=2)
    sizes: list[str] = Field([], description="one measurement per size; none: each policy's own")
    steps: int = Field(20, ge=5, description="timed steps of each policy")
    set: dict[str, Any] = {}


class CostGrid(Strict):
    """What training steps cost: policies x sizes x ZeRO stages, each beside the first policy, which is plain BC."""

    task: str = Field(description="its observations give the shapes; windows are synthetic")
    policies: list[PolicyChoice] = Field(min_length=2)
    sizes: list[str] = Field(min_length=1)
    zero: list[int] = Field([0], min_length=1, description="ZeRO stages; 0 is one process")
    steps: int = Field(20, ge=5, description="timed steps of each policy")
    set: dict[str, Any] = {}
    cards: list[str] = Field(
        [], description="cards on which the largest model that fits is predicted", json_schema_extra=ADDED
    )


class SuiteConfig(Strict):
    """A list of cells, (tasks x regimes x policies x sizes x seeds) per group, and how each is trained and judged."""

    name: str
    description: str = ""
    version: int = 1
    groups: list[GridConfig] = []
    data: DataRequest = DataRequest()
    evaluation: EvaluationRequest = EvaluationRequest()
    set: dict[str, Any] = Field({}, description="laid on every policy, below the settings of groups and policies")
    tuned: str | None = Field(
        None, description="a file of `robo-orl tune`, by its name in tasks/tuned/ or by path", json_schema_extra=ADDED
    )
    cost: CostRequest | None = None
    grid: CostGrid | None = Field(None, description="cost cells, measured one by one", json_schema_extra=ADDED)
    value_error: bool = Field(True, description="compare trained critics with the Monte-Carlo returns of the data")

    @model_validator(mode="after")
    def _has_something_to_do(self) -> SuiteConfig:
        if not self.groups and self.grid is None:
            raise ValueError("a suite needs groups to train, or a grid to measure")
        return self


# -------------------------------------------------------------------------------------------- reading and merging


def deep_merge(base: dict, over: dict) -> dict:
    """`over` laid on `base`, dictionaries merged key by key; a null in `over` replaces what was there."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = deep_merge(merged[key], value) if both else value
    return merged


def parse(schema: type[T], values: dict, where: str) -> T:
    """Validate `values`; the first fault becomes one sentence that names its place and the nearest key."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise _sentence(schema, error, where) from None


def _sentence(schema: type[Strict], error: ValidationError, where: str) -> UsageError:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        fields = _fields_at(schema, path[:-1])
        prefix = ".".join(path[:-1])
        return UsageError(f"{where}: {unknown(f'key in {prefix}' if prefix else 'key', path[-1], fields)}")
    return UsageError(f"{where}: {'.'.join(path) or 'value'}: {first['msg']}.")


def _fields_at(schema: Any, path: list[str]) -> list[str]:
    """The keys that the schema knows below `path`."""
    for part in path:
        if part.isdigit():  # a place in a list, whose schema is already at hand
            continue
        annotation = schema.model_fields[part].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = [o for o in options if isinstance(o, type) and issubclass(o, Strict)]
        if not inner:
            return []
        schema = inner[0]
    return list(schema.model_fields)


def apply_overrides(values: dict, overrides: list[str]) -> dict:
    """Lay `--set a.b=value` items on a nested dictionary; values are YAML scalars or lists."""
    for item in overrides:
        path, equals, text = item.partition("=")
        if not equals or not path:
            raise UsageError(f"--set takes KEY=VALUE, got '{item}'.")
        nested: Any = _yaml(text, f"--set {path}")
        for key in reversed(path.split(".")):
            nested = {key: nested}
        values = deep_merge(values, nested)
    return values


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not valid YAML: {' '.join(str(error).split())}.") from None


def read_yaml(path: Path) -> dict:
    """A YAML file that holds a mapping."""
    try:
        text = path.read_text()
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from None
    values = _yaml(text, str(path))
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold keys and values.")
    return values
