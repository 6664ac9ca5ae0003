"""Two sides are paired on shared start states, by every endpoint and stage, or refused in one sentence."""

import json
import sys

import pytest
from cell_examples import CONFIG, CRITIC, example_record, example_rows

from robo_orl.base.errors import UsageError
from robo_orl.cli.app import main
from robo_orl.compare.side_by_side import side_by_side
from robo_orl.compare.sides import read_side
from robo_orl.results.pack import pack
from robo_orl.results.store import write_cell

FASTER = CONFIG | {"name": "fast", "optim": {"steps": 10, "batch_size": 32}}


def write(folder, config=CONFIG, seed=0, change=lambda rows: rows, **values):
    rows = change(example_rows(seed=seed, config=config))
    record = example_record(rows, seed=seed, config=config, **values)
    name = f"{record.task.name}-mg-{record.policy.name}-tiny-s{seed}-{record.cell[:10]}"
    write_cell(folder / "cells" / name, record, rows)
    return folder / "cells" / name


def solved_more(rows):
    """The same episodes, the failures among the first sixteen solved at decision 90."""
    won = {"success_once": True, "success_at_end": True, "stages": [True, True], "stage_steps": [50, 90], "length": 90}
    return [
        row.model_copy(update=won | {"discounted_return": 0.4}) if not row.success_once and row.start < 16 else row
        for row in rows
    ]


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "results")
    write(tmp_path / "results", FASTER, change=solved_more)
    return tmp_path / "results"


def sides(folder, *names):
    return [read_side(f"{folder}:chain2-mg-{name}-tiny") for name in names]


def test_the_table_names_settings_and_counts_pairs(folder):
    compared = side_by_side(*sides(folder, "bc", "fast"))
    assert [(c.key, c.first, c.second) for c in compared.changed] == [("policy.optim.batch_size", 64, 32)]
    effects = {effect.endpoint: effect for effect in compared.effects}
    assert list(effects) == [
        "return",
        "success",
        "within_40",
        "within_60",
        "within_80",
        "cube_1_placed",
        "cube_2_placed",
    ]
    success, first_stage = effects["success"].difference, effects["cube_1_placed"].difference
    assert (success.wins, success.losses, success.n) == (10, 0, 20) and success.p == pytest.approx(2 / 2**10)
    assert (first_stage.wins, first_stage.losses) == (5, 0) and first_stage.p == pytest.approx(2 / 2**5)
    assert effects["success"].second == pytest.approx(17 / 20) and effects["success"].p_holm > success.p
    assert effects["success"].verdict == "better" and effects["cube_1_placed"].verdict == "undecided"


def test_a_policy_against_itself_differs_in_nothing(folder):
    compared = side_by_side(*sides(folder, "bc", "bc"))
    assert compared.changed == [] and {effect.verdict for effect in compared.effects} == {"undecided"}


def test_several_trainings_are_paired_by_their_seeds(folder):
    write(folder, seed=1)
    write(folder, FASTER, seed=1, change=solved_more)
    write(folder, FASTER, seed=2)
    compared = side_by_side(*sides(folder, "bc", "fast"))
    assert (compared.trainings, compared.n) == (2, 40) and "seed" not in [c.key for c in compared.changed]
    one = side_by_side(read_side(f"{folder}:chain2-mg-bc-tiny-s1"), read_side(f"{folder}:chain2-mg-fast-tiny-s0"))
    assert one.n == 20 and ("seed", 1, 0) in [(c.key, c.first, c.second) for c in one.changed]


def test_records_and_packed_rows_are_the_same_sides(tmp_path):
    cell = write(tmp_path / "results")
    pack(tmp_path / "results", tmp_path / "packed")
    loose, packed = read_side(str(cell)), read_side(f"{tmp_path / 'packed'}:chain2-mg-bc-tiny")
    assert loose.trainings == packed.trainings


def changed(side, **values):
    from dataclasses import replace

    return replace(side, **values)


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"task_digest": "x", "task": "chain1", "horizon": 200}, "different tasks, chain2 and chain1, of 400 and 200"),
        ({"task_digest": "x"}, "two versions of chain2"),
        ({"starts_sha256": "x"}, "other start states"),
        ({"loop": "fast"}, "physics loop exact and fast"),
    ],
)
def test_sides_that_share_nothing_are_refused(folder, values, sentence):
    one, other = sides(folder, "bc", "fast")
    with pytest.raises(UsageError, match=sentence):
        side_by_side(one, changed(other, **values))


def test_what_is_no_side_is_one_sentence(folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    for text, sentence in (
        (f"{folder}:chain2-mg-bb-tiny", "Unknown row of .* Did you mean 'chain2-mg-bc-tiny'"),
        (str(folder), "holds many rows: name one as RESULTS:TASK-REGIME-POLICY-SIZE, for example"),
        (str(tmp_path / "absent"), "no trained run, no record and no results folder"),
        (f"{tmp_path / 'absent'}:row", "There is no results folder"),
    ):
        with pytest.raises(UsageError, match=sentence):
            read_side(text)
    with pytest.raises(UsageError, match="no training seed in common"):
        write(folder, seed=1)
        write(folder, CRITIC, seed=2)
        write(folder, CRITIC, seed=3)
        side_by_side(*sides(folder, "bc", "qc"))


def test_the_command_prints_both_tables_or_json(folder, monkeypatch, capsys):
    words = ["robo-orl", "compare", f"{folder}:chain2-mg-bc-tiny", f"{folder}:chain2-mg-fast-tiny"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().out
    assert not ended.value.code and "policy.optim.batch_size" in shown and "One training of each" in shown
    monkeypatch.setattr(sys, "argv", [*words, "--json"])
    with pytest.raises(SystemExit):
        main()
    assert json.loads(capsys.readouterr().out)["n"] == 20
    monkeypatch.setattr(sys, "argv", [*words, "--until-decided"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "record without its weights" in capsys.readouterr().err
