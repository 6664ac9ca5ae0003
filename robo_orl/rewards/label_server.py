"""A page on this machine that plays the episodes of a file and takes labels by keyboard.

It answers to this machine alone, and loads nothing from elsewhere. Every answer is a line of a journal that is on the
disk before the next episode is shown; a line that a crash cut short is removed when the journal is opened again.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robo_orl.base.errors import UsageError
from robo_orl.base.locks import file_lock
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.data.arrays import EpisodeArrays, Reading
from robo_orl.data.cache import open_cache
from robo_orl.rewards.annotations import Annotation, newest, read_journal
from robo_orl.rewards.label_pictures import Pictures
from robo_orl.rewards.labels import ask_order

PAGE = Path(__file__).with_name("label_page.html")
LONGEST = 100_000  # bytes of an answer


@dataclass
class Session:
    """The labels of one annotator about one file. stages: names that marks are asked for, empty for bits alone."""

    arrays: EpisodeArrays
    pictures: Pictures
    journal: Path
    annotator: str
    episodes: list[str]
    stages: list[str]

    def own(self) -> dict[str, Annotation]:
        """The annotator's newest label of each episode."""
        labels = read_journal(self.journal) if self.journal.exists() else []
        return {episode: a for (episode, who), a in newest(labels).items() if who == self.annotator}

    def about(self) -> dict[str, Any]:
        """What the page shows before the first episode."""
        labelled = self.own()
        episodes = [{"name": name, "labelled": name in labelled} for name in self.episodes]
        return {"file": Path(self.arrays.path).name, "stages": self.stages, "episodes": episodes}

    def add(self, values: dict[str, Any]) -> Annotation:
        """Append a label to the journal, on the disk when this returns; ValueError for one that does not fit."""
        label = Annotation(file=self.arrays.sha256, annotator=self.annotator, **values)
        if label.episode not in self.episodes:
            raise ValueError(f"there is no episode {label.episode} to label")
        if len(label.marks or ()) != len(self.stages):
            raise ValueError(f"{len(self.stages)} stages have marks")
        with describe_os_errors(self.journal), open(self.journal, "ab") as stream:
            stream.write(label.model_dump_json().encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        return label

    def summary(self) -> dict[str, Any]:
        """The account of the annotator."""
        seconds = [label.seconds for label in self.own().values()]
        mean = round(sum(seconds) / len(seconds), 2) if seconds else None
        return {
            "journal": str(self.journal),
            "annotator": self.annotator,
            "labels": len(seconds),
            "of": len(self.episodes),
            "seconds": round(sum(seconds), 2),
            "seconds_per_label": mean,
        }


def open_session(
    path: Path, journal: Path, annotator: str, ask: str, labels: int | None, seed: int, pictures: Pictures
) -> Session:
    """The session of an annotator; a last line of the journal that a crash cut short is removed.

    ask: success, or stages. labels: episodes to ask about, in the order of `data relabel --labels` with this seed.
    Raises UsageError for more labels than episodes, for stages of a file without any, and for another file's journal.
    """
    arrays = open_cache(path, reading=Reading(rewards=False))
    if labels is not None and labels > len(arrays):
        raise UsageError(f"{path} has {len(arrays)} episodes, and --labels asks for {labels}.")
    stages = _stages(arrays) if ask == "stages" else []
    mend(journal)
    if journal.exists() and any(label.file != arrays.sha256 for label in read_journal(journal)):
        raise UsageError(f"{journal} holds labels of another file than {path}: choose another --out.")
    episodes = [arrays.names[e] for e in ask_order(len(arrays), seed)[:labels]]
    return Session(arrays, pictures, journal, annotator, episodes, stages)


def _stages(arrays: EpisodeArrays) -> list[str]:
    count = arrays.stages.shape[1]
    if not count:
        raise UsageError(f"The episodes of {arrays.path} have no stages to mark: ask for success with --ask success.")
    return list(arrays.task.stages) if arrays.task else [f"stage {i + 1}" for i in range(count)]


def mend(journal: Path) -> None:
    """Remove what follows the last whole line of a journal, and make sure that its folder is there."""
    with describe_os_errors(journal):
        journal.parent.mkdir(parents=True, exist_ok=True)
        if not journal.exists():
            return
        with file_lock(journal), open(journal, "r+b") as stream:
            whole = stream.read().rfind(b"\n") + 1
            stream.truncate(whole)


def make_server(session: Session, port: int) -> ThreadingHTTPServer:
    """The server on 127.0.0.1; port 0 takes a free one. UsageError where the port is taken."""
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UsageError(f"Port {port} cannot be used ({error.strerror}): give another --port.") from None
    server.daemon_threads, server.session = True, session
    return server


class Handler(BaseHTTPRequestHandler):
    """The page, its pictures, and the answers."""

    def log_message(self, *_: Any) -> None:
        """Nothing: a request is no news."""

    def do_GET(self) -> None:
        """The page, /about, /pictures/EPISODE and /export."""
        if not self._from_here():
            return
        session: Session = self.server.session
        kind, _, name = self.path.lstrip("/").partition("/")
        if not kind:
            nonce = secrets.token_urlsafe(16)
            text = PAGE.read_text(encoding="utf-8").replace("NONCE", nonce)
            policy = f"default-src 'none'; connect-src 'self'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'"
            self._answer(text.encode(), "text/html; charset=utf-8", {"Content-Security-Policy": policy})
        elif kind == "about":
            self._answer(json.dumps(session.about()).encode(), "application/json")
        elif kind == "pictures" and name in session.episodes:
            played = session.pictures.of(name)
            shape = ",".join(map(str, played.pictures.shape[:3]))
            headers = {"X-Shape": shape, "X-Frames": json.dumps(played.frames)}
            self._answer(played.pictures.tobytes(), "application/octet-stream", headers)
        elif kind == "export":
            journal = session.journal.read_bytes() if session.journal.exists() else b""
            self._answer(journal, "application/x-ndjson")
        else:
            self._answer(b"there is no such page", "text/plain", status=404)

    def do_POST(self) -> None:
        """/label: one answer, of this page and no other."""
        if not self._from_here():
            return
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/label" or self.headers.get("Content-Type") != "application/json" or length > LONGEST:
            self._answer(b"there is no such page", "text/plain", status=404)
            return
        try:
            label = self.server.session.add(json.loads(self.rfile.read(length)))
        except (ValidationError, ValueError, TypeError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            self._answer(f"The label is not taken: {reason}.".encode(), "text/plain", status=400)
            return
        self._answer(label.model_dump_json().encode(), "application/json")

    def _from_here(self) -> bool:
        """Whether a browser asked for this machine by its own name: a page elsewhere may point a name at it."""
        port = self.server.server_address[1]
        if self.headers.get("Host") in (f"127.0.0.1:{port}", f"localhost:{port}"):
            return True
        self._answer(b"this page is for this machine alone", "text/plain", status=403)
        return False

    def _answer(self, body: bytes, kind: str, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        common = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        for name, value in (common | {"X-Content-Type-Options": "nosniff"} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
