"""The cost cells of a suite: what is measured or predicted in one job, addressed by what decides its result.

A measured cell is a size and an engine. In the turns `all` its policies take turns in one process; in `pairs` every
policy is a cell of its own, beside the base. A predicted cell is one policy on the suite's cards.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.base.machine import hardware
from robo_orl.config import PolicyConfig, SuiteConfig, TaskConfig, sha256_of
from robo_orl.config.presets import load_task
from robo_orl.cost.predict.cards import card
from robo_orl.cost.predict.workload import unpredictable
from robo_orl.results.addresses import STEP_VERSIONS
from robo_orl.results.cost_record import CostRecord
from robo_orl.sweep.cells import objective_versions, tuned_policy
from robo_orl.sweep.tuned import searches_of


@dataclass(frozen=True)
class CostCell:
    """`policies`, the base first, in one process, or launched under DDP (zero 0) or a ZeRO stage.

    cards: nothing is measured; the largest model of the only policy is predicted for each of them.
    """

    task: TaskConfig
    policies: tuple[PolicyConfig, ...]
    base: PolicyConfig
    steps: int
    zero: int = 0
    launched: bool = False
    pair: bool = False
    cards: tuple[str, ...] = ()
    batch: int | None = None  # where it is one of the suite's further `batches`

    @property
    def size(self) -> str:
        """The backbone's size; empty where it is what is looked for."""
        return "" if self.cards else self.policies[0].size

    @property
    def engine(self) -> str:
        """One process, DDP, or a ZeRO stage, in a word."""
        return "ddp" if self.launched and not self.zero else f"zero{self.zero}"

    @property
    def title(self) -> str:
        """Policy or group of policies, for a list of cells."""
        if self.cards:
            return f"{self.policies[-1].name}, largest"
        batch = f", {self.batch} observations" if self.batch else ""
        return f"{self.policies[-1].name}, {self.engine}{batch}" if self.pair else f"cost{batch}"

    @cached_property
    def key(self) -> str:
        """Readable and unique, and a file name."""
        policy = self.policies[-1].name
        words = [self.task.name, self.size]
        if self.cards:
            words = [self.task.name, "largest", policy]
        elif self.pair:
            words += [self.engine, policy]
        return "-".join([*words, sha256_of(self._request())[:10]])

    def _request(self) -> dict[str, Any]:
        """Everything that decides the result."""
        request: dict[str, Any] = {
            "version": STEP_VERSIONS["cost"],
            "task": self.task.identity(),
            "steps": self.steps,
            "policies": [policy.identity() for policy in self.policies],
        }
        if versions := objective_versions(self.policies):
            request["objectives"] = versions
        if self.launched:
            request["zero"] = self.zero
        if self.cards:
            request["cards"] = list(self.cards)
        return request


def cost_cells(suite: SuiteConfig) -> list[CostCell]:
    """The cost cells of a suite in order: small sizes first, the base first; further batches; predictions for cards."""
    cost = suite.cost
    if cost is None:
        return []
    task = load_task(cost.task)
    cells = []
    for size in cost.sizes or [None]:
        policies = _policies(suite, size)
        for zero, launched in engines(cost.zero):
            pair = launched or cost.turns == "pairs"
            groups = _pairs(policies) if pair else [policies]
            cells += [CostCell(task, group, policies[0], cost.steps, zero, launched, pair) for group in groups]
    for batch, size in product(cost.batches, cost.sizes or [None]):
        policies, pair = _policies(suite, size, batch), cost.turns == "pairs"
        groups = _pairs(policies) if pair else [policies]
        cells += [CostCell(task, group, policies[0], cost.steps, pair=pair, batch=batch) for group in groups]
    return cells + list(_predicted(suite, task))


def _policies(suite: SuiteConfig, size: str | None, batch: int | None = None) -> tuple[PolicyConfig, ...]:
    tuned, where = next(iter(searches_of(suite)), None), f"suite {suite.name}, cost"
    of_batch = {"optim": {"batch_size": batch}} if batch else {}
    layers = (suite.set, suite.cost.set, of_batch)
    policies = tuple(tuned_policy(tuned, choice, *layers, size=size, where=where)[0] for choice in suite.cost.policies)
    if policies[0].critic is not None:
        raise UsageError(f"{where}: the first policy is the base of every ratio: put plain behaviour cloning there.")
    return policies


def _pairs(policies: tuple[PolicyConfig, ...]) -> list[tuple[PolicyConfig, ...]]:
    return [policies[:1], *((policies[0], policy) for policy in policies[1:])]


def _predicted(suite: SuiteConfig, task: TaskConfig) -> Iterator[CostCell]:
    for name in suite.cost.cards:
        card(name)
    if suite.cost.cards:
        policies = _policies(suite, None)
        for policy in policies:
            yield CostCell(task, (policy,), policies[0], suite.cost.steps, cards=tuple(suite.cost.cards))


def engines(stages: Sequence[int]) -> list[tuple[int, bool]]:
    """(ZeRO stage, launched) for each of the stages, and plain DDP on as many processes before the first ZeRO stage."""
    pairs = [(stage, stage > 0) for stage in stages]
    first = next((index for index, stage in enumerate(stages) if stage), None)
    if first is not None:
        pairs.insert(first, (0, True))
    return pairs


def processes() -> int:
    """Of a launched cell: one a GPU, or two on the CPU, so that something is communicated everywhere."""
    import torch

    return torch.cuda.device_count() or 2


def why_not_here(cell: CostCell, records: Iterable[CostRecord]) -> str | None:
    """The reason to leave a cell for another machine, None where this one can do it.

    records: those of the suite so far. Rows of one device are not joined by another's: beside rows that were brought
    from a GPU nothing is measured on this CPU.
    """
    policy = cell.policies[-1]
    if cell.cards:
        return unpredictable(policy)
    here = hardware().accelerator
    others = {record.hardware.accelerator for record in records if record.rows} - {here}
    if others:
        return f"the rows there were measured on {others.pop() or 'a CPU'}"
    if not cell.launched:
        return None
    missing = [name for name in ("accelerate", "deepspeed") if importlib.util.find_spec(name) is None]
    if needed := [name for name in missing if cell.zero or name == "accelerate"]:
        return f"{'ZeRO' if cell.zero else 'DDP'} needs {' and '.join(needed)}, not installed here"
    return None if policy.optim.batch_size % (2 * processes()) == 0 else "the batch does not divide"
