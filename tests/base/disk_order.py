"""The order in which files are forced to the disk and renamed."""

import os

import pytest


def flushed_before_renamed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that fills with what is forced to the disk and what is renamed, by the last part of its name."""
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def record_fsync(descriptor: int) -> None:
        events.append(f"flush {os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        fsync(descriptor)

    def record_rename(source: str, target: str) -> None:
        events.append(f"rename {os.path.basename(target)}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    return events
