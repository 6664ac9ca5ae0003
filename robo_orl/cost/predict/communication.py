"""Bytes that one process sends in a training step, by collective, and what they cost in time on a given network.

Ring collectives among N processes send (N-1)/N of the tensor per process for an all-gather or a reduce-scatter, twice
that for an all-reduce (Patarasuk and Yuan 2009). Gradients and parameters travel as float32. The collectives of each
engine were read in DeepSpeed 0.19 and torch; tests/cost compares them with the bytes that gloo really sends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.resident_memory import WORD, Weights
from robo_orl.engine.zero import BUCKET, LIVE

# A gloo reduce-scatter is an all-reduce whose other parts are thrown away.
REDUCE_SCATTER = {"gloo": 2, "nccl": 1}


def sent(weights: Weights, layout: Layout, backend: str = "nccl", parts: int = 1) -> dict[str, int]:
    """Bytes per process and step, by what is sent; empty for one process.

    parts: of a batch, whose gradients are added up. DDP and ZeRO-1 send them once, ZeRO-2 with every part; ZeRO-3
    gathers the weights for every part as well.
    """
    n = layout.world
    if n == 1:
        return {}
    ring = (n - 1) / n
    gradients = WORD * weights.trained * ring
    if layout.zero == 0:
        return {"all-reduce of gradients": round(2 * gradients)}
    if layout.zero < 3:  # DeepSpeed reduces a bucket of several owners by an all-reduce, and every owner keeps its part
        times = parts if layout.zero == 2 else 1
        updated = {"all-gather of updated weights": round(gradients)}
        return {"all-reduce of gradients": round(2 * times * gradients)} | updated
    gathered_twice = max(
        0, weights.partitioned - LIVE // 2
    )  # too far apart to be kept from the forward to the backward pass
    return {
        "all-gather in the forward pass": round(parts * WORD * weights.partitioned * ring),
        "all-gather in the backward pass": round(parts * WORD * gathered_twice * ring),
        "reduce-scatter of gradients": round(parts * REDUCE_SCATTER[backend] * gradients),
        "all-gather for averaged heads": round(weights.target_buffers * ring),
    }


@dataclass(frozen=True)
class Link:
    """A network, as one process sees it: bytes per second in one direction, and seconds per message."""

    name: str
    bytes_per_s: float
    latency_s: float
    efficiency: float = 0.8  # of the nominal rate, for large messages


LINKS = {
    link.name: link
    for link in (
        Link("10 Gbit Ethernet per process", 1.25e9, 50e-6),
        Link("100 Gbit Ethernet per process", 12.5e9, 20e-6),
        Link("PCIe 4 x16", 25e9, 5e-6),
        Link("400 Gbit InfiniBand per process", 50e9, 5e-6),
        Link("NVLink 4 in a node", 450e9, 3e-6),
    )
}
OVERLAP = 0.7  # share of the backward pass's gradient traffic that hides behind its computation
UTILISATION = 0.4  # of the card's peak, for the computation
NOISE = 0.02  # standard deviation of a process's step time, relative
# Seconds that a kernel costs at least in eager mode: the processor's time for its operator. No row of the suite `cost`
# on an H100 (torch 2.11) is below 20 microseconds per kernel counted, whatever the size of the model.
LAUNCH_S = 20e-6
MESSAGE = WORD * BUCKET  # bytes in one collective


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step by the cost model, with its parts; efficiency is against computation alone.

    bound: what computation waits for: "arithmetic", "launches" of kernels, or the card's "memory".
    """

    card: str
    link: str
    step_s: float
    compute_s: float
    communication_s: float
    hidden_s: float
    straggler_s: float
    efficiency: float
    bound: str = "arithmetic"


def step_time(
    flops: float,
    traffic: dict[str, int],
    layout: Layout,
    peak: float,
    link: Link,
    card: str = "",
    launches: int = 0,
    memory_s: float = 0.0,
) -> StepTime:
    """Seconds of a step on a network.

    flops: hardware FLOPs of one process. peak: FLOP/s of its card. Computation runs at UTILISATION of the peak, and
    takes no less than LAUNCH_S for each of its launches, nor than memory_s, the time in which the card's memory is read
    and written. Gradients overlap with OVERLAP of their time, as far as the backward pass (two thirds of the
    computation) lasts; gathered weights do not. The slowest of N processes counts: the expected maximum of N normal
    step times.
    """
    bounds = {"arithmetic": flops / (peak * UTILISATION), "launches": launches * LAUNCH_S, "memory": memory_s}
    bound = max(bounds, key=bounds.__getitem__)
    compute = bounds[bound]
    seconds = {
        what: size / (link.bytes_per_s * link.efficiency) + link.latency_s * math.ceil(size / MESSAGE)
        for what, size in traffic.items()
        if size
    }
    sending = sum(seconds.values())
    gradients = sum(value for what, value in seconds.items() if "gradients" in what)
    hidden = min(OVERLAP * gradients, compute * 2 / 3)
    straggler = NOISE * compute * math.sqrt(2 * math.log(layout.world)) if layout.world > 1 else 0.0
    total = compute + sending - hidden + straggler
    return StepTime(card, link.name, total, compute, sending, hidden, straggler, compute / total, bound)


def assumptions() -> list[str]:
    """The assumptions of `step_time`, in sentences."""
    return [
        f"computation at {UTILISATION:.0%} of the card's peak",
        f"at least {LAUNCH_S * 1e6:.0f} microseconds a kernel, and time to read and write the peak of memory once",
        f"{OVERLAP:.0%} of the gradients' traffic hides behind the backward pass, none of the weights'",
        f"links at {LINKS['PCIe 4 x16'].efficiency:.0%} of their nominal rate, ring collectives",
        f"step times of processes vary by {NOISE:.0%} (standard deviation), and the slowest one counts",
    ]
