"""Results on a terminal of 80 columns: nothing is shortened, and rows are tables."""

import json

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.cli.presets import KINDS, catalogue, list_presets
from robo_orl.cli.tables import key_values, listing


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_shortens_no_name_and_loses_no_word(kind, capsys):
    rows = catalogue(kind)
    listing({kind: rows})
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80 or max(len(row["name"]) for row in rows) > 60
    assert "…" not in shown
    for row in rows:
        assert any(line.startswith(row["name"]) for line in lines), row["name"]
    words = " ".join(shown.split())
    assert all(" ".join(row["description"].split()) in words for row in rows if "description" in row)


def test_rows_of_a_result_are_a_table_with_its_numbers(capsys):
    """As `data replay` and `data info` print them."""
    rows = [{"demo": f"demo_{i}", "recorded": True, "replayed": i > 0, "max_state_difference": 0.0} for i in range(2)]
    key_values({"path": "a.hdf5", "task_digest": "d" * 64, "render": None, "images": {}, "rows": rows})
    shown = capsys.readouterr().out
    assert "{" not in shown and "None" not in shown and "d" * 20 in shown and "…" not in shown
    assert shown.split("rows")[1].split()[:6] == ["demo", "recorded", "replayed", "max", "state", "difference"]
    assert shown.splitlines()[-2].split() == ["demo_0", "yes", "no", "0"]
    assert max(map(len, shown.splitlines())) <= 80


def test_a_long_name_is_whole_on_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    listing({"policies": [{"name": "n" * 60, "critic": "separate", "description": "What it does, in words. " * 4}]})
    assert "n" * 60 in capsys.readouterr().out


def test_policies_are_listed_by_their_objective(capsys):
    list_presets("", "iql", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert {row["objective"] for row in found["policies"]} == {"iql"} and len(found["policies"]) >= 2
    assert [row["name"] for row in found["objectives"]] == ["iql"]


def test_an_objective_that_does_not_exist_and_a_kind_without_objectives_are_refused():
    with pytest.raises(UsageError, match="Unknown objective 'iqq'.*iql"):
        list_presets("policies", "iqq")
    with pytest.raises(UsageError, match="--objective selects policies and objectives; tasks have none"):
        list_presets("tasks", "iql")
