"""robomimic's checkpoints (.pth): written as its own tools read them, and read without trusting them.

A .pth is a pickle, which can run any code when it is loaded. Here it is read by torch's restricted unpickler, which
knows tensors and plain values and refuses everything else.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from robo_orl.base.errors import RunError, UsageError

KEYS = ("model", "config", "algo_name", "shape_metadata")
SECTIONS = ("algo", "train", "experiment", "observation")  # of its configuration, those that are read here


def read_weights(path: Path, trust_pickle: bool = False) -> dict[str, Any]:
    """The dictionary in a robomimic checkpoint, on the CPU.

    trust_pickle: unpickle whatever is in the file, for old checkpoints from a source that you trust.

    Raises:
        UsageError: no such file, no robomimic checkpoint, a file that would execute code, networks that see pictures.
    """
    values = _unpickled(path, trust_pickle)
    missing = [key for key in KEYS if not isinstance(values, dict) or key not in values]
    if missing:
        raise UsageError(f"{path} is no robomimic checkpoint: it has no '{missing[0]}'.")
    try:
        config = json.loads(values["config"])
        if not all(isinstance(config[section], dict) for section in SECTIONS):
            raise TypeError("a section is no mapping")
        _check_low_dim(config["observation"], path)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(f"{path} is no robomimic checkpoint: its configuration cannot be read.") from None
    return values


def _unpickled(path: Path, trust_pickle: bool) -> Any:
    if not path.is_file():
        raise UsageError(f"There is no checkpoint {path}.")
    if wrong := _wrong_file(path):
        raise UsageError(f"{path} is no checkpoint: {wrong}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if trust_pickle or "truncated" in str(error):
            raise UsageError(f"{path} is damaged or cut short; copy it again.") from None
        named = re.search(r"GLOBAL ([\w.]+)|global ([\w.]+)|Unsupported class ([\w.]+)", str(error))
        named_class = f" (it names {next(filter(None, named.groups()))})" if named else ""
        raise UsageError(
            f"{path} was not loaded: it is no plain checkpoint and could execute code{named_class}. If you trust its "
            "source, give --trust-pickle."
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, ImportError) as error:
        raise UsageError(f"{path} cannot be read as a checkpoint: {' '.join(str(error).split())[:160]}.") from None


def _wrong_file(path: Path) -> str:
    """The reason why a file is no checkpoint of torch, from its first and last bytes; empty where it may be one."""
    with path.open("rb") as stream:
        begins = stream.read(2)
    if not begins:
        return "it is empty"
    if begins == b"PK":  # torch's zip archive, whose table of contents comes last
        return "" if zipfile.is_zipfile(path) else "it is cut short, so copy it again"
    return "" if begins[:1] == b"\x80" else "it is text or a file of another kind"  # a pickle, as before torch 1.6


def _check_low_dim(observation: dict, path: Path) -> None:
    """UsageError where a network reads more than vectors.

    robomimic evaluates the class names of its picture encoders as Python, so that a configuration alone can execute
    code; the encoder of vectors is built of nothing but sizes.
    """
    for name, part in observation.items():
        if name == "modalities":
            seen = [m for role in part.values() for m, keys in role.items() if keys and m != "low_dim"]
            if seen:
                raise UsageError(f"{path} sees {seen[0]}; references here see low-dim observations only.")
        elif name == "encoder":
            vectors = part.get("low_dim") or {}
            named = [key for key in ("core_class", "obs_randomizer_class") if vectors.get(key)]
            if named:
                raise UsageError(
                    f"{path} puts a {vectors[named[0]]!r} before its low-dim keys, which is not supported."
                )
        elif isinstance(part, dict):
            _check_low_dim(part, path)


def read_state(path: Path) -> dict[str, Any]:
    """Tensors and plain values that `torch.save` wrote here; RunError where the file is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise RunError(f"{path} cannot be read ({error}); remove its folder to go on from the one before.") from None
