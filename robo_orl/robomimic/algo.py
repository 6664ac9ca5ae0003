"""An algorithm object of robomimic: its construction, its parts, and the state that training changes.

Hierarchical algorithms hold others (`planner`, `actor`, `value_net`); `parts` walks them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from robomimic.algo import Algo, RolloutPolicy, algo_factory
from robomimic.utils import obs_utils

from robo_orl.base.errors import UsageError
from robo_orl.robomimic.algorithms import captured_stdout

if TYPE_CHECKING:
    from robomimic.config import Config


def device() -> torch.device:
    """The device of references: the first GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_algo(config: Config, shapes: dict[str, list[int]], action_dim: int) -> Algo:
    """A freshly initialised algorithm. shapes: key -> [D].

    Raises:
        UsageError: settings that robomimic itself refuses.
    """
    try:
        with captured_stdout():
            obs_utils.initialize_obs_utils_with_config(config)
            return algo_factory(config.algo_name, config, shapes, action_dim, device())
    except (AssertionError, NotImplementedError, KeyError, ValueError, TypeError) as error:
        reason = f"{type(error).__name__} {error}".strip()
        raise UsageError(f"robomimic cannot build {config.algo_name} with these settings ({reason}).") from None


def parts(algo: Algo, at: str = "") -> Iterator[tuple[str, Algo]]:
    """(dotted name, algorithm) of an algorithm and of those that it holds; its own name is empty."""
    yield at, algo
    for name, value in vars(algo).items():
        if isinstance(value, Algo):
            yield from parts(value, f"{at}.{name}" if at else name)


def fork(algo: Algo) -> Algo:
    """The same networks with a memory of its own: hidden states, subgoals and counters of one episode."""
    twin = copy.copy(algo)
    for name, value in vars(algo).items():
        if isinstance(value, Algo):
            setattr(twin, name, fork(value))
    return twin


def fork_policy(policy: RolloutPolicy) -> RolloutPolicy:
    """A policy for one episode beside others with the same networks."""
    return RolloutPolicy(fork(policy.policy), policy.obs_normalization_stats)


def parameter_counts(algo: Algo) -> dict[str, int]:
    """Per network, targets included, and their total."""
    counts = {
        f"{at}.{name}" if at else name: sum(p.numel() for p in net.parameters())
        for at, part in parts(algo)
        for name, net in (part.nets.items() if "nets" in vars(part) else ())
    }
    return counts | {"total": sum(counts.values())}


# ------------------------------------------------------------------------------------------------------------- resuming


def learning_state(algo: Algo) -> dict[str, Any]:
    """Optimisers, schedules and counters, which robomimic's own checkpoints leave out."""
    return {
        at: {
            "optimizers": _states(vars(part).get("optimizers", {})),
            "lr_schedulers": _states(vars(part).get("lr_schedulers", {})),
            "counters": {name: value for name, value in vars(part).items() if type(value) is int},
        }
        for at, part in parts(algo)
    }


def restore_learning(algo: Algo, state: dict[str, Any]) -> None:
    """Put `learning_state` back into a freshly built algorithm."""
    for at, part in parts(algo):
        for group in ("optimizers", "lr_schedulers"):
            _restore(vars(part).get(group, {}), state[at][group])
        vars(part).update(state[at]["counters"])


def _states(group: Any) -> Any:
    """The state of everything that has one, in the shape of `group`: dictionaries and lists of optimisers."""
    if isinstance(group, dict):
        return {name: _states(item) for name, item in group.items()}
    if isinstance(group, list):
        return [_states(item) for item in group]
    return None if group is None else group.state_dict()


def _restore(group: Any, state: Any) -> None:
    if isinstance(group, dict):
        for name, item in group.items():
            _restore(item, state[name])
    elif isinstance(group, list):
        for item, own in zip(group, state, strict=True):
            _restore(item, own)
    elif group is not None:
        group.load_state_dict(state)
