"""The addresses of results: what decides a data set, a trained run, a record and an evaluation, as one hash each.

data key   task, regime, episodes, seed, loop
run key    data key + the policy without its name, description and selection + the training seed
online key run key of the start + the policy that goes on, without its name and description + environment steps + seed
cell key   run key + selection + evaluation request + the policy's name, which a report shows
request    policy without its name, task, checkpoint, seed, start states, loop: all that decides the episodes

No path, host or date enters one: equal requests have equal addresses on every machine. A sweep addresses its cells with
these functions, and verification takes the addresses of stored records again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robo_orl.config import DataRequest, EvaluationRequest, PolicyConfig, ReferenceConfig, sha256_of
from robo_orl.config.strict import remembered

# Raise one when a change of the code or of a default changes what that step computes: results of before are then
# computed anew. A change of one objective raises the `version` of its class.
STEP_VERSIONS = {"data": 1, "train": 1, "online": 1, "evaluate": 1, "cost": 1}

Policy = PolicyConfig | ReferenceConfig


def needs_next_obs(policy: Policy) -> bool:
    """True where its data must hold next_obs: robomimic's RL algorithms read it, ours derive it by index."""
    return isinstance(policy, ReferenceConfig) and bool(policy.settings["train"]["hdf5_load_next_obs"])


def data_key(task_digest: str, regime: str, data: DataRequest, next_obs: bool = False) -> str:
    """The address of a data set."""
    request = {"task": task_digest, "regime": regime, **_identity(data)}
    if next_obs:  # the same episodes in another file
        request["next_obs"] = True
    return sha256_of({"version": STEP_VERSIONS["data"], **request})


def run_key(data: str | Sequence[tuple[str, float]], policy: Policy, seed: int, objective_version: int = 1) -> str:
    """The address of a trained run. data: one data key, or the data key and the weight of each of several tasks.

    objective_version: that of the policy's objective, which is part of the address where it is not 1.
    """
    learned = _learned(policy)
    learned_from = data if isinstance(data, str) else [[key, weight] for key, weight in data]
    request = {"version": STEP_VERSIONS["train"], "data": learned_from, "policy": learned, "seed": seed}
    if objective_version != 1:
        request["objective"] = objective_version
    return sha256_of(request)


def online_key(
    start: str, policy: PolicyConfig, steps: int, seed: int, objective_version: int = 1, task_digest: str | None = None
) -> str:
    """The address of a run that went on to learn in its task. start: the address of the run that it began with.

    The policy's selection is part of it: it decides what is collected. task_digest: of the task that it goes on in,
    where the start learned several.
    """
    request = {
        "version": STEP_VERSIONS["online"],
        "start": start,
        "policy": policy.identity(exclude={"name"}),
        "steps": steps,
        "seed": seed,
    }
    if objective_version != 1:
        request["objective"] = objective_version
    if task_digest is not None:
        request["task"] = task_digest
    return sha256_of(request)


def cell_key(run: str, policy: Policy, evaluation: EvaluationRequest, task_digest: str | None = None) -> str:
    """The address of a record. task_digest: of the task that is judged, where the run learned several."""
    judged = {"task": task_digest} if task_digest is not None else {}  # else the run says it
    return sha256_of({
        "version": STEP_VERSIONS["evaluate"], "run": run, "policy": policy.name,
        "selection": _identity(policy.selection), "evaluation": _identity(evaluation), **judged,
    })  # fmt: skip


@remembered
def _learned(policy: Policy) -> dict[str, Any]:
    """What decides a training on given data with a given seed."""
    return policy.identity(exclude={"name", "selection"})


@remembered
def _acting(policy: Policy) -> str:
    return sha256_of(policy.identity(exclude={"name"}))


@remembered
def _identity(config: Any) -> dict[str, Any]:
    return config.identity()


def evaluation_request(
    policy: Policy,
    task_digest: str,
    checkpoint_sha256: str,
    seed: int,
    starts_sha256: str,
    loop: str,
    sentences: Sequence[str] = (),
    render: dict[str, Any] | None = None,
) -> str:
    """The hash of all that decides an episode of an evaluation, which every row of it holds.

    The policy's name is no part of it: rows of a suite that choose differently share one training, under one name.
    """
    observed: dict[str, Any] = {"sentences": list(sentences)} if sentences else {}
    if render is not None:
        observed["pictures"] = [render["look"], render["reference_sha256"]]
    return sha256_of(
        observed
        | {
            "policy": _acting(policy),
            "task": task_digest,
            "checkpoint": checkpoint_sha256,
            "seed": seed,
            "starts": starts_sha256,
            "loop": loop,
        }
    )


def evaluation_gamma(control_hz: int) -> float:
    """The discount per decision of discounted returns: equal for all policies, and for all control rates per second of
    simulated time."""
    return 0.99 ** (20 / control_hz)
