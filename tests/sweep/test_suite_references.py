"""A suite names robomimic's algorithms beside policies: each once, on the same episodes, as rows of their own kind."""

import pytest
import yaml

from robo_orl.base.errors import UsageError
from robo_orl.results.store import read_cells
from robo_orl.results.verify import verify
from robo_orl.robomimic.algorithms import load_reference, resolve
from robo_orl.sweep.bench import bench
from robo_orl.sweep.cells import expand, load_suite

pytest.importorskip("robomimic", reason="robomimic is not installed")
SHORT = {"use": "iql", "name": "theirs", "set": {"train": {"num_epochs": 3}}}
GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["bc"], "references": ["bc_rnn_gmm", SHORT]}


def cells(presets, **changes):
    return {cell.policy.name: cell for cell in expand(load_suite(presets(groups=[GROUP | changes])))}


def test_a_reference_is_there_once_whatever_the_sizes(presets):
    found = expand(load_suite(presets(groups=[GROUP | {"sizes": ["tiny", "xs"]}])))
    assert [cell.policy.name for cell in found] == ["bc", "robomimic_bc_rnn_gmm", "theirs", "bc"]
    assert [cell.size for cell in found] == ["tiny", "reference", "reference", "xs"]


def test_a_reference_learns_from_the_policies_file_unless_it_needs_next_obs(presets):
    found = cells(presets)
    assert found["robomimic_bc_rnn_gmm"].data_key == found["bc"].data_key != found["theirs"].data_key
    assert not found["bc"].next_obs and found["theirs"].next_obs


def test_its_settings_are_part_of_its_key(presets):
    first, second = (cells(presets, references=[SHORT | {"set": {"algo": {"discount": d}}}]) for d in (0.9, 0.95))
    assert first["theirs"].run_key != second["theirs"].run_key
    assert first["bc"].key == second["bc"].key


def test_an_unknown_reference_or_setting_is_named(presets):
    with pytest.raises(UsageError, match="Did you mean 'iql'"):
        cells(presets, references=["iqll"])
    with pytest.raises(UsageError, match="Did you mean 'discount'"):
        cells(presets, references=[{"use": "iql", "set": {"algo": {"discont": 1}}}])


def test_references_become_verified_records_of_their_kind(presets, fakes, tmp_path):
    bench(presets(groups=[GROUP]), tmp_path / "out", workers=2, progress=False)
    found = verify(tmp_path / "out")
    assert (found.cells, found.faults, found.missing) == (3, {}, [])
    records = {record.policy.name: record for record, _ in read_cells(tmp_path / "out")}
    assert {name: record.kind for name, record in records.items()} == {
        "bc": "policy", "robomimic_bc_rnn_gmm": "reference", "theirs": "reference",
    }  # fmt: skip
    commands = [call["command"] for call in fakes.calls()]
    assert sum("--next-obs" in command for command in commands if command[0] == "data") == 1
    selecting = [any(word.startswith("--set=selection") for word in c) for c in commands if c[0] == "eval"]
    assert sorted(selecting) == [False, False, True], "only ours selects among samples"
    asked = [load_reference(c[c.index("--algo") + 1]) for c in commands if c[0] == "reference"]
    assert {one.digest() for one in asked} == {r.policy.digest for r in records.values() if r.kind == "reference"}


def test_a_record_cannot_pass_as_another_kind(presets, fakes, tmp_path):
    out = tmp_path / "out"
    bench(presets(groups=[GROUP]), out, workers=2, progress=False)
    for path in out.glob("cells/*/record.json"):
        text = path.read_text()
        swapped = {'"kind": "policy"': '"kind": "reference"', '"kind": "reference"': '"kind": "policy"'}
        old = next(word for word in swapped if word in text)
        path.write_text(text.replace(old, swapped[old]))
    assert all("kind" in sentences[0] for sentences in verify(out).faults.values())
    assert len(verify(out).faults) == 3


def test_a_reference_in_a_file_is_the_reference(tmp_path):
    made = resolve("td3_bc", ["algo.alpha=1.5", "low_dim=[object]"])
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(made.model_dump(mode="json")))
    assert load_reference(str(tmp_path / "a.yaml")) == made
    assert load_reference(str(tmp_path / "a.yaml"), ["algo.alpha=2.5"]).settings["algo"]["alpha"] == 2.5
