"""A results folder keeps what it was given, and says in a sentence what it cannot read."""

import json

import pytest
from cell_examples import example_record, example_rows
from pydantic import ValidationError

from robo_orl.base.errors import UsageError
from robo_orl.results.record import Count, Record, TrainingCost
from robo_orl.results.store import read_cells, read_record, write_cell
from robo_orl.results.summary import summarise


def test_a_cell_comes_back_as_it_was_written(tmp_path):
    rows = example_rows()
    record = example_record(rows)
    write_cell(tmp_path / "cells" / "a-cell", record, rows)
    assert read_cells(tmp_path) == [(record, rows)]


def test_rows_without_a_record_are_no_cell(tmp_path):
    (tmp_path / "cells" / "half").mkdir(parents=True)
    (tmp_path / "cells" / "half" / "episodes.jsonl").write_text("")
    assert read_cells(tmp_path) == []


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda values: values.update(schema_version=9), "schema version 9"),
        (lambda values: values.update(surprise=1), "surprise"),
        (lambda values: values.pop("data"), "data: Field required"),
    ],
)
def test_a_record_of_another_shape_is_refused_in_one_sentence(tmp_path, change, sentence):
    write_cell(tmp_path, example_record(example_rows()), example_rows())
    values = json.loads((tmp_path / "record.json").read_text())
    change(values)
    (tmp_path / "record.json").write_text(json.dumps(values))
    with pytest.raises(UsageError, match=sentence):
        read_record(tmp_path)


def test_a_cut_record_is_named(tmp_path):
    (tmp_path / "record.json").write_text('{"schema_version": 1, ')
    with pytest.raises(UsageError, match="is not JSON"):
        read_record(tmp_path)


def test_counts_and_parameters_must_add_up():
    with pytest.raises(ValidationError, match="cannot exceed"):
        Count(k=3, n=2)
    train = example_record(example_rows()).train.model_dump()
    with pytest.raises(ValidationError, match="sum to 5"):
        TrainingCost(**(train | {"parameters": {"backbone": 5, "total": 4}}))


def test_unknown_keys_are_refused_everywhere():
    values = example_record(example_rows()).model_dump()
    values["train"]["speed"] = 1
    with pytest.raises(ValidationError, match="speed"):
        Record(**values)


def test_stage_scores_count_the_conditional_on_those_that_reached_the_stage_before():
    first, second = summarise(example_rows(20), ["one", "two"])["stages"]
    assert (first.reached.k, first.reached.n, first.conditional.n) == (13, 20, 20)
    assert (second.reached.k, second.reached.n) == (7, 20)
    assert (second.conditional.k, second.conditional.n) == (7, 13)


def test_lengths_are_those_of_successes_and_absent_without_any():
    rows = example_rows(6)  # successes 0 and 3
    assert summarise(rows, ["one", "two"])["success_length_mean"] == 41.5
    failures = [row.model_copy(update={"success_once": False}) for row in rows]
    assert summarise(failures, ["one", "two"])["success_length_median"] is None


def test_a_row_that_is_silent_about_a_stage_is_refused():
    with pytest.raises(ValueError, match="all of the stages"):
        summarise(example_rows(3), ["one", "two", "three"])
