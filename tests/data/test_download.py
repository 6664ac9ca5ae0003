"""Official data sets from a hub of this machine: whole and right, or one sentence and nothing half there."""

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from huggingface_hub import close_session, constants

from robo_orl.base.errors import RunError, UsageError
from robo_orl.cli.app import main
from robo_orl.data import download as module
from robo_orl.data.download import MANIFEST, REPOSITORY, SETS, data_sets, download, path_of

LIFT, CAN = path_of("lift", "ph"), path_of("can", "mg")
BYTES = {LIFT: bytes(range(256)) * 3000, CAN: b"can" * 1000}
REVISION = "0" * 40


class Hub(ThreadingHTTPServer):
    """A hub. breaks: bytes after which each of the next answers ends; stalls; wrong: a byte that is another one."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.breaks, self.stalls, self.wrong, self.ranges, self.licence = [], threading.Event(), False, [], "mit"
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["paths"]
        self.send(
            [
                {"type": "file", "path": path, "oid": "0", "size": len(BYTES[path]),
                 "lfs": {"oid": hashlib.sha256(BYTES[path]).hexdigest(), "size": len(BYTES[path]), "pointerSize": 1}}
                for path in asked if path in BYTES
            ]
        )  # fmt: skip

    def do_GET(self):
        where = self.path.split("://", 1)[-1] if "://" in self.path else self.path  # a proxy is asked for whole URLs
        where = where[where.index("/") :]
        if where.startswith(f"/api/datasets/{REPOSITORY}/revision/"):
            card = {"license": self.server.licence} if self.server.licence else {}
            self.send({"id": REPOSITORY, "sha": REVISION, "cardData": card, "siblings": []})
            return
        path = where.split(f"/resolve/{REVISION}/")[-1]
        if path not in BYTES:
            self.send({"error": "none"}, 404)
            return
        body = bytearray(BYTES[path])
        if self.server.wrong:
            body[len(body) // 2] ^= 1
        first = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
        self.server.ranges.append(first)
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body) - first))
        self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        if self.server.stalls.is_set():
            self.wfile.write(body[first : first + 1000])
            self.wfile.flush()
            threading.Event().wait(3)
        elif self.server.breaks:
            self.wfile.write(body[first : first + self.server.breaks.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(body[first:])


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # between two tries of the library
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # less than that of a broken answer is lost
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "")
        monkeypatch.setenv(name.lower(), "")
    close_session()
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
    close_session()


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["robo-orl", "data", "download", *map(str, words)])
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0
    return 0


def fetch(hub, folder, *names, **options):
    return download(names or ["lift/ph"], folder, mirror=hub.url, progress=False, **options)


def test_a_file_comes_with_its_size_sha256_revision_and_licence(hub, tmp_path):
    done = fetch(hub, tmp_path, "lift/ph", "can/mg")
    assert (tmp_path / LIFT).read_bytes() == BYTES[LIFT] and (tmp_path / CAN).read_bytes() == BYTES[CAN]
    assert (done.revision, done.licence, done.new) == (REVISION, "mit", sum(map(len, BYTES.values())))
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["files"][LIFT] == {"size": len(BYTES[LIFT]), "sha256": hashlib.sha256(BYTES[LIFT]).hexdigest()}
    assert fetch(hub, tmp_path, "lift/ph", "can/mg").new == 0, "what is there is kept"


def test_a_connection_that_breaks_off_goes_on_where_it_stopped(hub, tmp_path):
    hub.breaks = [100_000, 50_000]
    assert fetch(hub, tmp_path).new == len(BYTES[LIFT])
    assert hub.ranges == [0, 100_000, 150_000] and (tmp_path / LIFT).read_bytes() == BYTES[LIFT]


def test_a_source_that_breaks_off_for_good_leaves_a_part_and_the_same_command_goes_on(hub, tmp_path):
    hub.breaks = [100_000, *[0] * 9]
    with pytest.raises(RunError, match=r"broke off .* 100,000 of 768,000 bytes are here; the same command goes on"):
        fetch(hub, tmp_path)
    assert not (tmp_path / LIFT).exists() and not (tmp_path / MANIFEST).exists()
    hub.breaks, hub.ranges = [], []
    assert fetch(hub, tmp_path).new == len(BYTES[LIFT]) - 100_000
    assert hub.ranges == [100_000] and (tmp_path / LIFT).read_bytes() == BYTES[LIFT]
    assert not list(tmp_path.rglob("*.part"))


def test_a_source_that_stalls_ends_in_a_sentence(hub, tmp_path):
    hub.stalls.set()
    with pytest.raises(RunError, match=r"broke off \(ReadTimeout.*goes on"):
        fetch(hub, tmp_path)


def test_a_wrong_byte_is_refused_and_nothing_of_it_stays(hub, tmp_path):
    hub.wrong = True
    with pytest.raises(RunError, match=r"sent bytes of sha256 .* and lists .* deleted; repeat"):
        fetch(hub, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    hub.wrong = False
    assert fetch(hub, tmp_path).new == len(BYTES[LIFT])


def test_other_bytes_under_a_known_name_are_never_replaced(hub, tmp_path, monkeypatch):
    fetch(hub, tmp_path)
    monkeypatch.setitem(BYTES, LIFT, b"newer")
    with pytest.raises(UsageError, match=r"manifest.json lists .* and the source with .* --revision"):
        fetch(hub, tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(UsageError, match="is here with other bytes than the source lists: move it away"):
        fetch(hub, tmp_path)


def test_a_folder_of_downloads_under_a_url_is_a_mirror(hub, tmp_path, monkeypatch):
    fetch(hub, tmp_path / "first")
    served = {MANIFEST: (tmp_path / "first" / MANIFEST).read_bytes(), LIFT: BYTES[LIFT]}

    def do_GET(self):
        body = served.get(self.path.removeprefix("/lab/"))
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    monkeypatch.setattr(Answer, "do_GET", do_GET)
    done = download(["lift/ph"], tmp_path / "second", mirror=f"{hub.url}/lab", progress=False)
    assert (tmp_path / "second" / LIFT).read_bytes() == BYTES[LIFT] and done.licence == "mit"
    with pytest.raises(UsageError, match=f"lists no {CAN}; it has {LIFT}"):
        download(["can/mg"], tmp_path / "second", mirror=f"{hub.url}/lab", progress=False)
    served[MANIFEST] = json.dumps({"files": {"../../x": {"size": 1, "sha256": "0" * 64}}}).encode()
    with pytest.raises(UsageError, match=r"'\.\./\.\./x' is no relative path"):
        download(["lift/ph"], tmp_path / "third", mirror=f"{hub.url}/lab", progress=False)


def test_a_proxy_is_asked_for_everything(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    done = download(["lift/ph"], tmp_path, mirror="http://hub.example", proxy=hub.url, progress=False)
    assert done.new == len(BYTES[LIFT])


def test_without_a_network_one_sentence_says_what_else_there_is(hub, tmp_path, capsys, monkeypatch):
    hub.shutdown()
    hub.server_close()
    assert command(monkeypatch, "lift/ph", "--mirror", hub.url, "--out", tmp_path / "o") == 1
    said = capsys.readouterr().err
    assert "cannot be reached" in said and "robo-orl data generate" in said and "Traceback" not in said
    assert not (tmp_path / "o").exists()


def test_the_command_says_what_came_and_what_to_do_next(hub, tmp_path, capsys, monkeypatch):
    hub.licence = None
    arguments = ["lift/ph", "--mirror", hub.url, "--out", tmp_path]
    assert command(monkeypatch, *arguments, "--dry-run") == 0 and not (tmp_path / LIFT).exists()
    assert command(monkeypatch, *arguments) == 0
    said = capsys.readouterr().out
    assert "0.8 MB" in said and "licence not named there" in said and "next: robo-orl train --policy bc" in said


def test_a_full_disk_is_said_before_a_byte_comes(hub, tmp_path, monkeypatch):
    def full(path, size):
        raise RunError("The disk is full")

    monkeypatch.setattr(module, "check_space", full)
    with pytest.raises(RunError, match="disk is full"):
        fetch(hub, tmp_path)
    assert hub.ranges == []


def test_names_are_those_of_the_registry():
    assert len(data_sets(["all"])) == sum(map(len, SETS.values())) == 12
    assert path_of("can", "mg", "dense") == "v1.5/can/mg/low_dim_dense_v15.hdf5"
    assert path_of("lift", "ph", raw=True) == "v1.5/lift/ph/demo_v15.hdf5"
    with pytest.raises(UsageError, match="lift/p"):
        data_sets(["lift/p"])
