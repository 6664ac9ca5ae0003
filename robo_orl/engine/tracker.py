"""The tracker of a run: checked before data are opened, and started with its files under the run's folder."""

from __future__ import annotations

import netrc
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from accelerate import Accelerator

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.machine import package_version
from robo_orl.config import RunConfig

# By installed packages: a folder ./wandb, which wandb itself leaves behind, can be imported as well.
PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}
FOLDERS = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")
KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
CONNECT_S = 5.0
OFFLINE = "WANDB_MODE=offline keeps the run under --out"


def check_tracker(tracker: str, main: bool, environment: Mapping[str, str] = os.environ) -> str | None:
    """The tracker's name for accelerate, None without one.

    main: whether this process reports. Raises UsageError where its package is missing (accelerate would drop it), or
    where wandb has no key or does not reach its server.
    """
    if tracker == "none":
        return None
    if not any(package_version(package) for package in PACKAGES[tracker]):
        raise UsageError(
            f"The tracker {tracker} is not installed: `pip install {tracker}`, or --tracker none (metrics.jsonl is "
            "always written)."
        )
    if tracker == "wandb" and main and environment.get("WANDB_MODE", "online") in ("online", "run", ""):
        _check_wandb_online(environment)
    return tracker


def _check_wandb_online(environment: Mapping[str, str]) -> None:
    address = urlsplit(environment.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    host, port = address.hostname or "api.wandb.ai", address.port or (80 if address.scheme == "http" else 443)
    if not any(environment.get(key) for key in KEYS) and not _in_netrc(host, environment):
        raise UsageError(f"The tracker wandb has no key for {host}: run `wandb login` or set WANDB_API_KEY; {OFFLINE}.")
    if any(environment.get(proxy) for proxy in PROXIES):
        return
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"The tracker wandb does not reach {host}:{port} ({reason}); {OFFLINE}.") from None


def _in_netrc(host: str, environment: Mapping[str, str]) -> bool:
    """True if a netrc file, where `wandb login` stores keys, has one for the host."""
    home = Path(os.path.expanduser("~"))
    for path in (environment.get("NETRC"), home / ".netrc", home / "_netrc"):
        try:
            if path and netrc.netrc(str(path)).authenticators(host):
                return True
        except (OSError, ValueError, netrc.NetrcParseError):
            continue
    return False


def start_tracker(accelerator: Accelerator, run: RunConfig, out: Path) -> None:
    """Start the run's tracker; RunError in a sentence where it fails.

    wandb writes below `out`, unless the environment names its folders: it takes a temporary folder where the named one
    does not exist.
    """
    if run.tracker == "wandb" and accelerator.is_main_process:
        (out / "tracker").mkdir(parents=True, exist_ok=True)
        for folder in FOLDERS:
            os.environ.setdefault(folder, str((out / "tracker").resolve()))
    values = {"policy": run.policy.name, "task": run.task.name, "seed": run.seed}
    try:
        accelerator.init_trackers("robo_orl", config=values)
    except Exception as error:  # of a library of others: it may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"The tracker {run.tracker} did not start: {reason.rstrip('.')}; --tracker none trains without it."
        ) from error
