"""Names of the layouts that are not robomimic's, each with the way on: none of them is a damaged file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py

LFS_POINTER = b"version https://git-lfs.github.com"
LEROBOT = "`robo-orl data convert {} --out NEW.hdf5` writes it"
NUMPY = (b"\x93NUMPY", b"PK\x03\x04")


def other_folder(path: Path) -> str | None:
    """The kind of a folder, in words that follow its name; None where it is no known data set."""
    if (path / "meta" / "info.json").is_file():
        return f"is a LeRobot data set, and training reads robomimic's HDF5 layout: {LEROBOT.format(path)}"
    if any(path.glob("*.zarr")) or (path / ".zgroup").exists() or (path / "zarr.json").exists():
        return "is a zarr store, and training reads robomimic's HDF5 layout"
    files = sorted(path.glob("*.hdf5"))
    return f"is a folder; give the HDF5 file in it, e.g. {files[0]}" if files else None


def other_file(path: Path) -> str | None:
    """The kind of a file that is no HDF5, in words that follow its name; None where its first bytes do not say."""
    with open(path, "rb") as stream:
        head = stream.read(64)
    if head.startswith(LFS_POINTER):
        return "is a Git LFS pointer and not the data itself: fetch the data with `git lfs pull`"
    if head.startswith(b"PAR1"):
        way = LEROBOT.format("FOLDER")
        return f"is a Parquet file, as LeRobot writes them; training reads robomimic's HDF5 layout: {way}"
    if head.startswith(NUMPY):
        return "is a NumPy or zip archive; training reads robomimic's HDF5 layout"
    return None


def other_layout(file: h5py.File) -> str | None:
    """The sentence about an HDF5 file whose layout is another one than robomimic's; None where it is robomimic's."""
    name = file.filename
    if not isinstance(file.get("data"), h5py.Group):
        return _without_data(file)
    data = file["data"]
    episodes = [group for group in data.values() if isinstance(group, h5py.Group) and "actions" in group]
    if not episodes:
        return None
    first = episodes[0]
    demo = first.name.rsplit("/", 1)[1]
    if is_raw_robosuite(file):
        return (
            f"{name} is a raw robosuite recording: it holds states and actions but no observations; "
            f"`robo-orl data convert {name} --task TASK --out NEW.hdf5` makes them by restoring the states."
        )
    inner = [key for key, value in first.get("obs", {}).items() if isinstance(value, h5py.Group)]
    if inner and len(inner) == len(first["obs"]):
        kind = " is an Isaac Lab recording and" if is_isaac_lab(first) else ""
        return (
            f"{name}{kind} nests its observations in obs/{inner[0]}; `robo-orl data edit {name} --flatten --out "
            "NEW.hdf5` writes a copy that has them in obs."
        )
    if not (demo.startswith("demo_") and demo[5:].isdecimal()):
        return (
            f"{name} names its episodes {demo}, and robomimic's are demo_0, demo_1 and so on; "
            f"`robo-orl data edit {name} --renumber --out NEW.hdf5` writes a copy with these names."
        )
    return None


def is_isaac_lab(demo: h5py.Group) -> bool:
    """True where an episode is of Isaac Lab: its states are groups of assets of another simulator."""
    return any(isinstance(demo.get(key), h5py.Group) for key in ("states", "initial_state"))


def is_raw_robosuite(file: h5py.File) -> bool:
    """True where a file is robosuite's own recording: states and actions, and no observations."""
    data = file.get("data")
    if not isinstance(data, h5py.Group) or not ("env" in data.attrs or "env_info" in data.attrs):
        return False
    demos = [group for group in data.values() if isinstance(group, h5py.Group)]
    return bool(demos) and all("obs" not in d and isinstance(d.get("states"), h5py.Dataset) for d in demos)


def _without_data(file: h5py.File) -> str:
    name = file.filename
    if "observations" in file and ("action" in file or "actions" in file):
        kind = "a D4RL file" if "terminals" in file else "an ALOHA (ACT) episode"
        return f"{name} is {kind}: it has /observations and no group 'data'; training reads robomimic's layout."
    return "The group 'data' is missing: this is not a robomimic file."


def links_out(file: h5py.File) -> Iterator[str]:
    """A sentence per link or dataset whose bytes lie in another file, which a hash of this one does not cover."""
    pending = ["/"]
    while pending:
        group = file[pending.pop()]
        for name in group:
            link, path = group.get(name, getlink=True), f"{group.name.rstrip('/')}/{name}"
            if isinstance(link, h5py.ExternalLink):
                yield f"{path[1:]}: is a link into the file {link.filename}; {COPY}"
                continue
            kind = group.get(name, getclass=True)
            if kind is h5py.Group and isinstance(link, h5py.HardLink):
                pending.append(path)
            elif kind is h5py.Dataset and (group[name].is_virtual or group[name].external):
                yield f"{path[1:]}: keeps its numbers in another file; {COPY}"


COPY = "`robo-orl data edit` writes a copy that holds everything."
