"""A disk that really refuses: files may not grow beyond 100 kB. One sentence, nothing half-written, no crash."""

import resource
import signal
from multiprocessing import get_context

import pytest
from synthetic import episode, write

from robo_orl.base.errors import RunError
from robo_orl.data.cache import open_cache


def _refused(act, path, answer):
    """Carry out act(path) where files may not grow, and send back how it ended."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        act(path)
        answer.send("went well")
    except RunError as error:
        answer.send(str(error))


def long(path):
    return write(path, [episode(200, True, seed) for seed in range(20)])


@pytest.mark.parametrize("act", [long, open_cache])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(act, tmp_path):
    path = tmp_path / "a.hdf5"
    if act is open_cache:
        long(path)
    context = get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_refused, args=(act, path, theirs))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert ours.recv().startswith("The disk is full")
    left = [file.name for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".lock"]
    assert left == ([path.name] if act is open_cache else [])
