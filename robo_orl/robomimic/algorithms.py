"""robomimic's algorithms by the names of our command line, and their settings.

Settings are those of robomimic's own configuration classes. This package does the rest of its trainer's work (rollouts,
checkpoints, folders, trackers), which cannot be set.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_orl.base.errors import RunError, UsageError, unknown
from robo_orl.base.machine import package_version
from robo_orl.config import ReferenceConfig, apply_overrides, deep_merge, parse, read_yaml

if TYPE_CHECKING:
    from robomimic.config import Config


@dataclass(frozen=True)
class Algorithm:
    """name: robomimic's. settings: the changes of the class's defaults by which robomimic gets this variant."""

    name: str
    description: str
    settings: dict[str, Any] = field(default_factory=dict)


RNN_GMM = {
    "train": {"seq_length": 10},
    "algo": {"rnn": {"enabled": True}, "gmm": {"enabled": True}, "actor_layer_dims": []},
}
TRANSFORMER = {
    "train": {"frame_stack": 10},
    "algo": {
        "transformer": {"enabled": True, "supervise_all_steps": True},
        "gmm": {"enabled": True},
        "optim_params": {"policy": {"optimizer_type": "adamw", "regularization": {"L2": 0.01}}},
    },
}
ALGORITHMS = {
    # its study's settings for human data: scripts/generate_paper_configs.py
    "bc_rnn_gmm": Algorithm("bc", "Cloning by an LSTM with a Gaussian mixture.", RNN_GMM),
    # its template for transformers (exps/templates/bc_transformer.json, after 0.3.0), as far as 0.3.0 knows it
    "bc_transformer": Algorithm("bc", "Cloning by a Transformer over ten frames with a Gaussian mixture.", TRANSFORMER),
    "iql": Algorithm("iql", "Implicit Q-learning, expectile 0.9, advantage-weighted Gaussian policy."),
    "cql": Algorithm("cql", "Conservative Q-learning with Lagrange weight and entropy tuning."),
    "bcq": Algorithm("bcq", "Batch-constrained Q-learning: best of 100 samples of a VAE."),
    "td3_bc": Algorithm("td3_bc", "TD3 with a cloning term, normalised observations."),
    "hbc": Algorithm("hbc", "Hierarchical cloning: a VAE proposes subgoals, an LSTM follows them."),
    "iris": Algorithm("iris", "Hierarchical cloning whose subgoals a BCQ critic chooses."),
}
# Decided here: the file, the seed, the folder, the device, and the evaluation.
NOT_SET = ("data", "output_dir", "seed", "cuda", "goal_mode", "hdf5_validation_filter_key")
OPTIONS = {"data": "--data", "seed": "--seed", "output_dir": "--out"}  # of ours, that set it instead
# Limits that robomimic does not check: last part of a setting -> the limit in words, and its test.
SHARE = ("from 0 to 1", lambda value: 0 <= value <= 1)
RATE = ("above 0 and at most 1", lambda value: 0 < value <= 1)
DROPOUT = ("from 0 to below 1", lambda value: 0 <= value < 1)
POSITIVE = ("above 0", lambda value: value > 0)
WEIGHT = ("0 or more", lambda value: value >= 0)
LIMITS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "discount": SHARE,
    "vf_quantile": ("between 0 and 1", lambda value: 0 < value < 1),
    "target_tau": RATE,
    **dict.fromkeys(("attn_dropout", "emb_dropout", "block_output_dropout"), DROPOUT),
    **dict.fromkeys(("initial", "beta", "min_std", "init_std"), POSITIVE),
    **dict.fromkeys(("max_gradient_norm", "clip_adv_value", "latent_clip"), POSITIVE),
    "weight": SHARE,  # of the smallest value of an ensemble beside its largest
    **dict.fromkeys(("alpha", "cql_weight", "min_q_weight", "kl_weight"), WEIGHT),
    **dict.fromkeys(("l1_weight", "l2_weight", "cos_weight", "L2", "decay_factor"), WEIGHT),
    **dict.fromkeys(("noise_std", "noise_clip", "perturbation_scale", "num_data_workers", "bc_start_steps"), WEIGHT),
}


def resolve(name: str, settings: Sequence[str] = (), row: str = "", changes: dict | None = None) -> ReferenceConfig:
    """The reference `name` with `settings` ("algo.discount=0.95") laid on robomimic's defaults.

    row: how its rows are called, default robomimic_NAME. changes: the same as settings, nested, laid on first.

    Raises:
        UsageError: an unknown algorithm or setting, a value of the wrong kind.
        RunError: robomimic is not installed.
    """
    if name not in ALGORITHMS:
        raise unknown("algorithm", name, ALGORITHMS)
    known = deep_merge(_settable(ALGORITHMS[name].name), ALGORITHMS[name].settings)
    requested = apply_overrides(dict(changes or {}), list(settings))
    low_dim = requested.pop("low_dim", None)
    _check(known, requested, name)
    resolved = deep_merge(known, requested)
    _check_context_lengths(resolved)
    try:
        return ReferenceConfig(
            name=row or f"robomimic_{name}",
            description=ALGORITHMS[name].description,
            algorithm=name,
            library=installed(),
            settings=resolved,
            low_dim=low_dim,
        )
    except ValueError:
        raise UsageError(f"--set low_dim takes a list of observation keys, got {low_dim!r}.") from None


def load_reference(
    name: str, settings: Sequence[str] = (), changes: dict | None = None, row: str = ""
) -> ReferenceConfig:
    """A reference by its name, or by the path of a file that holds one; see `resolve`."""
    if not name.endswith((".yaml", ".yml")):
        return resolve(name, settings, row, changes)
    stored = parse(ReferenceConfig, read_yaml(Path(name)), name)
    if stored.library != installed():
        raise UsageError(f"{name} is made for {stored.library}; installed is {installed()}.")
    changed = deep_merge(stored.settings, changes or {})
    if stored.low_dim is not None:
        changed = {"low_dim": stored.low_dim} | changed
    return resolve(stored.algorithm, settings, row or stored.name, changed)


def _settable(algo_name: str) -> dict[str, Any]:
    """The defaults of a configuration class, as far as they are the user's to change."""
    values = json.loads(_config(algo_name).dump())
    train = {key: value for key, value in values["train"].items() if key not in NOT_SET}
    experiment = {"epoch_every_n_steps": values["experiment"]["epoch_every_n_steps"]}
    return {"algo": values["algo"], "train": train, "experiment": experiment}


def _check(known: dict, requested: dict, name: str, at: str = "") -> None:
    """UsageError for the first key that robomimic does not know and for the first value of another kind."""
    for key, value in requested.items():
        path = f"{at}.{key}" if at else str(key)
        if at == "train" and key in OPTIONS:
            raise UsageError(f"--set {path}: the option {OPTIONS[key]} sets this; give that instead.")
        if key not in known:
            raise unknown(f"setting of {name} in {at}" if at else f"setting of {name}", str(key), known)
        default = known[key]
        if isinstance(default, dict) != isinstance(value, dict):
            raise UsageError(
                f"--set {path}: this is {'a group of settings' if isinstance(default, dict) else 'a value'}."
            )
        if isinstance(default, dict):
            _check(default, value, name, path)
        elif not _same_kind(default, value):
            raise UsageError(f"--set {path}: expected {_kind(default)} like its default {default!r}, got {value!r}.")
        elif key in LIMITS and value is not None:
            words, within = LIMITS[key]
            if not _number(value) or not within(value):
                raise UsageError(f"--set {path}: expected a number {words}, got {value!r}.")


def _same_kind(default: Any, value: Any) -> bool:
    """True if a value is of the default's kind; None is the default of optional numbers, names and lists."""
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return type(default) is type(value)
    if isinstance(default, int) and isinstance(value, int):
        return value >= 1 or default < 1  # counts stay counts; an epoch of -1 means never
    return _number(value) if isinstance(default, float) else isinstance(value, type(default))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _kind(default: Any) -> str:
    if isinstance(default, bool):
        return "true or false,"
    if isinstance(default, int):
        return "a whole number of 1 or more," if default >= 1 else "a whole number"
    return {float: "a number", str: "a word", list: "a list"}.get(type(default), "a value")


def _check_context_lengths(settings: dict) -> None:
    """UsageError where a policy would act on longer or shorter sequences than it is trained on."""
    algo, train = settings["algo"], settings["train"]
    for at, section in (("algo", algo), ("algo.actor", algo.get("actor", {}))):
        for part, key, trained in (("rnn", "horizon", "seq_length"), ("transformer", "context_length", "frame_stack")):
            if section.get(part, {}).get("enabled") and section[part][key] != train[trained]:
                raise UsageError(
                    f"{at}.{part}.{key} is {section[part][key]} and train.{trained} is {train[trained]}: a policy acts "
                    "on sequences of the length that it is trained on, so set both."
                )


# ---------------------------------------------------------------------------------------------- robomimic's own objects


def _config(algo_name: str, values: dict | None = None) -> Config:
    try:
        from robomimic.config import config_factory
    except ImportError as error:
        raise RunError(f"robomimic cannot be imported ({error}); install it: pip install 'robo-orl[sim]'.") from None
    return config_factory(algo_name, dic=values)


@contextmanager
def captured_stdout() -> Iterator[None]:
    """Keep robomimic's prints off stdout, which belongs to our results."""
    with redirect_stdout(io.StringIO()):
        yield


def import_robomimic() -> None:
    """Import its algorithms, which takes seconds and prints a warning about macros; RunError where it cannot be.

    One warning, which torch raises about robomimic's tanh policies and nobody here can mend, is silenced.
    """
    warnings.filterwarnings("ignore", r".*TanhWrappedDistribution.* does not define `arg_constraints`", UserWarning)
    try:
        with captured_stdout():
            import robomimic.algo
            import robomimic.utils.train_utils  # noqa: F401
    except ImportError as error:
        raise RunError(f"robomimic cannot be imported ({error}); install it: pip install 'robo-orl[sim]'.") from None


def installed() -> str:
    """The library and its version; RunError where it is not installed."""
    installed_version = package_version("robomimic")
    if installed_version is None:
        raise RunError("robomimic is not installed; pip install 'robo-orl[sim]' brings it.")
    return f"robomimic {installed_version}"


def robomimic_config(reference: ReferenceConfig, keys: Sequence[str], data: str, seed: int) -> Config:
    """robomimic's locked configuration for a training on `data` that reads the low-dim `keys`."""
    algo_name = ALGORITHMS[reference.algorithm].name
    values = json.loads(_config(algo_name).dump())
    for section, changed in reference.settings.items():
        values[section] = deep_merge(values[section], changed)
    values["train"] |= {"data": data, "seed": seed}
    values["experiment"] |= {"name": reference.name, "validate": False, "render_video": False}
    values["experiment"]["rollout"]["enabled"] = False
    _set_observations(values["observation"], list(keys))
    config = _config(algo_name, values)
    config.lock()
    return config


def _set_observations(observation: dict, keys: list[str]) -> None:
    """Make every network of an algorithm, and its subgoals, read the low-dim `keys` and nothing else."""
    for name, part in observation.items():
        if name != "modalities":
            if isinstance(part, dict):
                _set_observations(part, keys)
            continue
        for role, modalities in part.items():
            for modality in modalities:
                modalities[modality] = list(keys) if modality == "low_dim" and role in ("obs", "subgoal") else []
