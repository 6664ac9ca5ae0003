"""Episodes to and from robomimic's HDF5 layout (layout.py)."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np

from robo_orl.base.episode import Episode
from robo_orl.base.errors import RunError
from robo_orl.base.files import atomic_file
from robo_orl.data import hdf5_schema as layout

SPARE = 64 * 2**20  # bytes left free on a disk that pictures are written to
INSTALLED_ASSET = re.compile(r'file="[^"]*/(robosuite/models/assets/)')


def write_file(path: Path | str, made: layout.Provenance, env_args: dict, episodes: Iterable[Episode]) -> None:
    """Write `path` atomically; the same episodes give the same bytes. RunError when the disk is full.

    The file is put together in memory and then written at once: HDF5 brings the process down when the disk fills up
    under it. 200 episodes of chain8 are 170 MB. Pictures are a hundred times that: they go where they will lie at once,
    episode by episode, each after a look at the space left.
    """
    if made.view is not None:
        with atomic_file(path) as temporary:
            _fill(temporary, made, env_args, _while_there_is_space(episodes, Path(path)))
        return
    image = io.BytesIO()
    _fill(image, made, env_args, episodes)
    with atomic_file(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def _while_there_is_space(episodes: Iterable[Episode], path: Path) -> Iterator[Episode]:
    """The same episodes; RunError before one that the disk has no room for."""
    for episode in episodes:
        check_space(path, 2 * sum(images.nbytes for images in episode.images.values()))
        yield episode


def check_space(path: Path, size: int) -> None:
    """RunError where the disk of `path` has not `size` bytes left."""
    if shutil.disk_usage(path.parent).free < size + SPARE:
        raise RunError(f"The disk is full: {path} could not be written; free some space and repeat.")


def _fill(image: io.BytesIO | Path, made: layout.Provenance, env_args: dict, episodes: Iterable[Episode]) -> None:
    members: dict[str, list[str]] = {"success": []}  # written even when empty: then its absence is no riddle
    total = 0
    with h5py.File(image, "w") as file:
        data = file.create_group("data")
        for number, episode in enumerate(episodes):
            name = f"demo_{number}"
            write_episode(data.create_group(name), episode, made.next_obs)
            data.attrs["obs_keys"] = json.dumps(list(episode.obs))
            total += len(episode)
            for mask in episode_masks(episode):
                members.setdefault(mask, []).append(name)
        layout.write_masks(file, members)
        data.attrs["total"] = total
        data.attrs["env_args"] = json.dumps(env_args, indent=4)
        for key, value in made.attributes().items():
            data.attrs[key] = value


def write_episode(group: h5py.Group, episode: Episode, next_obs: bool) -> None:
    """Fill `group`; low-dim data are float32 and contiguous, which is what random windows read fastest."""
    for key, values in episode.obs.items():
        group.create_dataset(f"obs/{key}", data=np.asarray(values, np.float32))
    for key, values in episode.next_obs.items() if next_obs else ():
        group.create_dataset(f"next_obs/{key}", data=np.asarray(values, np.float32))
    for key, images in episode.images.items():
        group.create_dataset(f"obs/{key}", data=np.asarray(images, np.uint8))
        if next_obs:
            group.create_dataset(f"next_obs/{key}", data=np.concatenate((images[1:], episode.last_images[key][None])))
    group.create_dataset("actions", data=np.asarray(episode.actions, np.float32))
    group.create_dataset("rewards", data=np.asarray(episode.rewards, np.float32))
    group.create_dataset("dones", data=np.asarray(episode.dones, np.uint8))
    if episode.states.size:  # an environment that is no simulator of ours has none
        group.create_dataset("states", data=np.asarray(episode.states, np.float64))
    group.create_dataset("stages", data=np.asarray(episode.stages, np.uint8))
    for key, values in episode.start_entry.items():
        group.create_dataset(f"start/{key}", data=np.asarray(values, np.float64))
    group.attrs["num_samples"] = len(episode)
    group.attrs["model_file"] = portable_xml(episode.model_xml)
    group.attrs["success"] = bool(episode.success)
    group.attrs["operator"] = episode.operator
    group.attrs["grade"] = episode.grade
    group.attrs["start"] = episode.start
    group.attrs["seed"] = episode.seed
    group.attrs["masks"] = json.dumps(episode.masks)
    if episode.ended:
        group.attrs[layout.ENDED] = True


def episode_masks(episode: Episode) -> list[str]:
    """The masks of an episode: its own, its grade, and `success` if it succeeded."""
    return sorted({*episode.masks, *(["success"] if episode.success else []), *filter(None, [episode.grade])})


def portable_xml(xml: str) -> str:
    """Paths of robosuite's assets without the folder that it is installed in.

    robosuite's edit_model_xml, which every robomimic playback calls, finds the assets again by the folder's name.
    """
    return INSTALLED_ASSET.sub(r'file="\1', xml)


def read_episode(group: h5py.Group) -> Episode:
    """One demo of a file of ours, next_obs empty where it is not stored."""
    attributes, order = group.attrs, json.loads(group.parent.attrs["obs_keys"])
    pictures = [key for key in group["obs"] if group["obs"][key].ndim == 4]
    return Episode(
        obs={key: group["obs"][key][:] for key in order},
        next_obs={key: group["next_obs"][key][:] for key in order if "next_obs" in group},
        actions=group["actions"][:],
        rewards=group["rewards"][:],
        dones=group["dones"][:],
        states=group["states"][:],
        stages=group["stages"][:],
        success=bool(attributes["success"]),
        operator=str(attributes["operator"]),
        grade=str(attributes["grade"]),
        start=int(attributes["start"]),
        model_xml=str(attributes["model_file"]),
        seed=int(attributes["seed"]),
        masks=json.loads(attributes["masks"]),
        start_entry={key: data[:] for key, data in group.get("start", {}).items()},
        images={key: group["obs"][key][:] for key in pictures},
        last_images={key: group["next_obs"][key][-1] for key in pictures if "next_obs" in group},
    )
