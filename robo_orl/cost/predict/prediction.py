"""Everything that can be said of a training step before it runs: memory, cards that it fits, traffic, FLOPs, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from robo_orl.cost.launches import Launches
from robo_orl.cost.predict.acting_memory import OnlineMemory, online_memory
from robo_orl.cost.predict.cards import CARDS, Card
from robo_orl.cost.predict.communication import LINKS, StepTime, assumptions, sent, step_time
from robo_orl.cost.predict.memory import MemoryPrediction, largest_batch, memory
from robo_orl.cost.predict.workload import Workload


@dataclass(frozen=True)
class CardFit:
    """A card: whether the step fits, and the largest batch that does (None: not searched)."""

    card: str
    usable_bytes: int
    fits: bool
    largest_batch: int | None = None


@dataclass(frozen=True)
class Flops:
    """Of one step on all processes; model: what is computed twice counts once."""

    model_per_step: int
    hardware_per_step: int
    model_per_sample: float


@dataclass(frozen=True)
class Prediction:
    """One step of a workload."""

    policy: str
    size: str
    batch: int
    world: int
    zero: int
    offload: bool
    checkpointing: bool
    precision: str
    accumulation: int
    layout: str
    parameters: int
    parameters_trained: int
    memory: MemoryPrediction
    bytes_sent_per_step: dict[str, int]
    flops: Flops
    launches: Launches
    cards: list[CardFit]
    step_time: list[StepTime]
    online: OnlineMemory | None = None

    def to_json(self) -> dict[str, Any]:
        """The output of `profile --predict --json`."""
        values = asdict(self)
        traffic = values.pop("bytes_sent_per_step")
        communication = {"bytes_sent_per_step": traffic, "total": sum(traffic.values())}
        values["launches"] = self.launches.to_json()
        return values | {"communication": communication, "assumptions": assumptions()}


def predict(workload: Workload, cards: Sequence[Card] = tuple(CARDS.values()), fit: bool = True) -> Prediction:
    """The whole prediction; `fit` also searches the largest batch of every card.

    Of several cards the largest batch is read from a line through two batches; of a single one it is verified.
    """
    layout, policy = workload.layout, workload.policy
    needed = memory(workload)
    model, hardware = workload.flops(model=True), workload.flops(model=False)
    traffic = sent(workload.weights, layout, parts=workload.parts)
    return Prediction(
        policy=policy.name,
        size=policy.backbone.size,
        batch=workload.batch,
        world=layout.world,
        zero=layout.zero,
        offload=layout.offload,
        checkpointing=policy.backbone.checkpointing,
        precision=policy.optim.precision,
        accumulation=workload.parts,
        layout=layout.describe(),
        parameters=workload.weights.trained + workload.weights.frozen,
        parameters_trained=workload.weights.trained,
        memory=needed,
        bytes_sent_per_step=traffic,
        flops=Flops(model * layout.world, hardware * layout.world, model * layout.world / workload.batch),
        launches=workload.launches(),
        cards=[_fit(workload, needed, card, fit, len(cards) == 1) for card in cards],
        step_time=_step_times(hardware, traffic, workload, cards, needed),
        online=online_memory(workload),
    )


def _fit(workload: Workload, needed: MemoryPrediction, card: Card, fit: bool, only: bool) -> CardFit:
    batch = largest_batch(workload, card.usable, verify=only) if fit else None
    return CardFit(card.name, card.usable, needed.peak_bytes <= card.usable, batch)


def _step_times(
    flops: int, traffic: dict, workload: Workload, cards: Sequence[Card], needed: MemoryPrediction
) -> list[StepTime]:
    """By the cost model, for the named card (of several: an H100) and every network; empty for one process."""
    if workload.layout.world == 1:
        return []
    card = cards[0] if len(cards) == 1 else CARDS["h100-80gb"]
    optim = workload.policy.optim
    peak, memory_s = card.rate(optim.precision, optim.tf32), 2 * needed.peak_bytes / card.bandwidth
    launches = workload.parts * workload.launches().total
    return [
        step_time(flops, traffic, workload.layout, peak, link, card.name, launches, memory_s) for link in LINKS.values()
    ]
