import json

import pytest

from robo_orl.base.errors import RunError
from robo_orl.engine.monitor import Speed, _ProgressBar, drop_rows_after, speed


def test_rows_after_the_checkpoint_and_a_half_written_one_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10, "loss": 1}\n{"step": 20, "loss": 2}\n{"step": 30, "lo')
    drop_rows_after(path, 10)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10]


def test_there_may_be_no_rows_yet(tmp_path):
    drop_rows_after(tmp_path / "metrics.jsonl", 10)
    assert not list(tmp_path.iterdir())


def test_speed_is_the_median_of_the_rows_that_are_no_warm_up(tmp_path):
    costs = [(9.0, True), (0.2, False), (0.1, False), (0.4, False), (7.0, True)]
    rows = [{"step": i, "step_s": s, "data_share": 0.5, "warm_up": w} for i, (s, w) in enumerate(costs)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = speed(tmp_path / "metrics.jsonl", batch_size=10)
    assert found == Speed(step_s=0.2, step_s_rows=3, samples_per_s=50.0, data_share=0.5)


def test_damaged_rows_do_not_count_and_a_file_without_rows_is_a_sentence(tmp_path):
    path, row = tmp_path / "metrics.jsonl", '{"step": 10, "step_s": 0.2, "data_share": 0.5, "warm_up": false}'
    path.write_bytes(row.encode() + b'\n\xff\x00\n{"step": 20, "step_s": null}\n[1]\n{"step": 30, "st')
    assert speed(path, batch_size=10).step_s_rows == 1
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(RunError, match="metrics.jsonl was removed or damaged .*; its checkpoints are kept"):
        speed(path, batch_size=10)


def test_the_time_left_is_shown_from_the_first_step_however_slow():
    bar = _ProgressBar(steps=100, start=0, enabled=True)
    try:
        shown = lambda: bar._progress.tasks[0].fields["left"]  # noqa: E731
        assert shown() == "-"
        bar.advance(1, step_s=60.0)
        assert shown() == "1:39:00"
        bar.show(10, 0.5, {"step_s": 10.0, "samples_per_s": 1.0, "memory_gb": 1.0})
        assert shown() == "0:15:00"
        bar.advance(11, step_s=60.0)  # one slow step counts when its row is complete
        assert shown() == "0:14:50"
    finally:
        bar.close()
