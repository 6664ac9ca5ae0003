"""Processes that a test may interrupt: under nohup or a background job SIGINT is inherited as ignored."""

import signal
import subprocess


def start_interruptible(command, **options) -> subprocess.Popen:
    """subprocess.Popen in which Ctrl-C works whatever started the tests."""
    return subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)
