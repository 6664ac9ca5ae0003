import json

from robo_orl.engine.monitor import drop_rows_after


def test_rows_after_the_checkpoint_and_a_half_written_one_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10, "loss": 1}\n{"step": 20, "loss": 2}\n{"step": 30, "lo')
    drop_rows_after(path, 10)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10]


def test_there_may_be_no_rows_yet(tmp_path):
    drop_rows_after(tmp_path / "metrics.jsonl", 10)
    assert not list(tmp_path.iterdir())
