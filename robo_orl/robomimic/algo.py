"""An algorithm object of robomimic: its construction, its parts, the state that training changes, and how it acts.

Hierarchical algorithms hold others (`planner`, `actor`, `value_net`); `parts` walks them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from robomimic.algo import Algo, RolloutPolicy, algo_factory
from robomimic.utils import obs_utils

from robo_orl.base.errors import RunError, UsageError
from robo_orl.robomimic.algorithms import captured_stdout
from robo_orl.robomimic.training_loop import seed_all
from robo_orl.rollout.env_spec import Frames
from robo_orl.rollout.episodes import PolicyQuery

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


# --------------------------------------------------------------------------------------------------------------- acting


@dataclass
class Memory:
    """One episode's: its policy, and the frames that robomimic's FrameStackWrapper would hand it."""

    policy: RolloutPolicy
    frames: Frames


class ReferenceActor:
    """A robomimic policy as the policy of `Rollouts`: one action per answer, within [-1, 1].

    robomimic's policies remember (hidden states, subgoals, past frames) and act for one environment. Here every episode
    gets the same networks with a memory of its own, and every answer is computed alone: who else is in the batch, and
    how many processes simulate, changes nothing.

    keys: the observations that it was trained on. frame_stack: how many frames it sees at once, its config's.
    """

    dtype = torch.float32

    def __init__(self, policy: RolloutPolicy, keys: list[str], frame_stack: int, seed: int):
        self.policy, self.keys, self.frame_stack, self.seed = policy, keys, frame_stack, seed
        self._memories: dict[int, Memory] = {}

    def __call__(self, queries: list[PolicyQuery]) -> np.ndarray:
        """(B, 1, A) for B episodes. Raises RunError where an action is not finite."""
        actions = np.stack([self._act(query) for query in queries])
        if not np.isfinite(actions).all():
            raise RunError("The reference's actions are not finite: its training has diverged.")
        return np.clip(actions, -1.0, 1.0)[:, None].astype(np.float64)

    def _act(self, query: PolicyQuery) -> np.ndarray:
        if query.decision == 0:
            self._memories[query.episode] = Memory(fork_policy(self.policy), Frames(self.frame_stack))
            self._memories[query.episode].policy.start_episode()
        memory = self._memories[query.episode]
        memory.frames.add({key: query.obs[key] for key in self.keys})
        seed_all("acting", self.seed, query.episode, query.decision)
        with torch.no_grad():
            return memory.policy(memory.frames.stacked())
