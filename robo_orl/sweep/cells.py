"""A suite expanded into cells, each addressed by what decides its result and by nothing else.

The addresses (data, run and cell key) are defined in results/addresses.py. A policy that learns several tasks together
has one run, addressed by all their data and weights, and a cell for each task that it is judged on. Policies that
differ in how they select among samples share one training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

from robo_orl.base.errors import UsageError, unknown
from robo_orl.config import (
    SIZES,
    DataRequest,
    EvaluationRequest,
    GridConfig,
    PolicyChoice,
    PolicyConfig,
    ReferenceChoice,
    ReferenceConfig,
    SuiteConfig,
    TaskConfig,
    deep_merge,
    parse,
    split_regime,
)
from robo_orl.config.presets import load_task, preset_values
from robo_orl.config.regimes import without_reward
from robo_orl.config.strict import LONGEST_NAME
from robo_orl.models.vlm.architectures import architecture
from robo_orl.results.addresses import cell_key, data_key, needs_next_obs, online_key, run_key
from robo_orl.results.record import Tuning
from robo_orl.sweep.launch_file import LaunchFile, launch_file
from robo_orl.sweep.tuned import Tuned, search_for, searches_of


@dataclass(frozen=True)
class Share:
    """A task among several that one policy learns."""

    task: TaskConfig
    weight: float


@dataclass(frozen=True)
class Online:
    """How a cell's policy went on to learn: from a run of `start`, for so many environment steps."""

    start: PolicyConfig
    method: str
    steps: int
    pilot_steps: int


@dataclass(frozen=True)
class Cell:
    """One policy of one size (or one reference), one task, one regime, one training seed."""

    task: TaskConfig
    regime: str
    policy: PolicyConfig | ReferenceConfig
    seed: int
    data: DataRequest
    evaluation: EvaluationRequest
    tuning: Tuning | None = None  # the search that chose its settings; no part of its address, which the settings are
    together: tuple[Share, ...] = ()  # the tasks that its policy learns, `task` among them, where they are several
    online: Online | None = None
    launch: LaunchFile | None = None  # of its training; no part of its address, as the number of processes is none

    @property
    def size(self) -> str:
        """The backbone's size."""
        return self.policy.size

    @property
    def is_reference(self) -> bool:
        """True for an algorithm of another library."""
        return isinstance(self.policy, ReferenceConfig)

    @property
    def trained(self) -> Cell:
        """The cell of the run that is trained on its data: itself, or where it went on to learn, that of its start."""
        return self if self.online is None else replace(self, policy=self.online.start, online=None)

    @property
    def sources(self) -> list[Cell]:
        """The data of its policy: per task that it learns a cell, of which the data are meant."""
        return [replace(self, task=share.task, together=()) for share in self.together] or [self]

    @property
    def recorded(self) -> Cell:
        """The data that are recorded for it: those of its regime without variants of the outcomes."""
        return replace(self.unrewarded, regime=split_regime(self.regime)[0])

    @property
    def unrewarded(self) -> Cell:
        """The data with the rewards that were recorded."""
        if self.data.reward is None:
            return self
        data = self.data.model_copy(update={"reward": None})
        return replace(self, regime=without_reward(self.regime), data=data)

    @property
    def next_obs(self) -> bool:
        """True where its data must hold next_obs: robomimic's RL algorithms read it, ours derive it by index."""
        return needs_next_obs(self.policy)

    @cached_property
    def data_key(self) -> str:
        """Address of the data set."""
        return data_key(self.task.digest(), self.regime, self.data, self.next_obs)

    @cached_property
    def run_key(self) -> str:
        """Address of the trained run, of the one that goes on to learn where there is one."""
        if self.online is not None:
            start, task = self.trained.run_key, self.task.digest() if self.together else None
            return online_key(start, self.policy, self.online.steps, self.seed, self._objective_version(), task)
        data: str | list[tuple[str, float]] = self.data_key
        if self.together:
            data = [(own.data_key, share.weight) for own, share in zip(self.sources, self.together, strict=True)]
        return run_key(data, self.policy, self.seed, self._objective_version())

    @cached_property
    def key(self) -> str:
        """Address of the record."""
        judged = self.task.digest() if self.together else None
        return cell_key(self.run_key, self.policy, self.evaluation, judged)

    def _objective_version(self) -> int:
        if not isinstance(self.policy, PolicyConfig):
            return 1
        return objective_versions([self.policy]).get(self.policy.objective.name, 1)

    @property
    def data_name(self) -> str:
        """Name of the data file, readable and unique."""
        return f"{self.task.name}-{self.regime}-{self.data_key[:10]}"

    @property
    def run_name(self) -> str:
        """Name of the run's folder, readable and unique by its key."""
        names = [source.task.name for source in self.sources]
        tasks = "+".join(names)
        if len(tasks) > LONGEST_NAME:
            tasks = f"{names[0]}+{len(names) - 1}"
        return f"{tasks}-{self.regime}-{self.size}-s{self.seed}-{self.run_key[:10]}"

    @property
    def name(self) -> str:
        """Name of the record's folder."""
        return f"{self.task.name}-{self.regime}-{self.policy.name}-{self.size}-s{self.seed}-{self.key[:10]}"

    @property
    def has_trained_critic(self) -> bool:
        """True where there is a learned value to compare with returns."""
        return self.policy.critic is not None and not self.policy.selection.untrained_critic

    @property
    def has_ranking_critic(self) -> bool:
        """True where a learned critic chooses among samples."""
        selection = self.policy.selection
        return self.has_trained_critic and selection.num_samples > 1 and not selection.look_ahead


def objective_versions(policies: Iterable[PolicyConfig]) -> dict[str, int]:
    """The version of each objective of the policies, where it is not 1. An unknown objective fails when it trains."""
    from robo_orl.objectives import OBJECTIVES  # with torch, which reading and listing suites does without

    names = sorted({policy.objective.name for policy in policies} & set(OBJECTIVES))
    return {name: version for name in names if (version := OBJECTIVES[name].version) != 1}


def load_suite(name: str) -> SuiteConfig:
    """A suite by the name of its file in tasks/suites/, or by path."""
    return parse(SuiteConfig, preset_values("tasks/suites", name), f"suite {name}")


def expand(suite: SuiteConfig) -> list[Cell]:
    """Every cell of a suite, in its order; a cell that two groups ask for is there once."""
    cells: dict[str, Cell] = {}
    for group in suite.groups:
        for cell in _cells_of(suite, group):
            cells.setdefault(cell.key, cell)
    _check_names(suite, list(cells.values()))
    return list(cells.values())


def check_policies(suite: SuiteConfig, cells: list[Cell]) -> None:
    """UsageError where the objective of a cell's policy refuses it, by the names of the suite and the policy."""
    from robo_orl.agent.agent import check_agent

    for policy in {cell.policy.digest(): cell.policy for cell in cells}.values():
        if isinstance(policy, PolicyConfig):
            try:
                check_agent(policy)
            except UsageError as error:
                raise UsageError(f"suite {suite.name}: {error}") from None


def _cells_of(suite: SuiteConfig, group: GridConfig) -> Iterator[Cell]:
    """A group's cells. Seeds and sizes come outermost: one whole comparison is done before the next begins."""
    data_sets = _data_sets(suite, group)
    tasks = [load_task(name) for name in group.tasks]
    _check_environments(f"suite {suite.name}", tasks)
    pairs = zip(group.tasks, tasks, strict=True)
    together = tuple(Share(task, group.together[name]) for name, task in pairs if group.together)
    where = f"suite {suite.name}"
    references = [(reference_of(choice), None) for choice in group.references]  # of no size: `expand` takes each once
    named = group.launch or suite.launch
    launch = launch_file(named) if named else None
    # Read once a size, whatever the number of seeds, so that cells of other seeds share their policies.
    sizes = group.sizes or [None]
    searches = searches_of(suite)
    kinds = {regime: search_for(suite, searches, regime) for regime, _ in data_sets}
    tuned = {search.regime if search else None: search for search in kinds.values()}
    policies = {(size, kind): _policies_of(suite, group, size, tuned[kind], where) for size in sizes for kind in tuned}
    for policy in (policy for own in policies.values() for policy, _ in own if launch is not None):
        launch.check(policy, where)
    for (seed, size), task, (regime, data) in product(product(group.seeds, sizes), tasks, data_sets):
        data = data.model_copy(update={"official": suite.official_of(task, regime)})
        search = kinds[regime]
        for policy, tuning in policies[size, search.regime if search else None] + references:
            cell = Cell(task, regime, policy, seed, data, suite.evaluation, tuning, together, launch=launch)
            yield cell
            yield from _online(suite, group, cell)


def _online(suite: SuiteConfig, group: GridConfig, start: Cell) -> Iterator[Cell]:
    """A start's cells of the methods of its group."""
    if not group.online:
        return
    from robo_orl.online.start import went_online  # with torch, which reading and listing suites does without

    if not isinstance(start.policy, PolicyConfig):
        return
    for choice in group.online:
        row, steps = group.online_row(choice), group.env_steps or suite.env_steps
        points = {"online": {"evaluation": {"episodes": suite.evaluation.episodes}}}  # of a record, like its end
        policy = went_online(start.policy, choice.use, row, deep_merge(points, choice.set), f"suite {suite.name}")
        _check_points(suite, policy)
        yield replace(start, policy=policy, online=Online(start.policy, choice.row, steps, choice.pilot_steps))


def _check_points(suite: SuiteConfig, policy: PolicyConfig) -> None:
    """UsageError where a method's points have other episodes than the suite's evaluations: its end is one of them."""
    own, asked = policy.online.evaluation.episodes, suite.evaluation.episodes
    if own != asked:
        raise UsageError(
            f"suite {suite.name}: {policy.name} sets online.evaluation.episodes to {own}, and its last point is the "
            f"evaluation of a cell, which has evaluation.episodes {asked}: leave it out."
        )


def _check_environments(where: str, tasks: list[TaskConfig]) -> None:
    """UsageError where a task has none: a cell counts successes on data that are recorded."""
    for task in tasks:
        if not task.has_environment:
            raise UsageError(
                f"{where}: task {task.name} has no environment (env: none), and a cell of a suite is scored by success "
                "in one: train it with `robo-orl train`, and judge it with `robo-orl eval RUN` on held-out data."
            )


def _data_sets(suite: SuiteConfig, group: GridConfig) -> list[tuple[str, DataRequest]]:
    """The data sets of a group by their names: every regime, with the rewards of every source."""
    found = []
    for name, (regime, choice) in group.data_names().items():
        split_regime(regime)
        reward = None if choice is None else choice.reward(f"suite {suite.name}")
        found.append((name, suite.data_of(group, regime).model_copy(update={"reward": reward})))
    return found


def _policies_of(
    suite: SuiteConfig, group: GridConfig, size: str | None, tuned: Tuned | None, where: str
) -> list[tuple[PolicyConfig, Tuning | None]]:
    """A group's policies of one size with the settings that a search chose, and its share of each."""
    found = [tuned_policy(tuned, choice, suite.set, group.set, size=size, where=where) for choice in group.policies]
    _check_noise(where, group, [policy for policy, _ in found])
    if group.together:
        _check_instructions(where, [policy for policy, _ in found])
    return found


def _check_noise(where: str, group: GridConfig, policies: list[PolicyConfig]) -> None:
    """UsageError where a noise vector is to serve several trainings: to another network it is another chunk."""
    fixed = next((policy.name for policy in policies if policy.selection.noise_seed is not None), None)
    if fixed is not None and len(group.seeds) > 1:
        raise UsageError(
            f"{where}: the noise vector of '{fixed}' is chosen for one training; put it into a group with one of the "
            "seeds, and tune it with that --seed."
        )


def _check_instructions(where: str, policies: list[PolicyConfig]) -> None:
    """UsageError where a policy of several tasks does not read the instruction, which says the task."""
    for policy in policies:
        if not policy.observation.instruction:
            raise UsageError(
                f"{where}: '{policy.name}' learns several tasks and does not read which one: set "
                "observation.instruction."
            )


def tuned_policy(
    tuned: Tuned | None, choice: PolicyChoice, *layers: dict, size: str | None, where: str
) -> tuple[PolicyConfig, Tuning | None]:
    """A policy with the settings that a search chose for it, below the row's own; and the search."""
    policy = policy_of(choice, *layers, size=size, where=where)
    if tuned is None:
        return policy, None
    chosen = tuned.of(policy.name, policy.objective.name)
    if chosen is not None:
        policy = policy_of(choice, *layers, chosen.set, size=size, where=where)
    return policy, tuned.provenance(chosen)


def policy_of(choice: PolicyChoice, *layers: dict, size: str | None, where: str) -> PolicyConfig:
    """A preset with the suite's, the group's and its own settings laid on it, in this order, and the size last."""
    values = preset_values("policies", choice.use)
    for layer in (*layers, choice.set):
        values = deep_merge(values, layer)
    if size is not None:
        values = deep_merge(values, {"backbone": {"size": size}})
    name = choice.name or values["name"]
    policy = parse(PolicyConfig, values | {"name": name}, f"{where}, policy {name}")
    if policy.backbone.kind == "vlm":
        architecture(policy.backbone.size)
    elif policy.backbone.size not in SIZES:
        raise unknown("size", policy.backbone.size, SIZES)
    from robo_orl.objectives import normalised  # with torch, which reading and listing suites does without

    return normalised(policy)


def reference_of(choice: ReferenceChoice) -> ReferenceConfig:
    """A reference with its own settings laid on robomimic's defaults."""
    from robo_orl.robomimic.algorithms import load_reference

    return load_reference(choice.use, changes=choice.set, row=choice.name)


def _check_names(suite: SuiteConfig, cells: list[Cell]) -> None:
    """UsageError where two different cells have the same name in a report."""
    seen: set[tuple] = set()
    for cell in cells:
        shown = (cell.task.name, cell.regime, cell.policy.name, cell.size, cell.seed)
        if shown in seen:
            raise UsageError(
                f"suite {suite.name}: two different cells are called {' '.join(map(str, shown))}; "
                "give one of the policies a 'name' of its own."
            )
        seen.add(shown)
