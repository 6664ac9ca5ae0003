"""From an HDF5 file that has been checked to flat arrays on disk: what `cache` opens."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arm_frames import arm_yaws, in_base_axes
from robo_orl.data.arrays import Adjustments, Reading
from robo_orl.data.rewards import RewardScale, file_scale, first_success, stored_rewards
from robo_orl.data.training_checks import RANGE, chosen_keys, training_notes


@dataclass(frozen=True, slots=True)
class EpisodeRows:
    """One episode as it is trained on: T frames, those after the first success left out."""

    observations: np.ndarray  # (T, W) float32
    actions: np.ndarray  # (T, A) float32
    rewards: np.ndarray  # (T,) float32
    stages: np.ndarray  # (T, S) uint8
    success: bool
    terminal: bool
    stored: int  # frames in the file
    clipped: int  # frames whose action left [-1, 1]
    largest_action: float


def write_arrays(file: h5py.File, sha256: str, reading: Reading, into: Path) -> None:
    """Write the arrays and index.json of a file without training faults into the folder `into`."""
    sizes = chosen_keys(file, reading)
    scale = file_scale(file, reading.choice)
    demos = [file["data"][name] for name in layout.demo_names(file)]
    stage_count = layout.stage_count(file)
    yaws = arm_yaws(layout.env_args(file))
    rows = [read_rows(demo, list(sizes), scale, reading, stage_count, yaws) for demo in demos]
    actions = np.concatenate([row.actions for row in rows])
    np.save(into / "observations.npy", np.concatenate([row.observations for row in rows]))
    np.save(into / "actions.npy", actions)
    np.save(into / "rewards.npy", np.concatenate([row.rewards for row in rows]))
    np.save(into / "stages.npy", np.concatenate([row.stages for row in rows]))
    lengths = [len(row.actions) for row in rows]
    np.save(into / "starts.npy", np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
    np.save(into / "success.npy", np.array([row.success for row in rows]))
    np.save(into / "terminal.npy", np.array([row.terminal for row in rows]))
    np.save(into / "start_state.npy", np.array([demo.attrs.get("start", -1) for demo in demos], np.int64))
    cut = [row.stored - len(row.actions) for row in rows]
    adjusted = Adjustments(
        clipped_frames=sum(row.clipped for row in rows),
        largest_action=max(row.largest_action for row in rows),
        cut_frames=sum(cut),
        cut_episodes=sum(frames > 0 for frames in cut),
        rewards=scale.sentence if isinstance(scale, RewardScale) else None,
    )
    index = _index(file, sizes) | {"sha256": sha256, "frames": len(actions)}
    index |= {"adjusted": asdict(adjusted), "notes": training_notes(file, reading)}
    index |= {"reward_fault": None if isinstance(scale, RewardScale) else scale}
    (into / "index.json").write_text(json.dumps(index))


def read_rows(
    demo: h5py.Group,
    keys: list[str],
    scale: RewardScale | str,
    reading: Reading,
    stage_count: int,
    yaws: tuple[float, ...] = (),
) -> EpisodeRows:
    """One episode; a scale that is a refusal gives rewards of 0, for policies that read none. yaws: of arm_frames."""
    frames = len(demo["actions"])
    columns = [np.asarray(demo["obs"][layout.stored_name(demo["obs"], key)][:]) for key in keys]
    observations = np.concatenate([c.reshape(frames, -1) for c in columns], axis=1, dtype=np.float32)
    actions = in_base_axes(np.asarray(demo["actions"][:], dtype=np.float32), yaws)
    size = np.abs(actions).max(axis=1)  # (T,)
    if reading.choice.clip_actions:
        actions = np.clip(actions, -1.0, 1.0)
    stages = np.asarray(demo["stages"][:]) if stage_count else np.zeros((frames, 0))
    known = isinstance(scale, RewardScale)
    stored = stored_rewards(demo)
    rewards = scale.apply(stored) if known and stored is not None else np.zeros(frames, np.float32)
    if known and reading.choice.rewards == "success":
        at = success_frame(demo)
        rewards = (np.arange(frames) == (-1 if at is None else at)).astype(np.float32)
    first = first_success(demo, rewards, known and scale.sparse)
    end = frames if first is None or reading.choice.after_success == "keep" else first + 1
    success = succeeded(demo, rewards)
    done = "dones" in demo and bool(np.asarray(demo["dones"][:]).ravel()[end - 1])
    return EpisodeRows(
        observations=observations[:end],
        actions=actions[:end],
        rewards=rewards[:end],
        stages=stages[:end].astype(np.uint8),
        success=success,
        # robomimic's own files set done at the last step of a timeout too: only a success is a terminal
        terminal=(success and (done or first == end - 1)) or bool(demo.attrs.get(layout.ENDED, False)),
        stored=frames,
        clipped=int((size[:end] > RANGE).sum()),
        largest_action=float(size[:end].max()),
    )


def succeeded(demo: h5py.Group, rewards: np.ndarray | None = None) -> bool:
    """The success of an episode: as it says, and in files of other software, whether it was ever rewarded."""
    if "success" in demo.attrs:
        return bool(demo.attrs["success"])
    if rewards is None:
        rewards = stored_rewards(demo)
    return rewards is not None and bool((rewards > 0).any())


def success_frame(demo: h5py.Group) -> int | None:
    """The frame of the success that an episode states by its stages, its `success` or a done before its end."""
    first = first_success(demo, None, False)
    if first is not None:
        return first
    if "success" in demo.attrs:
        return len(demo["actions"]) - 1 if demo.attrs["success"] else None
    done = np.flatnonzero(np.asarray(demo["dones"][:]).ravel()) if "dones" in demo else []
    return int(done[0]) if len(done) and done[0] < len(demo["actions"]) - 1 else None


def _index(file: h5py.File, sizes: dict[str, int]) -> dict:
    names = layout.demo_names(file)
    attributes = [file["data"][name].attrs for name in names]
    made = layout.provenance(file)
    return {
        "spec": sizes,
        "names": names,
        "operators": [str(a.get("operator", "")) for a in attributes],
        "grades": [str(a.get("grade", "")) for a in attributes],
        "masks": layout.masks(file),
        "task": made.task.model_dump(mode="json") if made else None,
        "regime": made.regime if made else None,
        "loop": made.loop if made else None,
        "env": layout.env_args(file),
        "action_names": layout.action_names(file),
        "action_range": layout.action_range(file),
    }
