"""Policies as values: the schema of policies/."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from robo_orl.base.errors import UsageError
from robo_orl.config.online import OnlineConfig
from robo_orl.config.selection import SelectionConfig
from robo_orl.config.strict import PlainName, Strict

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
    """The backbone, which turns an observation into tokens."""

    kind: str = "transformer"
    size: str = Field("tiny", description="a name of `robo-orl list sizes`")
    stem: Literal["conv", "patch"] = Field(
        "conv", description="how the native backbone reads pixels: stride-2 convolutions, or one linear map per patch"
    )
    patch: int = Field(32, ge=2, description="pixels per side and token of an image")
    checkpointing: bool = Field(
        False, description="keep only the input of each block and recompute the rest in backward"
    )
    compile: bool = Field(False, description="torch.compile each block")
    entropy: Literal["off", "log", "control"] = Field(
        "off", description="of the attention, per layer: log it, or also keep it from falling below entropy_target"
    )
    entropy_target: float = Field(0.8, gt=0, lt=1, description="share of ln(tokens); 0 = one token, 1 = all alike")
    weights: str | None = Field(None, description="of a vlm: a folder or a name on Hugging Face's hub; default: random")
    download: bool = Field(False, description="ask the network for weights that are not here")
    frozen: bool = Field(False, description="the vlm is not trained; proprioception joins its tokens")
    cache: bool = Field(False, description="compute what a frozen vlm says about every frame once, on disk")
    lora: LoraConfig | None = Field(None, description="train low-rank adapters of the vlm")
    layers: int = Field(1, ge=1, description="layers of the vlm that the action head reads, the last one included")
    action_queries: int = Field(
        0, ge=0, description="tokens that the vlm decodes in parallel, one per step of the chunk"
    )
    stop_expert_gradient: bool = Field(False, description="the action head's loss does not reach the vlm")

    @model_validator(mode="after")
    def _has_a_target_to_hold(self) -> BackboneConfig:
        if self.entropy != "control" and self.entropy_target != 0.8:
            raise ValueError("entropy_target is held by entropy: control only")
        return self


class ObservationConfig(Strict):
    """The observation of a policy, with any backbone. Nothing else is loaded, rendered or sent."""

    low_dim: list[str] | None = Field(
        None,
        min_length=1,
        description="keys of vectors; default: all of the data, the true poses of objects ('object') included",
    )
    cameras: list[str] = Field([], description="e.g. [agentview, robot0_eye_in_hand]; [task]: the view of its task")
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
    """The action head, which turns tokens into a chunk of h actions."""

    kind: Literal["l1", "flow", "gaussian", "gmm", "bins", "flow_expert", "parallel_l1", "parallel_bins"] = "l1"
    chunk: int = Field(10, ge=1, le=10_000, description="h: actions predicted at once")
    execute: int = Field(5, ge=1, description="actions executed per decision")
    flow_steps: int = Field(10, ge=1, le=10_000, description="Euler steps of the flow head")
    acting: Literal["sample", "mode", "low_noise"] | None = Field(
        None, description="how one action is chosen; default: the head's own way"
    )
    min_std: float | None = Field(None, gt=0, lt=1, description="least standard deviation")
    modes: int | None = Field(None, ge=1, description="components of the gmm head")
    bins: int | None = Field(None, ge=3, description="K: values of a number of the bins head")
    blocks: int | None = Field(None, ge=1, description="blocks of the flow_expert head")

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
    ensemble: int = Field(2, ge=1, le=1_000)
    aggregate: Literal["mean", "min"] = "mean"
    tau: float = Field(0.005, gt=0, le=1, description="EMA rate of the target")
    bins: int = Field(101, ge=3, le=10_000, description="K: value bins of hl_gauss")
    value_range: tuple[float, float] = Field((0.0, 1.0), description="support of hl_gauss, bounds of bce")
    small_size: str = Field("tiny", description="the size of separate_small's own backbone")
    target_flow_steps: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Euler steps of samples in a training step; default: the objective's, or the head's",
    )
    trunk_gradient: float = Field(
        1.0, gt=0, le=1, description="share of its gradient that a shared critic sends into the backbone"
    )

    @model_validator(mode="after")
    def _range_is_ordered(self) -> CriticConfig:
        low, high = self.value_range
        if not low < high:
            raise ValueError(f"value_range is [low, high] with low below high, got [{low:g}, {high:g}]")
        return self


class ExtractionConfig(Strict):
    """Extraction of the policy from the critic; a name alone stands for its defaults."""

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
    extraction: ExtractionConfig | None = Field(None, description="default: the objective's own")


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
        """gamma for a task of `horizon` decisions; UsageError where a matched one would not be above 0."""
        if self.fixed is not None:
            return self.fixed
        if self.matched >= horizon:
            raise UsageError(
                f"gamma.matched is {self.matched:g}, and the task has {horizon} decisions: 1 - matched/H is a discount "
                f"only where matched is below {horizon}; set it lower, e.g. gamma.matched=2."
            )
        return 1.0 - self.matched / horizon


class OptimConfig(Strict):
    """One AdamW, one schedule; critic_lr is a parameter group of the same optimiser."""

    steps: int = Field(3000, ge=1)
    batch_size: int = Field(
        128, ge=2, le=2**24, description="observations through the backbone per step = 2 x pairs, all ranks"
    )
    lr: float = Field(1e-3, gt=0)
    critic_lr: float | None = Field(None, gt=0, description="default: lr")
    weight_decay: float = Field(1e-4, ge=0)
    warmup_steps: int = Field(100, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float = Field(1.0, ge=0, description="one global norm over policy and critic; 0 = off")
    policy_ema: float = Field(0.0, ge=0, lt=1, description="averaging of the acting policy's weights; 0 = off")
    precision: Literal["fp32", "bf16"] = "fp32"
    tf32: bool = Field(False, description="on a GPU, float32 products in TF32: 10 bits of mantissa, many times faster")
    capture: Literal["auto", "on", "off", "compile"] = Field(
        "auto",
        description="record the training step once and replay it, on one GPU; auto: on GPUs where that was measured; "
        "compile: forward and backward as one compiled graph each, in one process",
    )
    accumulation: int = Field(
        1,
        ge=1,
        description="parts of a process's batch that go through the network one after the other, one update for all",
    )

    @model_validator(mode="after")
    def _pairs(self) -> OptimConfig:
        if self.tf32 and self.precision != "fp32":
            raise ValueError("tf32 is for products in fp32: leave it out with precision bf16")
        if self.batch_size % 2:
            raise ValueError("batch_size counts observations, two per pair: it must be even")
        return self


class PolicyConfig(Strict):
    """A policy: backbone + action head + critic + objective."""

    name: PlainName
    description: str = ""
    observation: ObservationConfig = Field(ObservationConfig())
    backbone: BackboneConfig = BackboneConfig()
    action_head: ActionHeadConfig = ActionHeadConfig()
    critic: CriticConfig | None = None
    objective: ObjectiveConfig = ObjectiveConfig()
    gamma: GammaConfig = GammaConfig(fixed=0.99)
    n_step: Annotated[int, Field(ge=1)] | Literal["execute"] | None = Field(
        None, description="n of the pair (t, t+n), or execute: as many as are executed; default: the chunk h"
    )
    optim: OptimConfig = OptimConfig()
    selection: SelectionConfig = SelectionConfig()
    online: OnlineConfig | None = Field(None, description="how it goes on to learn in its task, by `robo-orl online`")

    @property
    def n(self) -> int:
        """Frames between the two observations of a pair."""
        return self.action_head.execute if self.n_step == "execute" else self.n_step or self.action_head.chunk

    @property
    def compiled(self) -> bool:
        """Whether blocks, or both passes of a step whole, are compiled."""
        return self.backbone.compile or self.optim.capture == "compile"

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
