"""The reasons why a policy cannot learn from a file: one definition, for `data validate` and for the reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import h5py
import numpy as np

from robo_orl.base.errors import UsageError, unknown
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arm_frames import TURNED, arm_yaws
from robo_orl.data.array_checks import array_faults, each_episode, value_faults
from robo_orl.data.arrays import Reading
from robo_orl.data.layouts import is_isaac_lab, links_out, other_layout
from robo_orl.data.rewards import file_scale, missing_rewards

RANGE = 1 + 1e-6  # of actions


def container_faults(file: h5py.File) -> list[str]:
    """The faults that end an examination: another layout, another version, numbers that lie elsewhere."""
    other = other_layout(file)
    if other is not None:
        return [other]
    outside = list(links_out(file))
    if outside:
        return outside
    try:
        made = layout.provenance(file)
    except UsageError as error:
        return [str(error)]
    if not layout.demo_names(file):
        return ["The group 'data' holds no demo."]
    if made and not layout.digest_fits(file):
        return ["data: task_digest does not belong to the stored task, so one of the two was edited."]
    return []


def training_faults(file: h5py.File, reading: Reading) -> Iterator[str]:
    """The reasons why a policy that reads `reading` cannot learn from the file; nothing else of it must be whole."""
    stop = container_faults(file)
    if stop:
        yield from stop
        return
    for name in layout.demo_names(file):
        demo = file["data"][name]
        if not isinstance(demo.get("obs"), h5py.Group):
            what = "is a dataset, but it must be a group with one dataset a key" if "obs" in demo else "is missing"
            yield f"{name}: the dataset obs is missing." if "obs" not in demo else f"{name}: obs {what}."
            return
    try:
        sizes = chosen_keys(file, reading)
    except UsageError as error:
        yield str(error)
        return
    lacking = list(_cameras_without_pictures(file, reading.cameras))
    if lacking:
        yield from lacking
        return
    shapes: dict[str, tuple] = {}

    def check(demo: h5py.Group, name: str) -> Iterator[str]:
        yield from _episode_faults(demo, name, list(sizes), reading, shapes)

    faults = list(each_episode(file, check))
    yield from faults
    if reading.rewards and not faults:
        scale = file_scale(file, reading.choice)
        if isinstance(scale, str):
            yield scale


def chosen_keys(file: h5py.File, reading: Reading) -> dict[str, int]:
    """Low-dim key -> size that `reading` reads of the file; UsageError where a key is in no or not in every episode."""
    sizes = layout.low_dim_sizes(file)
    if reading.keys is None:
        offered = sizes if reading.offered is None else [key for key in reading.offered if key in sizes]
        if not offered and not reading.cameras:
            known = ", ".join(reading.offered or ())
            raise UsageError(f"{file.filename} has no observation key in every episode{f' of {known}' * bool(known)}.")
        return {key: sizes[key] for key in offered}
    for key in reading.keys:
        if key not in sizes:
            raise _unreadable_key(file, key, sizes)
    return {key: sizes[key] for key in reading.keys}


def _cameras_without_pictures(file: h5py.File, cameras: Iterable[str]) -> Iterator[str]:
    known = [key.removesuffix(layout.IMAGE) for key in layout.image_keys(file)]
    for camera in (c for c in cameras if c not in known):
        yield (
            f"{file.filename} has no pictures of the camera '{camera}' (it has {', '.join(known) or 'none'}); "
            f"`robo-orl data add-images {file.filename} --cameras {camera}` renders them."
        )


def _unreadable_key(file: h5py.File, key: str, sizes: dict[str, int]) -> UsageError:
    demos = {name: file["data"][name]["obs"] for name in layout.demo_names(file)}
    holders = [name for name, obs in demos.items() if layout.stored_name(obs, key)]
    if not holders:
        return unknown(f"observation key of {file.filename}", key, sizes)
    if len(holders) < len(demos):
        lacking = next(name for name in demos if name not in holders)
        return UsageError(f"{lacking}: obs/{key} is missing, which {holder_in_words(holders[0], demos)} has.")
    data = demos[holders[0]][layout.stored_name(demos[holders[0]], key)]
    return UsageError(
        f"{holders[0]}/obs/{key}: has shape {data.shape} and type {data.dtype}, but a low-dim key is numbers (T,) or "
        "(T, D)."
    )


def holder_in_words(holder: str, names: Iterable[str]) -> str:
    """The episode that holds a key, in words."""
    return "the first demo" if holder == next(iter(names)) else holder


def _episode_faults(
    demo: h5py.Group, name: str, keys: list[str], reading: Reading, shapes: dict[str, tuple]
) -> Iterator[str]:
    if "actions" not in demo:
        yield f"{name}: the dataset actions is missing."
        return
    length = len(demo["actions"]) if demo["actions"].shape else 0
    if length < 1:
        yield f"{name}: holds no frame."
        return
    yield from array_faults(f"{name}/actions", "actions", demo["actions"], length, shapes, kinds="fiu")
    if demo["actions"].ndim == 2 and demo["actions"].dtype.kind in "fiu":
        yield from action_range_faults(f"{name}/actions", demo, reading.choice.clip_actions)
    for key in keys:
        stored = layout.stored_name(demo["obs"], key)
        if stored is None:
            yield f"{name}: obs/{key} is missing, which the first demo has."
            continue
        yield from array_faults(f"{name}/obs/{stored}", f"obs/{stored}", demo["obs"][stored], length, shapes)
    for camera in reading.cameras:
        key = f"{camera}{layout.IMAGE}"
        if key not in demo["obs"]:
            yield f"{name}: obs/{key} is missing, which other demos have."
            continue
        yield from array_faults(f"{name}/obs/{key}", f"obs/{key}", demo["obs"][key], length, shapes)
    if "rewards" in demo:
        rewards = demo["rewards"]
        if rewards.size != length or len(rewards) != length:
            yield f"{name}/rewards: has {len(rewards) if rewards.shape else 'no'} frames, but the episode has {length}."
        else:
            yield from value_faults(f"{name}/rewards", "rewards", rewards[:])
    elif reading.rewards and not ("success" in demo.attrs and reading.choice.rewards == "success"):
        yield missing_rewards(demo)


def action_range_faults(where: str, demo: h5py.Group, clip: bool) -> Iterator[str]:
    """Absolute poses, named as such, and actions outside [-1, 1] that the reader does not clip, with the remedy."""
    actions = np.asarray(demo["actions"][:])
    outside = np.abs(actions) > RANGE
    if is_absolute(demo, actions):
        yield (
            f"{where}: are absolute poses (they follow robot0_eef_pos), and the controllers here take deltas: read a "
            "file of delta actions."
        )
    elif outside.any() and not clip:
        frame = int(np.argwhere(outside)[0][0])
        yield (
            f"{where}: leaves [-1, 1], first at frame {frame} ({np.abs(actions).max():.3g}); --clip-actions (of "
            "train, or of data edit for a copy) clips them, as the controllers do."
        )


def is_absolute(demo: h5py.Group, actions: np.ndarray) -> bool:
    """True where the first three numbers of the actions are where the hand is, within 10 cm on average."""
    obs = demo.get("obs")
    hand = obs.get("robot0_eef_pos") if isinstance(obs, h5py.Group) else None
    if (
        not isinstance(hand, h5py.Dataset)
        or actions.ndim != 2
        or hand.shape != (len(actions), 3)
        or actions.shape[1] < 3
    ):
        return False
    return bool(np.linalg.norm(actions[:, :3] - hand[:], axis=1).mean() < 0.1)


def training_notes(file: h5py.File, reading: Reading) -> list[str]:
    """Facts about a file that trains: counts that contradict it, keys and stages that are left out."""
    notes, names = [], layout.demo_names(file)
    demos = {name: file["data"][name] for name in names}
    wrong = [name for name, demo in demos.items() if claimed_frames(demo) not in (None, len(demo["actions"]))]
    if wrong:
        demo = demos[wrong[0]]
        notes.append(
            f"num_samples contradicts the stored frames in {len(wrong)} of {len(names)} episodes ({wrong[0]}: "
            f"{claimed_frames(demo)} against {len(demo['actions'])}); the stored frames count"
        )
    if arm_yaws(layout.env_args(file)):
        notes.append(TURNED)
    if is_isaac_lab(demos[names[0]]):
        notes.append(
            "it is an Isaac Lab recording: its states are of another simulator, so that it does not replay here"
        )
    sizes = layout.low_dim_sizes(file)
    for key in reading.offered or () if reading.keys is None else ():
        if key in sizes:
            continue
        lacking = [name for name in names if not layout.stored_name(file["data"][name]["obs"], key)]
        where = "no episode" if len(lacking) == len(names) else f"{len(lacking)} of {len(names)} episodes lack it"
        notes.append(f"the task's key '{key}' is not read: " + (f"{where} has it" if where == "no episode" else where))
    without = stage_note(file)
    return [*notes, without] if without else notes


def stage_note(file: h5py.File) -> str | None:
    """The sentence about a file whose episodes have no stages in common, with the way to get them; None where they do.

    Stages of data come from the simulator's states, which `data convert` restores in the scene of a task.
    """
    if layout.stage_count(file):
        return None
    demos = [file["data"][name] for name in layout.demo_names(file)]
    lacks = "has no stages" if not any("stages" in demo for demo in demos) else "has episodes with other stages"
    left_out = f"it {lacks}, so results by stage of its episodes are left out (evaluation has its own)"
    if all(isinstance(demo.get("states"), h5py.Dataset) for demo in demos):
        return f"{left_out}: `robo-orl data convert FILE --task TASK --out NEW.hdf5` takes them from its states"
    return f"{left_out}, and it has no states of this simulator to take them from"


def claimed_frames(demo: h5py.Group) -> int | None:
    """The frames that an episode says it has; None where it says none."""
    try:
        return int(demo.attrs["num_samples"])
    except (KeyError, ValueError, TypeError):
        return None
