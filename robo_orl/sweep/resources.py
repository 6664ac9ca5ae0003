"""What a job takes, what machines offer, and which of them has room: cores, GPUs or a share of one, memory, places."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SHARES = 100  # parts that a GPU is divided into


@dataclass(frozen=True)
class Resources:
    """What a job takes while it runs.

    gpus: whole ones, or below 1 a share of one. memory_bytes: of the host, 0 where it does not matter; core_bytes: more
    of it for every core above `cores`. whole: a machine with nothing else on it.
    """

    cores: int = 1
    gpus: float = 0.0
    memory_bytes: int = 0
    core_bytes: int = 0
    whole: bool = False


@dataclass(frozen=True)
class Node:
    """What one machine offers.

    elastic: the most cores of a job that can use several. jobs: the most at a time. gpu_bytes: of each GPU; None where
    it is not known. queue: it stands for many machines like it, among which a queue places jobs by itself.
    """

    cores: int
    gpus: int = 0
    memory_bytes: int | None = None
    gpu_bytes: int | None = None
    elastic: int | None = None
    jobs: int | None = None
    name: str = ""
    queue: bool = False


@dataclass(frozen=True)
class Grant:
    """The place of a job that may start. gpus: numbers of the GPUs of its node."""

    resources: Resources
    cores: int
    node: str = ""
    gpus: tuple[int, ...] = ()

    @property
    def memory_bytes(self) -> int:
        """Of the host, for all its cores."""
        return self.resources.memory_bytes + max(0, self.cores - self.resources.cores) * self.resources.core_bytes


@dataclass
class _Room:
    """What is left of a node. shares: of each GPU, in hundredths."""

    node: Node
    cores: int
    memory: float
    shares: list[int]
    jobs: int = 0
    grants: list[Grant] = field(default_factory=list)


class Places:
    """The room that is left on the nodes."""

    def __init__(self, nodes: Sequence[Node] = ()):
        self._rooms: dict[str, _Room] = {}
        self.update(nodes)

    def update(self, nodes: Sequence[Node]) -> None:
        """Take the nodes that are there now; jobs that were placed keep what they have."""
        before = {name: room.grants for name, room in self._rooms.items()}
        self._rooms = {}
        for node in nodes:
            memory = math.inf if node.memory_bytes is None else node.memory_bytes
            room = self._rooms[node.name] = _Room(node, node.cores, memory, [SHARES] * node.gpus)
            for grant in before.get(node.name, ()):
                _take(room, grant)

    def grant(self, resources: Resources, elastic_beside: int | None = None) -> Grant | None:
        """Take a place for a job, None where no node has room.

        elastic_beside: the job can use several cores, and so many others wait for one.
        """
        rooms = [room for room in self._rooms.values() if _fits(room, resources)]
        if not rooms:
            return None
        room = max(rooms, key=lambda room: room.cores)
        grant = Grant(resources, _cores(room, resources, elastic_beside), room.node.name, _gpus(room, resources))
        _take(room, grant)
        return grant

    def release(self, grant: Grant) -> None:
        """Give a place back."""
        room = self._rooms.get(grant.node)
        if room is not None and grant in room.grants:
            room.grants.remove(grant)
            _take(room, grant, sign=-1, keep=False)

    @property
    def free_cores(self) -> int:
        """Cores that no job has."""
        return sum(max(0, room.cores) for room in self._rooms.values())

    def why_never(self, resources: Resources) -> str:
        """The reason in a sentence why no node could run a job even when it is empty; "" where one could."""
        empty = Places([room.node for room in self._rooms.values()])
        if not self._rooms or empty.grant(resources) is not None:
            return ""
        nodes = [room.node for room in self._rooms.values()]
        for name, needed, offered in (
            ("GPUs", resources.gpus, max(node.gpus for node in nodes)),
            ("cores", resources.cores, max(node.cores for node in nodes)),
        ):
            if needed > offered:
                return f"It needs {needed:g} {name} of one machine, and none has more than {offered}."
        return "It needs more memory of one machine than there is."


def _fits(room: _Room, resources: Resources) -> bool:
    if room.node.jobs is not None and room.jobs >= room.node.jobs:
        return False
    if resources.whole:
        return room.node.queue or not room.grants
    enough = room.cores >= resources.cores and room.memory >= resources.memory_bytes
    return enough and (not resources.gpus or bool(_gpus(room, resources)))


def _cores(room: _Room, resources: Resources, elastic_beside: int | None) -> int:
    """One job a core is the best use of them; cores that no other job needs go to those that can use more."""
    if resources.whole:
        return room.node.cores
    if elastic_beside is None:
        return resources.cores
    most = room.node.elastic or room.cores
    return max(1, min(most, room.cores // (elastic_beside + 1)))


def _gpus(room: _Room, resources: Resources) -> tuple[int, ...]:
    """The GPUs of a job; () where they are not free. A share goes where the least is left that holds it."""
    if resources.whole:
        return tuple(range(room.node.gpus))
    if 0 < resources.gpus < 1:
        part = _part(resources)
        fitting = [index for index, left in enumerate(room.shares) if left >= part]
        return (min(fitting, key=lambda index: room.shares[index]),) if fitting else ()
    empty = [index for index, left in enumerate(room.shares) if left == SHARES]
    count = math.ceil(resources.gpus)
    return tuple(empty[:count]) if len(empty) >= count else ()


def _part(resources: Resources) -> int:
    """Hundredths of each GPU of a job."""
    return SHARES if resources.whole or resources.gpus >= 1 else math.ceil(resources.gpus * SHARES)


def _take(room: _Room, grant: Grant, sign: int = 1, keep: bool = True) -> None:
    room.jobs += sign
    if keep:
        room.grants.append(grant)
    if room.node.queue:
        return
    room.cores -= sign * grant.cores
    room.memory -= sign * grant.memory_bytes
    for index in grant.gpus:
        if index < len(room.shares):
            room.shares[index] -= sign * _part(grant.resources)


def largest(nodes: Iterable[Node]) -> Node:
    """A node that offers as much of each as any of them."""
    nodes = list(nodes) or [Node(1)]
    known = [node.memory_bytes for node in nodes if node.memory_bytes is not None]
    gpu_bytes = [node.gpu_bytes for node in nodes if node.gpu_bytes is not None]
    return Node(
        cores=max(node.cores for node in nodes),
        gpus=max(node.gpus for node in nodes),
        memory_bytes=max(known) if known else None,
        gpu_bytes=min(gpu_bytes) if gpu_bytes else None,
    )
