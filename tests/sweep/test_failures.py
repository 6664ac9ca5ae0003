"""What failed twice in the same way is not tried a third time, from one call to the next."""

from pathlib import Path

import pytest

from robo_orl.sweep.failures import MOST, Failures
from robo_orl.sweep.job import TRAIN, Job

JOB = Job(TRAIN, "train-a.b", ("x",), (), 1.0, 1, Path("x"))


def test_the_same_reason_twice_is_the_end(tmp_path):
    failures = Failures(tmp_path)
    assert failures.add(JOB, "It broke.") and not failures.given_up(JOB)
    assert not failures.add(JOB, "It broke.") and failures.given_up(JOB) == "It broke."
    assert Failures(tmp_path).given_up(JOB) == "It broke."  # the next call knows it
    assert Failures(tmp_path, forget=True).given_up(JOB) == "" == Failures(tmp_path).given_up(JOB)


def test_reasons_that_change_are_tried_a_few_times(tmp_path):
    failures = Failures(tmp_path)
    assert [failures.add(JOB, f"Reason {number}.") for number in range(MOST)] == [True] * (MOST - 1) + [False]
    assert failures.given_up(JOB) == f"Reason {MOST - 1}."


def test_a_success_clears_what_was_before(tmp_path):
    failures = Failures(tmp_path)
    failures.add(JOB, "It broke.")
    failures.clear(JOB)
    failures.clear(JOB)
    assert Failures(tmp_path).reasons == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"other": 1}', '{"reasons": 3}'])
def test_a_damaged_file_is_no_failure(tmp_path, text):
    Failures(tmp_path).add(JOB, "It broke.")
    (tmp_path / "failures" / f"{JOB.key}.json").write_text(text)
    assert Failures(tmp_path).reasons == {}
