"""bf16 weights for one step: a multi-tensor copy of what products read, in place of a cast at every use.

Autocast casts every weight by a kernel of its own, and its gradient by another one: a quarter of all kernels of a step.
Here a group of weights is copied by one multi-tensor operator, and so are the group's gradients. The numbers are the
same: a weight that is read twice collects its gradient in bf16 here as in autocast's cache. Groups bound the memory,
since their gradients wait in bf16 until the last of them is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from robo_orl.config import PolicyConfig
from robo_orl.models.action_heads.flow import Expert
from robo_orl.models.action_heads.flow_layout import aligned, in_a_row
from robo_orl.models.action_heads.flow_sampler import shared_memory
from robo_orl.models.backbones.embedding import ImageTokens, InstructionTokens
from robo_orl.models.critic_pair import CriticPair
from robo_orl.models.critics import Critic
from robo_orl.models.layers import Linear, Readout, RMSNorm
from robo_orl.models.stacked import StackedLinear

WORKING = torch.bfloat16
GROUP = 2**25  # numbers in a group: 64 MB in bf16
# What is cast to the type of the activations wherever it is read.
READ: dict[type[nn.Module], tuple[str, ...]] = {
    Linear: ("weight", "bias"),
    StackedLinear: ("weight", "bias"),
    RMSNorm: ("weight",),
    Readout: ("queries",),
}
WIDE = (ImageTokens, InstructionTokens)  # parts of what they compute are in float32, their gains with them


@dataclass(frozen=True)
class Place:
    """Where a copy is read: an attribute of a module, which holds one weight, or several one under the other."""

    module: nn.Module
    name: str
    weights: tuple[Tensor, ...]
    row: bool = False  # as one row of numbers, in which each begins at a place that a kernel reads fast

    @property
    def numbers(self) -> int:
        """Numbers in the copy."""
        return sum(weight.numel() for weight in self.weights)

    def allocate(self) -> Tensor:
        """An empty copy."""
        first = self.weights[0]
        if self.row:
            total = sum(aligned(weight.numel()) for weight in self.weights)
            return torch.empty(total, dtype=WORKING, device=first.device)
        shape = first.shape if len(self.weights) == 1 else (sum(map(len, self.weights)), *first.shape[1:])
        return torch.empty(shape, dtype=WORKING, device=first.device)

    def pieces(self, copy: Tensor) -> Sequence[Tensor]:
        """The parts of a copy, or of its gradient, that belong to each of the weights."""
        if self.row:
            parts = in_a_row(copy, [weight.numel() for weight in self.weights])
            return [part.view(weight.shape) for part, weight in zip(parts, self.weights, strict=True)]
        return (copy,) if len(self.weights) == 1 else copy.split([len(weight) for weight in self.weights])


class _Copies(Function):
    """bf16 copies of a group's weights; backward, float32 gradients of those whose copies were read."""

    @staticmethod
    def forward(ctx: FunctionCtx, places: Sequence[Place], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.places = places
        copies = [place.allocate() for place in places]
        pieces = [piece for place, copy in zip(places, copies, strict=True) for piece in place.pieces(copy)]
        torch._foreach_copy_(pieces, list(weights))
        return tuple(copies)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        result: list[Tensor | None] = []
        wide, narrow = [], []
        for place, gradient in zip(ctx.places, gradients, strict=True):
            if gradient is None:
                result += [None] * len(place.weights)
                continue
            own = [torch.empty_like(weight) for weight in place.weights]
            wide, narrow, result = wide + own, narrow + list(place.pieces(gradient)), result + own
        if wide:
            torch._foreach_copy_(wide, narrow)
        return (None, *result)


class WorkingWeights:
    """The copies of an agent's weights, made anew in every step. Autocast stays on for everything else."""

    def __init__(self, agent: nn.Module):
        target = agent.target.critic if agent.target is not None and not agent.target.full else None
        slow = [module for module in (target, agent.slow_head) if module is not None]
        self.copied = [place for module in slow for place in _places(module, native=True)]
        self.copied += _together(agent)
        learning = (agent.backbone, agent.action_head, agent.critic, agent.critic_backbone, *agent.extra.values())
        native = agent.policy.backbone.kind == "transformer"
        joint = agent.objective.values_together and in_fewer_calls(agent.policy)
        places = [place for module in learning if module is not None for place in _places(module, native, joint)]
        self.groups = _grouped([p for p in places if all(weight.requires_grad for weight in p.weights)])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let modules read the copies inside the block, in passes whose gradients reach the weights."""
        places, copies = list(self.copied), self._slow()
        for group in self.groups:
            copies += _Copies.apply(group, *(weight for place in group for weight in place.weights))
            places += group
        originals = [_swap(place, copy) for place, copy in zip(places, copies, strict=True)]
        try:
            yield
        finally:
            for place, original in zip(places, originals, strict=True):
                _swap(place, original)

    def _slow(self) -> list[Tensor]:
        copies = [place.allocate() for place in self.copied]
        if copies:
            pieces = [piece for place, copy in zip(self.copied, copies, strict=True) for piece in place.pieces(copy)]
            torch._foreach_copy_(pieces, [weight.detach() for place in self.copied for weight in place.weights])
        return copies


def wants_copies(policy: PolicyConfig) -> bool:
    """True where a step in one process reads its weights in bf16. Compiled blocks have their casts fused."""
    return policy.optim.precision == "bf16" and not policy.backbone.compile


def in_fewer_calls(policy: PolicyConfig) -> bool:
    """True where a step takes what is the same within rounding in fewer kernels: it is compiled whole or recorded."""
    return policy.optim.capture in ("on", "compile")


def _together(agent: nn.Module) -> Iterator[Place]:
    """Copies without gradient, for calls that read many weights at once: the candidates' sampler, and both critics."""
    if not in_fewer_calls(agent.policy):
        return
    ranks, valued = agent.objective.ranks_candidates, agent.objective.values_together
    if (ranks or valued) and not agent.target.full:
        yield from _pair(agent.target.pair, agent.critic, agent.target.critic, valued)
    if not ranks:
        return
    expert = getattr(agent.action_head, "expert", None)
    if isinstance(expert, Expert) and expert.layout.fits(shared_memory(next(expert.parameters()).device)):
        weights = dict(expert.named_parameters())
        yield Place(expert, "in_a_row", tuple(weights[name] for name in expert.layout.names), row=True)


def _pair(pair: CriticPair, online: Critic, slow: Critic, valued: bool) -> Iterator[Place]:
    """valued: Q's heads of the slow copy and V's of the online critic; else Q's of either."""
    both = (online, slow)
    heads = (slow.q_heads, online.v_head) if valued else (online.q_heads, slow.q_heads)
    halves = [critic.readout.key_value.weight.chunk(2) for critic in both]
    yield Place(pair, "key_value", tuple(half[i] for i in (0, 1) for half in halves))
    yield Place(pair, "queries", tuple(critic.readout.queries for critic in both))
    yield Place(pair, "out", tuple(critic.readout.out.weight for critic in both))
    for name in ("feature_in", "action_in", "hidden", "out"):
        layers = [layer for head in heads if (layer := getattr(head, name)) is not None]
        yield Place(pair, f"{name}_weight", tuple(layer.weight for layer in layers))
        yield Place(pair, f"{name}_bias", tuple(layer.bias for layer in layers))


def _joint(critic: Critic) -> Iterator[Place]:
    for name in ("feature_in", "hidden", "out"):
        layers = [getattr(heads, name) for heads in (critic.q_heads, critic.v_head)]
        yield Place(critic.joint, f"{name}_weight", tuple(layer.weight for layer in layers))
        yield Place(critic.joint, f"{name}_bias", tuple(layer.bias for layer in layers))


def _places(root: nn.Module, native: bool, joint: bool = False) -> Iterator[Place]:
    """native: gains of norms too, whose inputs are in bf16 in networks that are all ours. joint: those of Q and V."""
    outside = {id(inner) for module in root.modules() if isinstance(module, WIDE) for inner in module.modules()}
    packed: set[int] = set()
    if joint and isinstance(root, Critic):
        for place in _joint(root):
            packed |= {id(weight) for weight in place.weights}
            yield place
    for module in root.modules():
        if isinstance(module, Expert) and next(module.parameters(), None) is not None:
            weights = tuple(block.key_value.weight for block in module.blocks)
            packed |= {id(weight) for weight in weights}
            yield Place(module, "key_values", weights)
    for module in root.modules():
        gain = isinstance(module, RMSNorm)
        if gain and (not native or id(module) in outside):
            continue
        for name in READ.get(type(module), ()):
            weight = getattr(module, name)
            if weight is not None and weight.dtype == torch.float32 and id(weight) not in packed:
                yield Place(module, name, (weight,))


def _grouped(places: Sequence[Place]) -> list[list[Place]]:
    """Neighbours of at most GROUP numbers together, or single larger ones."""
    groups: list[list[Place]] = []
    held = GROUP
    for place in places:
        if held + place.numbers > GROUP:
            groups.append([])
            held = 0
        groups[-1].append(place)
        held += place.numbers
    return groups


def _swap(place: Place, value: Tensor | None) -> Tensor | None:
    """Put a value where a module looks for its weight; returns what was there."""
    for held in (place.module._parameters, place.module._buffers, place.module.__dict__):
        if place.name in held:
            before, held[place.name] = held[place.name], value
            return before
    raise AttributeError(place.name)
