"""Lists of cells and measurements: the schema of tasks/suites/."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from robo_orl.config.presets import preset_values, stored_name
from robo_orl.config.reading import deep_merge, parse
from robo_orl.config.regimes import amount_of, with_reward
from robo_orl.config.rewards import RewardConfig, named_by_labels
from robo_orl.config.strict import PlainName, Strict
from robo_orl.config.tasks import Loop, StartBankName, TaskConfig, View

OFFICIAL_HZ = 20


class Choice(Strict):
    """A row of a suite: something by its name alone, or under another name with some settings changed."""

    use: str = Field(description="its name, or the path of a file")
    name: PlainName = Field("", description="the name of the row; default: that of what it uses")
    set: dict[str, Any] = Field({}, description="laid on it, e.g. {critic: {topology: separate}}")

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value

    @property
    def row(self) -> str:
        """The name of the row, as records have it."""
        return self.name or stored_name(self.use)


class PolicyChoice(Choice):
    """A policy: a file in policies/, alone or with variants joined to it (`qc+separate`)."""


def _products(choices: Any) -> Any:
    """The rows of a list in which `{use: [iql, qc], with: [separate, frozen]}` stands for all pairs, iql's first."""
    if not isinstance(choices, list):
        return choices
    return [row for choice in choices for row in (_product(choice) if isinstance(choice, dict) else [choice])]


def _product(choice: dict[str, Any]) -> list[Any]:
    if "with" not in choice and not isinstance(choice.get("use"), list):
        return [choice]
    bases, variants = choice.get("use"), choice.get("with")
    bases = bases if isinstance(bases, list) else [bases]
    if "with" in choice and not (isinstance(variants, list) and variants):
        raise ValueError(f"with is a list of variants, e.g. [separate, frozen], here {variants!r}")
    if not all(isinstance(word, str) for word in [*bases, *(variants or [])]):
        raise ValueError("use and with are lists of names")
    names = ["+".join(parts) for parts in product(bases, variants or [])] if variants else bases
    if choice.get("name") and len(names) > 1:
        raise ValueError(f"name: '{choice['name']}' cannot be the name of {len(names)} rows")
    others = {key: value for key, value in choice.items() if key not in ("use", "with")}
    return [{"use": name, **others} for name in names]


PolicyChoices = Annotated[list[PolicyChoice], BeforeValidator(_products)]


class ReferenceChoice(Choice):
    """An algorithm of another library, by its name in `robo-orl reference --algo`; the row is called robomimic_NAME.

    `set` holds settings of that library's own, e.g. {train: {num_epochs: 100}}; the suite's `set` is for policies.
    """


class OnlineChoice(Choice):
    """A method of policies/online/ by which the policies of a group go on to learn; the row is called POLICY_METHOD."""

    pilot_steps: int = Field(
        0, ge=0, description="environment steps of runs that its settings were chosen by: they are on its account"
    )


class RewardChoice(Choice):
    """A source of rewards: a file in tasks/rewards/, with another number of labels, or with some settings changed."""

    labels: int | None = Field(None, ge=1, description="as --labels of `data relabel`; a list of them is a row each")

    @property
    def row(self) -> str:
        """Its name in the name of the data."""
        return self.name or named_by_labels(stored_name(self.use), self.labels)

    def reward(self, where: str) -> RewardConfig:
        """The source with what is changed of it."""
        values = deep_merge(preset_values("tasks/rewards", self.use), self.set)
        labels = {} if self.labels is None else {"labels": self.labels}
        return parse(RewardConfig, values | labels | {"name": self.row}, f"{where}, reward {self.row}")


def _reward_products(choices: Any) -> Any:
    """The rows of a list in which `{use: [success, stages], labels: [5, 25]}` stands for all pairs."""
    if not isinstance(choices, list):
        return choices
    rows = []
    for choice in choices:
        if not isinstance(choice, dict) or not any(isinstance(choice.get(key), list) for key in ("use", "labels")):
            rows.append(choice)
            continue
        several = {key: value for key in ("use", "labels") if isinstance(value := choice.get(key), list)}
        if choice.get("name"):
            raise ValueError(f"name: '{choice['name']}' cannot be the name of several rows")
        rows += [choice | dict(zip(several, values, strict=True)) for values in product(*several.values())]
    return rows


RewardChoices = Annotated[list[RewardChoice], BeforeValidator(_reward_products)]


class GridConfig(Strict):
    """A product of tasks, regimes, policies, sizes and seeds; what it sets goes before the suite's own settings."""

    tasks: list[str] = Field(min_length=1)
    regimes: list[str] = Field(min_length=1)
    policies: PolicyChoices = Field(min_length=1)
    sizes: list[str] = Field([], description="backbone sizes; none: each policy's own")
    seeds: list[int] = Field([0], min_length=1, description="training seeds")
    references: list[ReferenceChoice] = Field([], description="algorithms of robomimic beside the policies")
    rewards: RewardChoices = Field([], description="sources of rewards; none: those that are recorded")
    online: list[OnlineChoice] = Field([], description="methods by which every policy goes on to learn, a row each")
    env_steps: int | None = Field(None, ge=1, description="environment steps of each method; none: as the suite says")
    set: dict[str, Any] = Field({}, description="laid on every policy, e.g. {optim: {steps: 500}}")
    episodes: int | None = Field(None, ge=1, description="demonstrations of each data set; none: as the suite says")
    launch: str | None = Field(None, description="as the suite's `launch`, for this group")
    together: dict[str, float] = Field(
        {}, description="a policy learns all tasks at once and is judged on each: task -> how often a pair is of it"
    )

    def rows(self) -> set[str]:
        """The names of its policies, and of those that go on to learn."""
        policies = {choice.row for choice in self.policies}
        return policies | {f"{policy}_{self.online_row(method)}" for policy in policies for method in self.online}

    def online_row(self, method: OnlineChoice) -> str:
        """The name of a method, with the group's own budget where it has one: runs of two budgets are two rows."""
        return method.row if self.env_steps is None else f"{method.row}_{self.env_steps / 1000:g}k"

    @model_validator(mode="after")
    def _goes_online_in_the_simulator(self) -> GridConfig:
        if self.online and (self.rewards or self.launch):
            raise ValueError("online is for groups without rewards and launch: the simulator gives rewards")
        return self

    def data_names(self) -> dict[str, tuple[str, RewardChoice | None]]:
        """The names of its data sets, each with its regime and its source of rewards."""
        if not self.rewards:
            return {regime: (regime, None) for regime in self.regimes}
        pairs = product(self.regimes, self.rewards)
        return {with_reward(regime, choice.row): (regime, choice) for regime, choice in pairs}

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


class OfficialFile(Strict):
    """A file that its makers host, as the manifest of its download lists it."""

    path: str = Field(description="relative to the folder of downloads")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class DataRequest(Strict):
    """The data set of every task and regime of a suite."""

    episodes: int = Field(200, ge=1, description="to record; an official file is taken whole")
    seed: int = 0
    loop: Loop = "exact"
    view: View | None = Field(None, description="pictures to record")
    reward: RewardConfig | None = Field(None, description="the source of its rewards; none: as recorded")
    official: OfficialFile | None = Field(None, description="the file that it is; none: recorded by scripted operators")


class EvaluationRequest(Strict):
    """The evaluation of every cell: the first `episodes` start states of a bank of the task, last checkpoint."""

    episodes: int = Field(200, ge=1)
    seed: int = 0
    loop: Loop = "exact"
    starts: StartBankName = Field("test", description="tuning: those that `robo-orl tune` chooses on")


class CurveRequest(Strict):
    """Points of the learning curve of every training, judged on the way from the start states for tuning.

    No part of a cell's address: the result is that of the last checkpoint, with points or without.
    """

    every: int = Field(ge=1, description="steps between two points, the last step being one")
    episodes: int = Field(20, ge=0, le=100, description="of each point")
    held_out: int = Field(0, ge=0, description="episodes of data for losses on the way, recorded apart from the data")

    @model_validator(mode="after")
    def _measures_something(self) -> CurveRequest:
        if not self.episodes and not self.held_out:
            raise ValueError("a point without episodes needs held_out")
        return self


class CostConfig(Strict):
    """The cost of training steps: policies x sizes x ZeRO stages, relative to the first policy, plain cloning."""

    task: str = Field(description="its observations give the shapes; windows are synthetic")
    policies: PolicyChoices = Field(min_length=2)
    sizes: list[str] = Field([], description="backbone sizes; none: each policy's own")
    zero: list[int] = Field([0], min_length=1, description="ZeRO stages; 0 is one process")
    batches: list[Annotated[int, Field(ge=2, multiple_of=2)]] = Field(
        [],
        description="observations a step at which one process is measured as well: with thousands of them a step is "
        "bound by arithmetic, and not by the starting of kernels",
    )
    turns: Literal["all", "pairs"] = Field(
        "all",
        description="all: the policies of a size take turns in one process; pairs: each beside the first, one at a "
        "time, for sizes at which they do not all fit the device",
    )
    steps: int = Field(20, ge=5, description="timed steps of each policy")
    cards: list[str] = Field([], description="cards on which the largest model that fits is predicted")
    set: dict[str, Any] = Field({}, description="laid on every policy, e.g. {optim: {batch_size: 64}}")


EndpointName = Literal["return", "success", "deadline", "stages"]  # defined in results/endpoints.py


class SuiteConfig(Strict):
    """A list of cells, (tasks x regimes x policies x sizes x seeds) per group, and how each is trained and judged."""

    name: PlainName
    description: str = ""
    version: int = 1
    groups: list[GridConfig] = []
    data: DataRequest = DataRequest()
    official: bool = Field(
        False, description="take robomimic's official files in place of recordings where `bench` finds them downloaded"
    )
    downloads: dict[str, OfficialFile] = Field({}, description="those that `bench` found, by TASK/KIND")
    evaluation: EvaluationRequest = EvaluationRequest()
    endpoints: list[EndpointName] = Field(
        ["return", "success", "deadline"],
        min_length=1,
        description="what policies are compared by; boards are sorted by the first",
    )
    deadlines: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.4, 0.6, 0.8], min_length=1, description="the shares of a task's limit that the endpoint deadline allows"
    )
    set: dict[str, Any] = Field({}, description="laid on every policy, below the settings of groups and policies")
    tuned: str | list[str] | None = Field(
        None,
        description="a file of `robo-orl tune`, by its name in tasks/tuned/ or by path; or a list, one for each kind "
        "of data: each is laid on the policies that learn from its regime, and a cost is of the first",
    )
    cost: CostConfig | None = None
    env_steps: int = Field(60_000, ge=1, description="environment steps of every method that a group names in `online`")
    curve: CurveRequest | None = Field(None, description="points on the way of every training; none: no point")
    launch: str | None = Field(
        None, description="a file in launch/, or a path: trainings run under `accelerate launch` with it; none: alone"
    )
    value_error: bool = Field(True, description="compare trained critics with the Monte-Carlo returns of the data")
    ranking: int = Field(
        0, ge=0, description="episodes at whose states the order of a critic is compared with the simulator's; 0 = none"
    )
    value_states: int = Field(
        0, ge=0, description="and with what their own policy gets from so many stored states of the data"
    )

    def data_of(self, group: GridConfig, regime: str) -> DataRequest:
        """The data sets of a group; what the regime's name says of their amount goes first."""
        amount = amount_of(regime) or group.episodes
        return self.data if amount is None else self.data.model_copy(update={"episodes": amount})

    def official_of(self, task: TaskConfig, regime: str) -> OfficialFile | None:
        """The official file that is the data of a task and regime; None where they are recorded.

        Official files are of one control rate and hold no pictures; a regime with variants, or with the rewards of a
        source, is an edit of a recording.
        """
        alike = task.control_hz == OFFICIAL_HZ and not task.padding and self.data.view is None
        return self.downloads.get(f"{task.env}/{regime}") if alike else None

    def data_requests(self, task: str, regime: str) -> list[DataRequest]:
        """The data sets that groups ask for on a task, by its stored name, and a regime; of an unknown one, all."""
        asking = [group for group in self.groups if regime in group.regimes and task in map(stored_name, group.tasks)]
        return [self.data_of(group, regime) for group in asking or self.groups] or [self.data]

    @model_validator(mode="after")
    def _has_no_held_out_rewards(self) -> SuiteConfig:
        if self.curve is not None and self.curve.held_out and any(group.rewards for group in self.groups):
            raise ValueError("curve.held_out has no rewards of the sources in `rewards`: leave one of the two out")
        return self

    @model_validator(mode="after")
    def _has_something_to_do(self) -> SuiteConfig:
        if not self.groups and self.cost is None:
            raise ValueError("a suite needs groups to train, or a cost to measure")
        return self

    @model_validator(mode="after")
    def _names_each_endpoint_once(self) -> SuiteConfig:
        for key, values in (("endpoints", self.endpoints), ("deadlines", self.deadlines)):
            if len(set(values)) < len(values):
                raise ValueError(f"{key} names one of them twice: {', '.join(map(str, values))}")
        return self
