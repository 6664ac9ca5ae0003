"""What the episodes of a replay are of, and the room on the disk that they take."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import read_json
from robo_orl.base.text import notice
from robo_orl.config import Strict, View
from robo_orl.data.hdf5_schema import IMAGE
from robo_orl.envs.rendering.renderer import difference
from robo_orl.rollout.simulator import SimulatorInfo

LARGE = 1e9  # bytes of a replay that are said before a run begins


class ReplayRequest(Strict):
    """What the episodes of a replay are of. run: the identity of the run that collects them.

    view, render: the pictures of every frame, and the fingerprint of what makes them; None where the policy sees none.
    """

    run: str
    spec: dict[str, int]
    action_dim: int
    stages: list[str]
    loop: str
    view: View | None = None
    render: dict[str, Any] | None = None

    @property
    def cameras(self) -> tuple[str, ...]:
        """Those that the policy sees by."""
        return self.view.cameras if self.view is not None else ()

    @property
    def widths(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Per array the type and shape of a row."""
        vectors = {
            "observations": (np.dtype(np.float32), (sum(self.spec.values()),)),
            "actions": (np.dtype(np.float32), (self.action_dim,)),
            "rewards": (np.dtype(np.float32), ()),
            "stages": (np.dtype(np.uint8), (len(self.stages),)),
        }
        return vectors | {c + IMAGE: (np.dtype(np.uint8), (self.view.size, self.view.size, 3)) for c in self.cameras}

    @property
    def step_bytes(self) -> int:
        """Of the rows of one environment step."""
        return sum(dtype.itemsize * int(np.prod(width)) for dtype, width in self.widths.values())


def request_of(run: str, info: SimulatorInfo, view: View | None = None) -> ReplayRequest:
    """What a run collects in a simulator. run: its identity."""
    size = {"action_dim": info.action_dim, "stages": info.stages}
    return ReplayRequest(run=run, spec=info.spec, loop=info.loop, view=view, render=info.render, **size)


def check_request(folder: Path, request: ReplayRequest) -> None:
    """UsageError where a folder holds the replay of another run, or of another simulator or renderer."""
    path = folder / "request.json"
    if not path.exists():
        return
    stored, ours = read_json(path, "remove the folder of the replay to collect anew"), request.model_dump(mode="json")
    if stored.get("run") != ours["run"]:
        raise UsageError(f"{folder} holds the replay of another run; choose another --out, or remove that folder.")
    other = next((key for key in ours if key != "render" and stored.get(key) != ours[key]), None)
    if other is None and request.render is not None and difference(request.render, stored["render"]) is not None:
        other = "render"
    if other is not None:
        raise UsageError(
            f"{folder} was collected in another simulator (its {other} differs from this machine's): go on where it "
            "was begun, or choose another --out."
        )


def check_room(folder: Path, request: ReplayRequest, steps: int, there: int) -> None:
    """Say what a replay of `steps` environment steps will take where it is large, and refuse what the disk cannot hold.

    there: of these steps, how many the folder holds already. The last round may go over `steps` by its episodes. Raises
    RunError, before anything is written.
    """
    whole, missing = steps * request.step_bytes, max(steps - there, 0) * request.step_bytes
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if missing > free:
        raise RunError(
            f"The replay of {steps:,} steps takes {_size(whole)}, {_size(missing)} of it still to be collected, and "
            f"the disk of {place} has {_size(free)} free: lower --steps, or choose another --out."
        )
    if missing and whole > LARGE:
        notice(
            f"the replay of {steps:,} steps will take {_size(whole)} in {folder} ({request.step_bytes / 1e3:.1f} kB a "
            f"step); {_size(free)} are free there."
        )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count > 1e8 else f"{count / 1e6:.1f} MB"
