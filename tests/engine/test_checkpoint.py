"""A checkpoint is on the disk before it has its name: a power cut leaves the one before it or a whole new one."""

import torch
from disk_order import flushed_before_renamed

from robo_orl.engine.checkpoint import CheckpointState, _write_folder


def test_every_file_of_a_checkpoint_is_on_the_disk_before_its_folder_has_its_name(tmp_path, monkeypatch):
    events = flushed_before_renamed(monkeypatch)
    folder = tmp_path / "checkpoints" / "step_00000001"
    _write_folder(folder, {"agent.safetensors": {"a": torch.ones(2)}}, CheckpointState(step=1))
    named = events.index("rename step_00000001")
    files = {f"flush {path.name}" for path in folder.iterdir()}
    assert len(files) == 2 and files <= set(events[:named]) and "flush checkpoints" in events[named:]
