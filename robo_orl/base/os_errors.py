"""Errors of the operating system as sentences that name the file and the remedy: a full disk, a missing permission."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robo_orl.base.errors import RunError, UsageError

CACHE_VARIABLE = "ROBO_ORL_CACHE"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# torch, safetensors and numpy put the reason, or "N requested and M written", into the message only.
FULL_WORDS = ("No space left", "quota exceeded", "File too large", "requested and")
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
READ_REMEDY = "ask its owner for the right to read it (chmod a+r)"
NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)


def cache_folder() -> Path:
    """The folder of this user's derived files: $ROBO_ORL_CACHE, else ~/.cache/robo_orl; UsageError without a home."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    try:
        return Path.home() / ".cache" / "robo_orl"
    except RuntimeError:
        raise UsageError(f"This user has no home folder; set {CACHE_VARIABLE} to a folder for derived data.") from None


@contextmanager
def describe_os_errors(path: Path | str) -> Iterator[None]:
    """Turn errors of the operating system while `path` is written into one sentence; other errors pass."""
    try:
        yield
    except Exception as error:
        sentence = sentence_of(error, Path(path))
        if sentence is None:
            raise
        raise sentence from None


def sentence_of(error: Exception, path: Path | None = None) -> UsageError | RunError | None:
    """The error that a user sees for an error of the operating system, None for one that is none.

    path: the file or folder at work, by default the one that the error names.
    """
    number = getattr(error, "errno", None)
    named = getattr(error, "filename", None)
    place = Path(os.fsdecode(named)) if isinstance(named, (str, bytes, os.PathLike)) else path
    where = str(path or place or "a file")
    if _is_full(error):
        return RunError(f"The disk is full: {where} could not be written; free some space and repeat.")
    if not isinstance(error, OSError) or number is None:
        return None
    if number in DENIED:
        return UsageError(f"{place or where}: {os.strerror(number)}; {_remedy(path or place)}.")
    if number in NO_FOLDER and place is not None:
        file = next((p for p in (place, *place.parents) if os.path.exists(p) and not os.path.isdir(p)), place)
        return UsageError(f"{file} is a file where a folder is needed; {_choice(path or place)}.")
    if number == errno.EISDIR:
        return UsageError(f"{place or where} is a folder where a file is needed; give the file's name.")
    if number == errno.ENAMETOOLONG:
        return UsageError(f"{where}: the name is too long for this file system; choose a shorter one.")
    if number in (errno.EMFILE, errno.ENFILE):
        return RunError(f"{where} could not be opened: too many files are open; raise the limit with `ulimit -n 4096`.")
    if number in (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO):
        return RunError(f"{where}: {os.strerror(number)}; check the disk or the network file system, and repeat.")
    return None


def _is_full(error: BaseException | None) -> bool:
    """True if an error, or one behind it (torch's writer hides it so), is a full disk."""
    while error is not None:
        if getattr(error, "errno", None) in FULL or any(words in str(error) for words in FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _remedy(place: Path | None) -> str:
    """The way out of a denied access."""
    if place is None:
        return "change its permissions or choose another place"
    if (closed := _closed_folder(place)) is not None:
        other = _choice(place) if _is_in_cache(place) else "choose another place"
        return f"this user may not enter {closed}: ask its owner for the right, or {other}"
    if os.path.exists(place) and not os.path.isdir(place) and not os.access(place, os.R_OK):
        return f"{READ_REMEDY}, or {_choice(place)}"
    return f"{_choice(place)}, or change the permissions"


def cannot_read(path: Path, error: OSError, otherwise: str = "") -> UsageError:
    """The error for a file that cannot be read, with the remedy. otherwise: that for other reasons than permissions."""
    remedy = otherwise
    if error.errno in DENIED:
        closed = _closed_folder(path)
        remedy = READ_REMEDY if closed is None else f"this user may not enter {closed}: ask its owner for the right"
    return UsageError(f"Cannot read {path}: {error.strerror}{remedy and '; '}{remedy}{'' if '?' in remedy else '.'}")


def closed_lock(lock: Path) -> UsageError:
    """The error for a lock that another user has closed to this one, so that nobody can see whether it is held."""
    owner = lock.stat().st_uid
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    return UsageError(
        f"{lock} belongs to the user {name}, who may be at work there, and this user may not read it: "
        f"{_choice(lock)}, or ask {name} for `chmod a+r {lock}`."
    )


def _closed_folder(place: Path) -> Path | None:
    """The outermost folder above `place` that this user may not enter."""
    above = reversed(place.absolute().parents)
    return next((folder for folder in above if os.path.isdir(folder) and not os.access(folder, os.X_OK)), None)


def _choice(place: Path) -> str:
    in_cache = _is_in_cache(place)
    return f"set {CACHE_VARIABLE} to a folder that you may write" if in_cache else "choose another --out"


def _is_in_cache(place: Path) -> bool:
    try:
        ours, cache = place.absolute(), cache_folder().absolute()
    except UsageError:
        return False
    return ours.is_relative_to(cache) or cache.is_relative_to(ours)
