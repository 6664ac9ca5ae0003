"""One AdamW with a group per role, its learning rate as a function of the step, and its moments whatever the engine.

Moments leave and enter as whole tensors named like the parameters: a run resumes on another number of processes and
under another ZeRO stage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from robo_orl.base.errors import RunError
from robo_orl.config import OptimConfig
from robo_orl.engine.zero import is_partitioned

MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimizer(agent: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of every group; the critic's groups take critic_lr."""
    groups = []
    for name, parameters in agent.parameter_groups().items():
        trainable = [p for p in parameters if p.requires_grad]
        lr = (optim.critic_lr or optim.lr) if name.startswith("critic") else optim.lr
        if trainable:
            groups.append({"name": name, "params": trainable, "lr": lr, "base_lr": lr})
    _check_groups(agent, groups)
    # Fused: one kernel a tensor, a third of the time of torch's own choice on a CPU and no temporaries.
    return torch.optim.AdamW(groups, weight_decay=optim.weight_decay, fused=True)


def _check_groups(agent: nn.Module, groups: list[dict]) -> None:
    grouped = [id(p) for group in groups for p in group["params"]]
    trainable = {id(p): name for name, p in agent.named_parameters() if p.requires_grad}
    missing = [name for i, name in trainable.items() if i not in set(grouped)]
    if missing or len(grouped) != len(trainable):
        raise RunError(f"Parameter groups must hold every trainable parameter once; missing: {missing or 'none'}.")
    scalars = [name for name, p in agent.named_parameters() if p.dim() == 0]
    if scalars:
        raise RunError(f"Parameters without a dimension break DeepSpeed's broadcast; give {scalars} the shape (1,).")


def learning_rate_scale(step: int, optim: OptimConfig) -> float:
    """The factor on every learning rate at a step counted from 0: linear warm-up, then cosine to 0 or constant."""
    warmup = min(1.0, (step + 1) / optim.warmup_steps) if optim.warmup_steps else 1.0
    if optim.schedule == "constant":
        return warmup
    progress = min(1.0, max(0, step - optim.warmup_steps) / max(1, optim.steps - optim.warmup_steps))
    return warmup * 0.5 * (1.0 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, optim: OptimConfig) -> None:
    """Put the step's learning rate into every group. A function of the step alone: resuming needs no scheduler."""
    scale = learning_rate_scale(step, optim)
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):  # which a recorded step reads in its place
            group["lr"].fill_(group["base_lr"] * scale)
        else:
            group["lr"] = group["base_lr"] * scale


# -------------------------------------------------------------------------------------------------------------- moments


def whole_moments(agent: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """("<parameter>.exp_avg", tensor) and so on for every trainable parameter; a collective: all processes iterate."""
    inner = _unwrap(optimizer)
    _link_fragments(inner)
    for name, parameter in _trainable(agent):
        for moment in MOMENTS:
            yield f"{name}.{moment}", _read(inner, parameter, moment)


def set_moments(agent: nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, Tensor], step: int) -> None:
    """Continue from `moments` after `step` steps. Call after accelerate has prepared the optimiser."""
    inner = _unwrap(optimizer)
    flats = _flat_partitions(inner)
    if flats is None:
        for name, parameter in _trainable(agent):
            whole = {moment: moments[f"{name}.{moment}"].to(parameter) for moment in MOMENTS}
            inner.state[parameter] = {"step": _count(step, parameter), **whole}
        return
    for flat in flats:
        empty = {moment: torch.zeros_like(flat, requires_grad=False) for moment in MOMENTS}
        inner.optimizer.state[flat] = {"step": _count(step, flat), **empty}
    _link_fragments(inner)
    for name, parameter in _trainable(agent):
        for moment in MOMENTS:
            _write(parameter, moment, moments[f"{name}.{moment}"])


def set_step_count(optimizer: torch.optim.Optimizer, step: int, counted: Callable[[str], bool]) -> None:
    """Let AdamW count `step` steps of the groups whose name is `counted`, where it has made any."""
    inner = _unwrap(optimizer)
    flats, groups = _flat_partitions(inner), optimizer.param_groups
    if flats is None:
        parts = [(group["name"], p) for group in groups for p in group["params"]]
    else:  # ZeRO-3 may divide a group into several flat shards
        group_of = getattr(inner, "sub_group_to_group_id", range(len(flats)))
        parts = [(groups[group_of[i]]["name"], flat) for i, flat in enumerate(flats)]
    states = getattr(inner, "optimizer", inner).state
    for name, part in parts:
        if counted(name) and part in states:
            states[part]["step"].fill_(step)


def _count(step: int, parameter: Tensor) -> Tensor:
    """AdamW's count of a tensor's steps, beside the tensor in its fused form."""
    return torch.tensor(float(step), device=parameter.device)


def steps_taken(optimizer: torch.optim.Optimizer) -> int:
    """The number of AdamW's steps, by its own count."""
    inner = _unwrap(optimizer)
    states = getattr(inner, "optimizer", inner).state.values()
    return max((int(state["step"]) for state in states if "step" in state), default=0)


def _link_fragments(inner: torch.optim.Optimizer) -> None:
    """ZeRO-1 and 2: let each parameter find its fragment of the flat moments.

    DeepSpeed links all groups during the first group's first step, when the other groups have no moments yet.
    """
    if hasattr(inner, "_lazy_init_hp_params_optimizer_state"):
        inner._hp_optimizer_states_linked = False
        inner._lazy_init_hp_params_optimizer_state()


def _trainable(agent: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in agent.named_parameters() if p.requires_grad]


def _unwrap(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """torch's AdamW, or DeepSpeed's ZeRO optimiser, below accelerate's wrapper."""
    from accelerate.optimizer import AcceleratedOptimizer  # here: a machine that only measures has none

    return optimizer.optimizer if isinstance(optimizer, AcceleratedOptimizer) else optimizer


def _flat_partitions(inner: torch.optim.Optimizer) -> list[Tensor] | None:
    """This process's flat fp32 shards, which AdamW steps under ZeRO; None outside DeepSpeed."""
    if hasattr(inner, "single_partition_of_fp32_groups"):
        return inner.single_partition_of_fp32_groups
    return getattr(inner, "fp32_partitioned_groups_flat", None)


def _read(inner: torch.optim.Optimizer, parameter: nn.Parameter, moment: str) -> Tensor:
    if _flat_partitions(inner) is None:
        return inner.state[parameter][moment]
    from deepspeed.utils import safe_get_full_optimizer_state

    return safe_get_full_optimizer_state(parameter, moment)


def _write(parameter: nn.Parameter, moment: str, whole: Tensor) -> None:
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    if not is_partitioned(parameter):
        safe_set_full_optimizer_state(parameter, whole.to(parameter.device), moment)
        return
    size = parameter.partition_numel()  # the last shard is padded, which safe_set_full_* does not allow for
    rank = torch.distributed.get_rank()
    padded = torch.zeros(size * torch.distributed.get_world_size())
    padded[: whole.numel()] = whole.flatten()
    safe_set_local_optimizer_state(parameter, padded[rank * size : (rank + 1) * size], moment)


# ------------------------------------------------------------------------------------------------------------ gradients


class GradientWatch:
    """Checks that every parameter that is trained takes part in every backward, those that requires_grad says then.

    Under ZeRO-3 a trainable parameter that gets no gradient in a step is moved by the previous step's gradient once
    more, silently; under ZeRO-1 and 2 its momentum continues, in plain torch it is skipped. A loss that leaves a
    parameter out adds 0.0 * its sum, which removes the difference.
    """

    def __init__(self, agent: nn.Module):
        self._parameters, self._reached = _trainable(agent), set()
        self._hooks = [p.register_hook(partial(self._reach, name)) for name, p in self._parameters]

    def _reach(self, name: str, gradient: Tensor) -> None:
        self._reached.add(name)

    def check(self, step: int) -> None:
        """RunError where the backward since the last check left a trainable parameter out."""
        missing = [name for name, p in self._parameters if p.requires_grad and name not in self._reached]
        self._reached.clear()
        if missing:
            raise RunError(
                f"{len(missing)} trainable parameters got no gradient at step {step}, {missing[0]} among them; engines "
                "treat that differently (ZeRO-3 repeats the last one), so the objective must add 0.0 * its sum."
            )

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()
