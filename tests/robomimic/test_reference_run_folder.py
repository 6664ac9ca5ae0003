"""A reference's checkpoint is on the disk before it has its name."""

import torch
from disk_order import flushed_before_renamed

from robo_orl.robomimic.run_folder import LEARNING, MODEL, save_checkpoint


def test_every_file_of_a_checkpoint_is_on_the_disk_before_its_folder_has_its_name(tmp_path, monkeypatch):
    events = flushed_before_renamed(monkeypatch)
    save_checkpoint(tmp_path, 1, 0, {"a": torch.ones(2)}, {"run": "x"})
    named = events.index("rename epoch_00001")
    written = [MODEL, LEARNING]
    assert {f"flush {name}" for name in written} <= set(events[:named])
    assert "flush checkpoints" in events[named:]
