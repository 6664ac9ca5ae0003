"""Verification believes the rows and nothing else."""

import json

import pytest
from cell_examples import (
    BANK,
    CONFIG,
    CRITIC,
    SUITE_CONFIG,
    TASK,
    VALUE_ERRORS,
    example_key,
    example_record,
    example_rows,
    example_run,
)

from robo_orl.base.errors import UsageError
from robo_orl.cli.app import main
from robo_orl.config import PolicyConfig, sha256_of
from robo_orl.results.addresses import evaluation_request
from robo_orl.results.record import (
    Annotation,
    DataRef,
    Manifest,
    OwnPolicyValues,
    PlannedCell,
    SuiteRef,
    ValueErrorPart,
)
from robo_orl.results.store import folder_cell, rows_text, write_cell, write_manifest
from robo_orl.results.verify import faults, verify


@pytest.fixture
def cell(tmp_path):
    rows = example_rows()
    record = example_record(rows)
    folder = tmp_path / "cells" / f"chain2-mg-bc-tiny-s0-{record.cell[:10]}"
    write_cell(folder, record, rows)
    return folder


def tamper(folder, *path, value):
    record = json.loads((folder / "record.json").read_text())
    place = record
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    (folder / "record.json").write_text(json.dumps(record))


def test_rows_of_a_training_that_others_share_are_of_the_policy_whatever_the_run_is_called():
    def request(**changes):
        policy = PolicyConfig.model_validate(CONFIG | changes)
        return evaluation_request(policy, TASK.digest(), "checkpoint", 0, BANK, "exact")

    assert request(name="another_row_of_the_run") == request()
    assert request(selection={"noise_scale": 0.5}) != request()


def other_outcomes(tmp_path, config=CONFIG, regime="mg+permuted", **changes):
    """Two cells with the same rows, whose data differ by the outcomes or rewards of their episodes: what verification
    says."""
    rows = example_rows(config=config)
    one = example_record(rows, config=config)
    other = example_record(
        rows, config=config, cell=example_key(0, config, len(rows), regime), regime=regime,
        data=one.data.model_copy(update={"sha256": sha256_of(regime)}),
        train=one.train.model_copy(update={"run": example_run(0, config, regime)}),
    )  # fmt: skip
    evaluation = other.evaluation.model_copy(update=changes)
    for record in (one, other.model_copy(update={"evaluation": evaluation})):
        write_cell(
            tmp_path / "cells" / f"chain2-{record.regime}-{config['name']}-tiny-s0-{record.cell[:10]}", record, rows
        )
    return [sentence for found in verify(tmp_path).faults.values() for sentence in found]


@pytest.mark.parametrize("regime", ["mg+permuted", "mg@stages_25", "mg+permuted@stages_25"])
def test_cloning_plays_the_same_episodes_whatever_the_outcomes_and_rewards_of_its_data(tmp_path, regime):
    assert other_outcomes(tmp_path, regime=regime) == []


def test_rows_of_a_critic_or_of_other_weights_are_not_those_of_the_cell_with_other_outcomes(tmp_path):
    assert any("request is the same" in said for said in other_outcomes(tmp_path / "critic", CRITIC))
    assert any("request is" in said for said in other_outcomes(tmp_path / "weights", checkpoint_sha256="0" * 64))


@pytest.mark.parametrize("change", [{}, {"success": {"k": 4, "n": 30}}, {"reward": {"rest": "drop"}}])
def test_a_critic_plays_the_same_episodes_where_more_success_bits_called_no_more_a_success(tmp_path, change):
    rows = example_rows(config=CRITIC)
    for labels, own in ((5, {}), (10, change)):
        regime = f"mg@success_{labels}"
        record = example_record(
            rows, config=CRITIC, cell=example_key(0, CRITIC, len(rows), regime), regime=regime,
            train=example_record(rows, config=CRITIC).train.model_copy(update={"run": example_run(0, CRITIC, regime)}),
        )  # fmt: skip
        reward = {"name": f"success_{labels}", "source": "success", "labels": labels} | own.get("reward", {})
        data = record.data.model_dump() | {"sha256": sha256_of(regime), "reward": reward, "success": {"k": 3, "n": 30}}
        record = record.model_copy(update={"data": DataRef.model_validate(data | own | {"reward": reward})})
        write_cell(tmp_path / "cells" / f"chain2-{regime}-{CRITIC['name']}-tiny-s0-{record.cell[:10]}", record, rows)
    said = [sentence for found in verify(tmp_path).faults.values() for sentence in found]
    assert any("request is the same" in one for one in said) == bool(change)


@pytest.mark.parametrize("selection", [{"acting": "random"}, {}])
def test_uniform_actions_play_the_same_episodes_whatever_was_trained(tmp_path, selection):
    config = CONFIG | {"name": "floor", "selection": selection}
    first = example_rows(config=config)
    for seed in (0, 1):
        rows = [row.model_copy(update={"fingerprint": played.fingerprint})
                for row, played in zip(example_rows(seed=seed, config=config), first, strict=True)]  # fmt: skip
        record = example_record(rows, seed=seed, config=config)
        write_cell(tmp_path / "cells" / f"chain2-mg-floor-tiny-s{seed}-{record.cell[:10]}", record, rows)
    said = [sentence for found in verify(tmp_path).faults.values() for sentence in found]
    assert any("fingerprints are equal" in one for one in said) == (not selection)


@pytest.mark.parametrize("assumed", [250.0, 50.0])
def test_the_same_rewards_took_the_same_labels_and_seconds_in_every_record(tmp_path, assumed):
    for seed, seconds in ((0, 250.0), (1, assumed)):
        rows = example_rows(seed=seed)
        record = example_record(rows, seed=seed)
        annotation = Annotation(kind="success", labels=25, seconds_assumed=seconds)
        record = record.model_copy(update={"data": record.data.model_copy(update={"annotation": annotation})})
        write_cell(tmp_path / "cells" / f"chain2-mg-bc-tiny-s{seed}-{record.cell[:10]}", record, rows)
    said = [sentence for found in verify(tmp_path).faults.values() for sentence in found]
    assert any("data.annotation or data.quality of the same data differs" in one for one in said) == (assumed != 250.0)


@pytest.mark.parametrize(
    ("frames", "k", "sha256", "differs"),
    [
        (0, 0, "a", False),
        (1, 0, "b", False),
        (0, 2, "b", False),
        (400, 0, "b", True),
        (0, 5, "b", True),
        (1, 0, "a", True),
    ],
)
def test_data_recorded_on_two_machines_may_differ_by_rounding_and_a_file_by_nothing(
    tmp_path, frames, k, sha256, differs
):
    for seed, more, solved, file in ((0, 0, 0, "a"), (1, frames, k, sha256)):
        rows = example_rows(seed=seed)
        record = example_record(rows, seed=seed)
        success = record.data.success.model_copy(update={"k": record.data.success.k - solved})
        own = {"frames": record.data.frames + more, "success": success, "sha256": file * 64}
        record = record.model_copy(update={"data": record.data.model_copy(update=own)})
        write_cell(tmp_path / "cells" / f"chain2-mg-bc-tiny-s{seed}-{record.cell[:10]}", record, rows)
    said = [sentence for found in verify(tmp_path).faults.values() for sentence in found]
    assert any("data.frames" in one or "same sha256" in one for one in said) == differs


def test_a_consistent_record_has_no_fault(cell, tmp_path):
    assert faults(folder_cell(cell)) == []
    found = verify(tmp_path)
    assert (found.cells, found.episodes, found.faults, found.missing) == (1, 20, {}, [])


@pytest.mark.parametrize(
    "path, value",
    [
        (("evaluation", "success_once", "k"), 8),
        (("evaluation", "success_once", "low"), 0.5),
        (("evaluation", "stages", 1, "conditional", "n"), 14),
        (("evaluation", "discounted_return"), 0.2),
        (("evaluation", "success_length_median"), 1.0),
        (("evaluation", "episodes"), 21),
    ],
)
def test_every_score_that_was_improved_by_hand_is_found(cell, path, value):
    tamper(cell, *path, value=value)
    assert any(f"evaluation.{path[1]}" in fault for fault in faults(folder_cell(cell)))


def test_a_changed_row_breaks_hash_and_score(cell):
    rows = example_rows()
    rows[1] = rows[1].model_copy(update={"success_once": True, "stages": [True, True]})
    (cell / "episodes.jsonl").write_text(rows_text(rows))
    found = " ".join(faults(folder_cell(cell)))
    assert "sha256" in found and "success_once is 7/20" in found and "the rows give 8/20" in found


def test_a_changed_policy_breaks_its_digest(cell):
    tamper(cell, "policy", "config", "backbone", "size", value="l")
    assert "policy.digest" in faults(folder_cell(cell))[0]


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"episode": 1}, "counted twice"),
        ({"start": 1}, "more than once"),
        ({"length": 999}, "longer (999) than the horizon (400)"),
        ({"success_once": False}, "without ever having succeeded"),
        ({"stages": [True, False]}, "the last stage and success disagree"),
    ],
)
def test_rows_that_cannot_be_are_named(cell, change, sentence):
    rows = example_rows()
    rows[0] = rows[0].model_copy(update=change)
    (cell / "episodes.jsonl").write_text(rows_text(rows))
    assert any(sentence in fault for fault in faults(folder_cell(cell)))


def test_missing_rows_are_one_fault(cell):
    (cell / "episodes.jsonl").unlink()
    assert len(faults(folder_cell(cell))) == 1 and "Cannot read" in faults(folder_cell(cell))[0]


def test_cells_that_the_suite_asked_for_and_nobody_ran_are_listed(cell, tmp_path):
    keys = (example_record(example_rows()).cell, "cd" * 32)
    asked = [
        PlannedCell(cell=key, task="chain2", regime="mg", policy="bc", size="tiny", seed=seed)
        for seed, key in enumerate(keys)
    ]
    suite = SuiteRef(name="quick", version=1)
    write_manifest(tmp_path, Manifest(suite=suite, description="", config=SUITE_CONFIG, cells=asked))
    assert verify(tmp_path).missing == ["chain2 mg bc tiny seed 1"]


@pytest.mark.parametrize("asked", [200, 150])
def test_the_demonstrations_that_a_group_asks_for_go_before_the_suites(cell, tmp_path, asked):
    groups = [SUITE_CONFIG["groups"][0] | {"episodes": asked}]
    config = SUITE_CONFIG | {"groups": groups, "data": {"episodes": 7}}
    key = example_record(example_rows()).cell
    planned = PlannedCell(cell=key, task="chain2", regime="mg", policy="bc", size="tiny", seed=0, state="done")
    suite = SuiteRef(name="quick", version=1)
    write_manifest(tmp_path, Manifest(suite=suite, description="", config=config, cells=[planned]))
    said = " ".join(fault for sentences in verify(tmp_path).faults.values() for fault in sentences)
    assert ("data.episodes is 200, the suite asks for 150" in said) == (asked == 150)
    assert ("is not the address of this task" in said) == (asked == 150)


OWN = {
    "states": 8, "rollouts": 2, "actions": 10, "successes": 9, "gamma": 0.99, "gain": (0.3, 0.1, 0.5),
    "own": {"n": 8, "bias": 0.1}, "data": {"n": 8, "bias": 0.4},
}  # fmt: skip


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({}, ""),
        ({"successes": 17}, "17 of 16 rollouts"),
        ({"gain": (0.2, 0.1, 0.5)}, "not the difference of the biases"),
        ({"gain": (0.3, 0.4, 0.5)}, "outside its interval"),
        ({"own": {"n": 7, "bias": 0.1}}, "not of all states"),
        ({"gamma": 0.9}, "own_policy.gamma is 0.9"),
    ],
)
def test_values_of_the_own_policy_are_held_to_each_other(tmp_path, change, sentence):
    rows = example_rows(config=CRITIC)
    record = example_record(rows, config=CRITIC, own_policy=OwnPolicyValues.model_validate(OWN | change))
    write_cell(tmp_path / "cells" / "one", record, rows)
    found = [fault for fault in faults(folder_cell(tmp_path / "cells" / "one")) if "own_policy" in fault]
    assert (sentence in " ".join(found)) and bool(found) == bool(sentence)


def test_parts_of_a_value_error_add_up_and_belong_to_a_critic(tmp_path):
    rows = example_rows(config=CRITIC)
    parts = {"success": ValueErrorPart(n=30), "walked_off": ValueErrorPart(n=19)}
    errors = VALUE_ERRORS.model_copy(update={"by_end": parts})
    write_cell(tmp_path / "cells" / "one", example_record(rows, config=CRITIC, value_errors=errors), rows)
    assert any("by_end does not add up" in fault for fault in faults(folder_cell(tmp_path / "cells" / "one")))
    rows = example_rows()
    write_cell(tmp_path / "cells" / "two", example_record(rows, own_policy=OwnPolicyValues.model_validate(OWN)), rows)
    assert any(
        "own_policy are stated of a policy without" in f for f in faults(folder_cell(tmp_path / "cells" / "two"))
    )


def test_a_folder_without_records_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="holds no records"):
        verify(tmp_path)


def test_the_report_command_names_a_tampered_record_and_fails(cell, tmp_path, capsys, monkeypatch):
    tamper(cell, "evaluation", "success_once", "k", value=20)
    monkeypatch.setattr("sys.argv", ["robo-orl", "report", str(tmp_path), "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert cell.name in capsys.readouterr().err
