"""Results are asked in SQL, see nothing but their own tables, and refuse in one sentence."""

import json
import sys

import pytest
from cell_examples import CRITIC, example_record, example_rows

import robo_orl
from robo_orl.base.errors import UsageError
from robo_orl.cli.app import main
from robo_orl.results.columns import COLUMNS
from robo_orl.results.intervals import score
from robo_orl.results.pack import pack
from robo_orl.results.query import query
from robo_orl.results.record import CurvePoint, LearningCurve
from robo_orl.results.store import write_cell
from robo_orl.results.tables import read_tables


@pytest.fixture
def folder(tmp_path):
    """Two cells: cloning, and a critic with value errors."""
    for config in ({}, CRITIC):
        arguments = {"config": config} if config else {}
        rows = example_rows(**arguments)
        record = example_record(rows, **arguments)
        name = f"chain2-mg-{record.policy.name}-tiny-s0-{record.cell[:10]}"
        write_cell(tmp_path / "runs" / "cells" / name, record, rows)
    return tmp_path / "runs"


def test_records_and_episodes_are_joined_and_counted(folder):
    sql = """SELECT r.policy, r.k, r.n, count(*) FILTER (e.success), value_error FROM records r JOIN episodes e
             USING (cell) GROUP BY ALL ORDER BY r.policy"""
    answer = query(sql, [folder])
    assert answer.rows == [("bc", 7, 20, 7, None), ("qc", 7, 20, 7, 0.2)]


def test_points_on_the_way_are_rows(tmp_path):
    point = CurvePoint(step=4, wall_s=1.0, success=score(3, 20), losses={"loss": 0.5})
    curve = LearningCurve(every=4, episodes=20, loop="exact", starts_sha256="c", held_out_sha256="d", points=[point])
    rows = example_rows()
    write_cell(tmp_path / "cells" / "one", example_record(rows, curve=curve), rows)
    answer = query("SELECT step, p.k, p.n, loss, p.value_error FROM points p JOIN records USING (cell)", [tmp_path])
    assert answer.rows == [(4, 3, 20, 0.5, None)]


def test_a_packed_folder_gives_the_same_tables(folder, tmp_path):
    pack(folder, tmp_path / "packed" / "suite")
    loose, packed = read_tables([folder]), read_tables([tmp_path / "packed"])  # a folder of results folders
    for one, other in zip(loose, packed, strict=True):
        assert [row | {"folder": ""} for row in one.rows] == [row | {"folder": ""} for row in other.rows]


def test_every_column_has_its_type_also_where_it_is_empty(folder):
    types = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
    sql = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
    stored = {(table, column): kind for table, column, kind in query(sql, [folder]).rows}
    assert stored == {(name, c.name): types[c.kind] for name, columns in COLUMNS.items() for c in columns}


@pytest.mark.parametrize(
    "sql, sentence",
    [
        ("SELECT nope FROM records", 'column "nope" not found'),
        ("SELECT 1 +", "syntax error"),
        ("", "one SELECT"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("DROP TABLE records", "one SELECT"),
        ("COPY records TO '{file}'", "one SELECT"),
        ("ATTACH '{file}'", "one SELECT"),
        ("SELECT * FROM read_text('{file}')", "disabled"),
        ("SELECT * FROM '{file}'", "disabled"),
        ("SELECT * FROM glob('{folder}/*')", "disabled"),
        ("SELECT * FROM folders", "does not exist"),
    ],
)
def test_what_is_no_question_about_the_tables_is_one_sentence(folder, tmp_path, sql, sentence):
    file = tmp_path / "secret.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=sentence) as refused:
        query(sql.format(file=file, folder=tmp_path), [folder])
    assert "\n" not in str(refused.value) and file.read_text() == "a,b\n1,2\n"


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no results"):
        query("SELECT 1", [tmp_path])
    with pytest.raises(UsageError, match="There is no results folder"):
        query("SELECT 1", [tmp_path / "absent"])


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["robo-orl", "results", "query", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, capsys.readouterr().out


def test_the_command_prints_a_table_csv_or_json(folder, monkeypatch, capsys):
    sql = "SELECT policy, k / n AS rate FROM records ORDER BY 1"
    assert command(monkeypatch, capsys, sql, folder, "--csv") == (0, "policy,rate\nbc,0.35\nqc,0.35\n")
    code, out = command(monkeypatch, capsys, sql, folder, "--json")
    assert code == 0 and json.loads(out) == {"columns": ["policy", "rate"], "rows": [["bc", 0.35], ["qc", 0.35]]}
    code, out = command(monkeypatch, capsys, sql, folder)
    assert code == 0 and "2 rows" in out and "0.35" in out
    assert command(monkeypatch, capsys, sql, folder, "--csv", "--json")[0] == 2
    code, out = command(monkeypatch, capsys, "--columns")
    assert code == 0 and all(c.name in out for columns in COLUMNS.values() for c in columns)


def test_python_has_the_same_rows_and_a_frame_where_pandas_is(folder):
    table = robo_orl.tables(folder).records
    assert [row["policy"] for row in table.rows] == ["bc", "qc"]
    try:
        import pandas  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match="pandas is not installed"):
            table.frame()
    else:
        assert list(table.frame()["k"]) == [7, 7]
