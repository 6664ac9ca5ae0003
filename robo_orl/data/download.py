"""robomimic's official data sets from the hub, or from a mirror of it: whole and right by their sha256, or not there.

The hub says the size and the sha256 of every file; both are written into MANIFEST beside the files, with the revision,
so that a folder of downloads can be checked, shared and served: a plain copy of it under a URL is a mirror. What stands
in that manifest is never replaced silently by other bytes of the same name. Names: `lift/ph`, `can/mg`, or `all`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from robo_orl.base.errors import RunError, UsageError, unknown
from robo_orl.base.files import describe_os_errors, file_sha256, flush, read_json, write_json
from robo_orl.data.hdf5 import check_space

REPOSITORY, FOLDER, HUB = "robomimic/robomimic_datasets", "v1.5", "https://huggingface.co"
MANIFEST = "manifest.json"
SETS: dict[str, tuple[str, ...]] = {
    "lift": ("ph", "mh", "mg"),
    "can": ("ph", "mh", "mg", "paired"),
    "square": ("ph", "mh"),
    "transport": ("ph", "mh"),
    "tool_hang": ("ph",),
}  # robomimic's registry, version 0.3
Rewards = Literal["sparse", "dense"]
NO_NETWORK = (
    "Scripted demonstrations need no network (robo-orl data generate); --mirror takes another hub or a folder of "
    "downloads under a URL, --proxy a proxy"
)


@dataclass(frozen=True)
class Listed:
    """A file as the hub or a manifest lists it; path: relative to the repository and to the folder of downloads."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Downloaded:
    """What a call did. new: bytes that came over the network; licence: None where the source names none."""

    files: tuple[Listed, ...]
    folder: str
    source: str
    revision: str | None
    licence: str | None
    new: int

    def to_json(self) -> dict[str, Any]:
        """JSON values; every file with its place on this machine."""
        files = [asdict(one) | {"path": str(Path(self.folder) / one.path)} for one in self.files]
        return asdict(self) | {"files": files}


def data_sets(names: Sequence[str]) -> list[tuple[str, str]]:
    """(task, kind) of names such as `lift/ph`; `all` names every one. UsageError for one that is not there."""
    known = [f"{task}/{kind}" for task, kinds in SETS.items() for kind in kinds]
    for name in names:
        if name not in (*known, "all"):
            raise unknown("data set", name, [*known, "all"])
    chosen = known if "all" in names else dict.fromkeys(names)
    return [(task, kind) for task, _, kind in (name.partition("/") for name in chosen)]


def path_of(task: str, kind: str, rewards: Rewards = "sparse", raw: bool = False) -> str:
    """The path of a data set in the repository. raw: states and actions alone, of which observations are made."""
    low_dim = f"low_dim_{rewards}" if kind == "mg" else "low_dim"
    stem = "demo" if raw else low_dim
    return f"{FOLDER}/{task}/{kind}/{stem}_v15.hdf5"


def download(
    names: Sequence[str],
    folder: Path,
    rewards: Rewards = "sparse",
    raw: bool = False,
    mirror: str = "",
    proxy: str = "",
    revision: str = "main",
    dry_run: bool = False,
    progress: bool = True,
) -> Downloaded:
    """Fetch data sets into `folder`; what is there and right is kept, what is half there goes on.

    rewards: of `mg`, which exists with both. mirror: the URL of another hub, or of a folder that this function filled.
    proxy: the URL of one; default what the environment says. dry_run: list what would come, and fetch nothing.

    Raises UsageError for unknown names and for a file that is here or in the manifest with other bytes, RunError where
    the source cannot be reached, breaks off for good, or sends bytes that are not what it lists.
    """
    wanted, held = [path_of(task, kind, rewards, raw) for task, kind in data_sets(names)], listed_in(folder)
    if proxy:
        os.environ |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
    with _network(mirror or HUB):
        source = _source(mirror.rstrip("/"), revision)
        listed = [source.listed(path) for path in wanted]
    for one in listed:
        _check_against(held, one, folder)
    missing = [one for one in listed if held.get(one.path) != one or not (folder / one.path).is_file()]
    new = 0
    if not dry_run:
        folder.mkdir(parents=True, exist_ok=True)
        for one in missing:
            new += _fetch(source, one, folder, progress)
            held[one.path] = one
            _write_manifest(folder, source, held)
    return Downloaded(tuple(listed), str(folder), source.name, source.revision, source.licence, new)


# ------------------------------------------------------------------------------------------------------------- sources


@dataclass(frozen=True)
class _Hub:
    """The hub, or a mirror with its interface: its listing is the manifest."""

    endpoint: str
    revision: str
    licence: str | None

    @property
    def name(self) -> str:
        return f"{self.endpoint}/datasets/{REPOSITORY}"

    def listed(self, path: str) -> Listed:
        from huggingface_hub import HfApi

        found = HfApi(endpoint=self.endpoint).get_paths_info(
            REPOSITORY, [path], repo_type="dataset", revision=self.revision
        )
        if not found or getattr(found[0], "lfs", None) is None:
            raise RunError(f"{self.name} has no file {path}: its layout has changed, or the mirror is not whole.")
        return Listed(path, found[0].size, found[0].lfs.sha256)

    def url(self, path: str) -> str:
        return f"{self.name}/resolve/{quote(self.revision, safe='')}/{quote(path)}"


@dataclass(frozen=True)
class _Folder:
    """A folder of downloads under a URL, with its manifest."""

    name: str
    held: dict[str, Listed]
    revision: str | None
    licence: str | None

    def listed(self, path: str) -> Listed:
        if path not in self.held:
            raise UsageError(
                f"{self.name}/{MANIFEST} lists no {path}; it has {', '.join(sorted(self.held)) or 'none'}."
            )
        return self.held[path]

    def url(self, path: str) -> str:
        return f"{self.name}/{quote(path)}"


def _source(mirror: str, revision: str) -> _Hub | _Folder:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import get_session

    if mirror:
        answer = get_session().get(f"{mirror}/{MANIFEST}", timeout=10, follow_redirects=True)
        if answer.status_code == 200:
            try:
                manifest = answer.json()
            except ValueError:
                raise RunError(f"{mirror}/{MANIFEST} is damaged: it is no JSON object.") from None
            files = _files(manifest, f"{mirror}/{MANIFEST}")
            return _Folder(mirror, files, manifest.get("revision"), manifest.get("licence"))
    endpoint = mirror or HUB
    about = HfApi(endpoint=endpoint).dataset_info(REPOSITORY, revision=revision)
    card = about.card_data.to_dict() if about.card_data else {}
    return _Hub(endpoint, about.sha or revision, card.get("license"))


# ------------------------------------------------------------------------------------------------------------ manifest


def listed_in(folder: Path) -> dict[str, Listed]:
    """Path -> file that the manifest of a folder of downloads lists; empty without a manifest."""
    path = folder / MANIFEST
    return _files(read_json(path, "delete it, and the files are checked anew"), str(path)) if path.exists() else {}


def _files(manifest: Any, where: str) -> dict[str, Listed]:
    """Path -> file of a manifest that somebody wrote; UsageError where an entry is none."""
    found = {}
    entries = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(entries, dict):
        raise UsageError(f"{where} is no manifest of downloads: it has no 'files'.")
    for path, entry in entries.items():
        size, digest = (entry.get(key) for key in ("size", "sha256")) if isinstance(entry, dict) else (None, None)
        plain = not Path(path).is_absolute() and ".." not in Path(path).parts
        if not plain or not isinstance(size, int) or not isinstance(digest, str) or len(digest) != 64:
            raise UsageError(f"{where}: the entry {path!r} is no relative path with a size and a sha256.")
        found[path] = Listed(path, size, digest)
    return found


def _write_manifest(folder: Path, source: _Hub | _Folder, held: dict[str, Listed]) -> None:
    files = {path: {"size": one.size, "sha256": one.sha256} for path, one in sorted(held.items())}
    write_json(
        folder / MANIFEST,
        {"repository": REPOSITORY, "revision": source.revision, "licence": source.licence, "files": files},
    )


def _check_against(held: dict[str, Listed], one: Listed, folder: Path) -> None:
    """UsageError where other bytes have this name already: in the manifest, or on the disk."""
    known = held.get(one.path)
    if known is not None and known != one:
        raise UsageError(
            f"{folder / MANIFEST} lists {one.path} with sha256 {known.sha256[:12]}, and the source with "
            f"{one.sha256[:12]}: give another --out, or the --revision that it was made of."
        )
    path = folder / one.path
    if known is None and path.is_file() and (path.stat().st_size != one.size or file_sha256(path) != one.sha256):
        raise UsageError(f"{path} is here with other bytes than the source lists: move it away, and repeat.")


# ----------------------------------------------------------------------------------------------------------- transport


def _fetch(source: _Hub | _Folder, one: Listed, folder: Path, progress: bool) -> int:
    """Bring one file; the number of bytes that came. A part that is here goes on where it stopped."""
    from huggingface_hub.file_download import http_get

    path = folder / one.path
    if path.is_file():
        return 0  # its bytes were checked
    part = path.with_name(f"{path.name}.part")
    with describe_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = part.stat().st_size if part.is_file() else 0
        if begun > one.size:
            part.unlink()
            begun = 0
        check_space(path, one.size - begun)
        with _network(source.name, lambda: _state(one, part)), open(part, "ab") as stream, _bars(progress):
            http_get(
                source.url(one.path), stream, resume_size=begun, expected_size=one.size,
                displayed_filename="/".join(one.path.split("/")[1:]),
            )  # fmt: skip
        if (found := file_sha256(part)) != one.sha256:
            part.unlink()
            raise RunError(
                f"{source.url(one.path)} sent bytes of sha256 {found[:12]}, and lists {one.sha256[:12]}: they are "
                "deleted; repeat, or take another --mirror."
            )
        flush(part)
        os.replace(part, path)
    return one.size - begun


def _state(one: Listed, part: Path) -> str:
    return f"{one.path}: {part.stat().st_size:,} of {one.size:,} bytes are here; the same command goes on"


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _network(where: str, state: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn what a connection raises into one sentence."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise RunError("HF_HUB_OFFLINE is set, and forbids a download: unset it.") from None
    except HfHubHTTPError as error:
        code = error.response.status_code
        raise RunError(f"{where} answers {code} ({error.response.reason_phrase}). {state()}".strip()) from None
    except httpx2.InvalidURL as error:
        raise UsageError(f"{where} is no URL: {error}.") from None
    except httpx2.HTTPError as error:
        words = f"{where} cannot be reached, or the connection broke off ({type(error).__name__}: {error})."
        raise RunError(f"{words} {state() or NO_NETWORK}.") from None
    except OSError as error:
        if "Consistency check failed" not in str(error):
            raise
        raise RunError(f"{where} stopped sending before the file was whole. {state()}.") from None
