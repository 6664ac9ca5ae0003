"""The page that takes labels, in a real browser: keys, journal, a crash in the midst of a line, other origins."""

import http.client
import json
import threading

import numpy as np
import pytest
from seeing import SIZE
from seeing import write as seeing_file

from robo_orl.base.errors import UsageError
from robo_orl.config import RewardConfig
from robo_orl.data.cache import open_cache
from robo_orl.report.picture import browser_path, chromium
from robo_orl.rewards.annotations import read_journal
from robo_orl.rewards.label_pictures import Pictures
from robo_orl.rewards.label_server import make_server, open_session
from robo_orl.rewards.relabel import relabel, reward_of


@pytest.fixture
def served(tmp_path):
    """A function that serves a file with pictures; it returns the session and the port."""
    path, open_servers = seeing_file(tmp_path / "a.hdf5"), []

    def serve(ask="stages", annotator="ann"):
        pictures = Pictures(path, "agentview", SIZE, 2)
        session = open_session(path, tmp_path / "labels.jsonl", annotator, ask, None, 0, pictures)
        server = make_server(session, 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        open_servers.append((server, pictures))
        return session, server.server_address[1]

    yield serve
    for server, pictures in open_servers:
        server.shutdown()
        server.server_close()
        pictures.close()


def asked(port, method, path, body=None, **headers):
    """(status, text) of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


@pytest.mark.skipif(browser_path() is None, reason="no Chromium here (Debian: apt-get install chromium)")
def test_episodes_are_labelled_by_keyboard_and_no_request_leaves_the_machine(served, tmp_path):
    pytest.importorskip("playwright")
    session, port = served()
    with chromium() as browser:
        page = browser.new_page()
        faults, requests = [], []
        page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/")
        first, second, *_ = session.episodes
        place = page.locator("#place")
        place.filter(has_text=f"{first}, 1 of 3").wait_for()
        page.keyboard.press("y")
        assert "Mark placed first: key 2" in page.inner_text("#fault")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("1")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("2")
        page.keyboard.press("y")
        place.filter(has_text=f"{second}, 2 of 3").wait_for()
        page.keyboard.press("n")
        place.filter(has_text="3 of 3").wait_for()
        assert page.locator("#picture").get_attribute("width") == str(SIZE)
        assert faults == [] and all(url.startswith(f"http://127.0.0.1:{port}/") for url in requests)
    labels = read_journal(session.journal)
    assert [(label.episode, label.success) for label in labels] == [(first, True), (second, False)]
    assert (
        labels[0].marks[0] is not None and labels[0].marks[1] > labels[0].marks[0] and labels[1].marks == [None, None]
    )
    assert all(label.seconds > 0 for label in labels) and session.summary()["labels"] == 2
    path, out = tmp_path / "a.hdf5", tmp_path / "out.hdf5"
    relabel(path, RewardConfig(name="mine", source="stages"), out, (session.journal,))
    assert open_cache(out).success.sum() == 1 and reward_of(out)["annotation"]["seconds"] > 0


def test_labels_survive_a_crash_in_the_midst_of_a_line_and_the_same_call_goes_on(served):
    session, port = served("success")
    label = json.dumps({"episode": session.episodes[0], "success": True, "seconds": 1.5})
    assert asked(port, "POST", "/label", label, **{"Content-Type": "application/json"})[0] == 200
    with open(session.journal, "a") as stream:
        stream.write('{"file": "abc", "epi')
    again, port = served("success")
    assert [entry["labelled"] for entry in again.about()["episodes"]][:2] == [True, False]
    assert asked(port, "POST", "/label", label, **{"Content-Type": "application/json"})[0] == 200
    assert len(read_journal(session.journal)) == 2 and again.summary()["seconds_per_label"] == 1.5
    assert asked(port, "GET", "/export")[1] == session.journal.read_text()
    other, _ = served("success", annotator="bob")
    assert not any(entry["labelled"] for entry in other.about()["episodes"])


def test_requests_of_other_pages_and_labels_that_do_not_fit_are_refused(served):
    session, port = served("success")
    as_json = {"Content-Type": "application/json"}
    label = {"episode": session.episodes[0], "success": True, "seconds": 1.0}
    assert asked(port, "GET", "/", Host="evil.example")[0] == 403
    assert asked(port, "POST", "/label", json.dumps(label), **{"Content-Type": "text/plain"})[0] == 404
    for wrong in ({"episode": "demo_99"}, {"seconds": -1}, {"marks": [1]}, {"more": 1}):
        status, text = asked(port, "POST", "/label", json.dumps(label | wrong), **as_json)
        assert status == 400 and text.startswith("The label is not taken: ")
    assert asked(port, "GET", "/pictures/../../etc/passwd")[0] == 404 and not session.journal.exists()


def test_the_pictures_are_the_files_and_end_with_the_last_frame(served, tmp_path):
    session, port = served("success")
    played = session.pictures.of(session.episodes[0])
    length = int(session.arrays.lengths[session.arrays.names.index(session.episodes[0])])
    assert played.frames[-1] == length - 1 and played.pictures.dtype == np.uint8


def test_what_cannot_be_labelled_is_refused(served, tmp_path):
    session, _ = served("success")
    pictures = session.pictures
    with pytest.raises(UsageError, match="--labels asks for 99"):
        open_session(tmp_path / "a.hdf5", session.journal, "ann", "success", 99, 0, pictures)
    session.journal.write_text(json.dumps(
        {"file": "abc", "episode": "demo_0", "annotator": "ann", "success": True, "seconds": 1.0}
    ) + "\n")  # fmt: skip
    with pytest.raises(UsageError, match="holds labels of another file"):
        open_session(tmp_path / "a.hdf5", session.journal, "ann", "success", None, 0, pictures)
