"""Checkpoints that are complete or absent, and that any number of processes under any ZeRO stage can continue from.

A checkpoint is a folder of whole tensors, checkpoints/step_00001000/: agent.safetensors (parameters, targets,
normaliser), optimizer.safetensors (AdamW's two moments per trainable parameter) and state.json. Draws and data order
are functions of the step, so no generator state is needed. Nothing is pickled.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import flush, read_json
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.config import RunConfig, Strict
from robo_orl.engine.optimizer import set_moments, whole_moments
from robo_orl.engine.run_folder import build_run_agent, read_run, read_spec, run_identity
from robo_orl.engine.zero import gather

KEEP = 2
REMEDY = "remove its folder to go on from the one before"
AGENT, OPTIMIZER, STATE = "agent.safetensors", "optimizer.safetensors", "state.json"


class CheckpointState(Strict):
    """Everything in a checkpoint besides its tensors.

    wall_s: seconds of training so far. spec: digest of the spec. run: identity of the run, None in older checkpoints.
    skipped: steps that were counted and not made.
    """

    step: int
    skipped: int = 0
    wall_s: float = 0.0
    spec: str = ""
    run: str | None = None


def save_checkpoint(
    out: Path,
    agent: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: CheckpointState,
    write: bool = True,
    beside: Mapping[str, nn.Module] = MappingProxyType({}),
) -> None:
    """Write checkpoints/step_<state.step>, then drop all but the last two.

    beside: file name -> a module that learns beside the agent, the same one on every process. Every process calls it
    (ZeRO gathers together); the one with `write` holds and writes the tensors. Raises RunError when the disk is full or
    a weight is not finite; the checkpoints before stay as they are.
    """
    weights = _collect(whole_weights(agent), write)
    moments = _collect(whole_moments(agent, optimizer), write)
    if not write:
        return
    not_finite = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if not_finite:
        raise RunError(f"{not_finite[0]} is not finite at step {state.step}; the checkpoints before are kept.")
    folder = checkpoint_folder(out, state.step)
    with describe_os_errors(folder):
        modules = {name: module.state_dict() for name, module in beside.items()}
        _write_folder(folder, {AGENT: weights, OPTIMIZER: moments, **modules}, state)
    for old in checkpoints(out)[:-KEEP]:
        shutil.rmtree(old)


def save_weights(folder: Path, agent: nn.Module, state: CheckpointState, write: bool = True) -> None:
    """Write a checkpoint of the agent alone, without moments, to act from; every process calls it.

    Raises RunError on the process with `write` when the disk is full.
    """
    weights = _collect(whole_weights(agent), write)
    if write:
        with describe_os_errors(folder):
            _write_folder(folder, {AGENT: weights}, state)


def whole_weights(agent: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every entry of the state dict, gathered one at a time; a collective: all processes iterate."""
    for name, tensor in agent.state_dict(keep_vars=True).items():
        with gather([tensor]):
            yield name, tensor.detach()


def checkpoint_folder(out: Path, step: int) -> Path:
    """The folder of the checkpoint of a step."""
    return out / "checkpoints" / f"step_{step:08d}"


def checkpoints(out: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path for path in (out / "checkpoints").glob("step_*") if path.is_dir())


def remove_partial(out: Path) -> None:
    """Delete the unfinished checkpoints of a killed process."""
    for path in (out / "checkpoints").glob(".step_*"):
        shutil.rmtree(path, ignore_errors=True)


def read_state(folder: Path) -> CheckpointState:
    """The state in a checkpoint; RunError where it is damaged."""
    try:
        return CheckpointState.model_validate(read_json(folder / STATE, REMEDY))
    except (UsageError, ValidationError):
        raise RunError(f"{folder / STATE} is missing or damaged; {REMEDY}.") from None


def restore_agent(folder: Path, agent: nn.Module, identity: str | None = None) -> CheckpointState:
    """Put a checkpoint's tensors into an agent that is not yet prepared; returns the checkpoint's state.

    identity: of the run that continues; UsageError for a checkpoint of another run.
    """
    state = read_state(folder)
    if identity is not None and state.run not in (None, identity):
        raise UsageError(f"{folder} belongs to another run than its folder's config.json; choose another --out.")
    try:
        problems = agent.load_state_dict(_load(folder / AGENT), strict=False)
    except RuntimeError as error:  # a tensor of another shape
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{folder} holds another agent than this version builds: {reason}.") from None
    differing = [*problems.missing_keys, *problems.unexpected_keys]
    if differing:
        raise RunError(f"{folder} holds another agent than this version builds: {differing[0]} is not in both.")
    return state


def restore_optimizer(folder: Path, agent: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Put a checkpoint's moments into a prepared optimiser, whatever engine wrote them."""
    moments = _load(folder / OPTIMIZER)
    try:
        set_moments(agent, optimizer, moments, step)
    except KeyError as error:
        raise RunError(f"{folder / OPTIMIZER} has no {error}; {REMEDY}.") from None


def restore_beside(folder: Path, name: str, module: nn.Module) -> None:
    """Put a checkpoint's tensors into a module that learns beside the agent."""
    try:
        module.load_state_dict(_load(folder / name))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{folder / name} holds another module than this version builds: {reason}.") from None


def load_agent(run_dir: Path | str, checkpoint: Path | None = None) -> tuple[nn.Module, RunConfig]:
    """The agent of a run's newest checkpoint, on the CPU and in evaluation mode, and the run's configuration.

    checkpoint: another one of the run, or a copy of its weights on the way.

    Raises UsageError where run_dir is no run or has no checkpoint yet, RunError for a damaged one.
    """
    run_dir = Path(run_dir)
    run, spec = read_run(run_dir), read_spec(run_dir)
    stored = [checkpoint] if checkpoint is not None else checkpoints(run_dir)
    if not stored:
        raise UsageError(f"{run_dir} has no checkpoint yet; train it first.")
    agent = build_run_agent(run, spec)
    state = restore_agent(stored[-1], agent, run_identity(run_dir, run))
    if not spec.has_digest(state.spec):
        raise RunError(f"{stored[-1]} was trained with other normalisation statistics than {run_dir}/spec.json holds.")
    return agent.eval(), run


# ------------------------------------------------------------------------------------------------------------ writing


def _collect(tensors: Iterable[tuple[str, Tensor]], keep: bool) -> dict[str, Tensor]:
    """Copies on the CPU where `keep`; the others only take part in the gathering."""
    copies = {}
    for name, tensor in tensors:
        if keep:
            copies[name] = tensor.detach().to("cpu", copy=True).contiguous()
    return copies


def _write_folder(folder: Path, files: dict[str, dict[str, Tensor]], state: CheckpointState) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for name, tensors in files.items():
            _save_tensors(tensors, partial / name)
        (partial / STATE).write_text(state.model_dump_json())
        for path in partial.iterdir():
            flush(path)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(partial, folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # it hides the operating system's error in its message
        raise OSError(int(number[1]) if number else 0, str(error)) from None


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read ({error}); {REMEDY}.") from None
