"""Every result that is shipped in results/ is what its episodes say."""

import gzip
from pathlib import Path

import pytest

from robo_orl.config.presets import load_task
from robo_orl.results.container import COSTS, EPISODES, FILES, RECORDS, SUITE
from robo_orl.results.pack import pack, unpack
from robo_orl.results.store import open_results, results_folders
from robo_orl.results.verify import policy_of, verify
from robo_orl.sweep.cells import expand, load_suite

RESULTS = Path(__file__).parents[2] / "results"
SHIPPED = results_folders([RESULTS, RESULTS / "superseded"])


def test_results_are_shipped():
    assert {"quick", "methods", "parity", "cost"} <= {path.name for path in SHIPPED}
    assert SUPERSEDED.keys() == {path.name for path in SHIPPED if path.parent != RESULTS}, "none of them is ranked"


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_counts_hashes_and_digests_hold(folder):
    assert {path.name for path in folder.iterdir()} <= set(FILES)
    checked = verify(folder)
    assert checked.faults == {}
    assert checked.cells + checked.costs > 0


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_a_folder_is_named_after_its_suite(folder):
    manifest = open_results(folder).manifest
    assert manifest is None or manifest.suite.name == folder.name


def test_a_container_that_is_unpacked_and_packed_holds_the_same_texts(tmp_path):
    shipped, packed = RESULTS / "quick", tmp_path / "packed"
    unpack(shipped, tmp_path / "working")
    pack(tmp_path / "working", packed)
    assert all((packed / name).read_bytes() == (shipped / name).read_bytes() for name in (SUITE, RECORDS, COSTS))
    first, second = (gzip.decompress((folder / EPISODES).read_bytes()) for folder in (shipped, packed))
    assert first == second  # another zlib may compress them otherwise


# In results/superseded: records of settings that no suite has any more, as `methods` before its policies were tuned.
SUPERSEDED = {"methods_untuned": 32}


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_every_record_belongs_to_a_cell_of_its_suite(folder):
    results = open_results(folder)
    records = [cell.record() for cell in results.cells]
    for record in records:
        assert record.task.digest == load_task(record.task.name).digest()
        assert policy_of(record).name == record.policy.name
    cells = {} if folder.name in SUPERSEDED else {cell.key: cell for cell in expand(load_suite(folder.name))}
    superseded = [record for record in records if record.cell not in cells]
    assert len(superseded) == SUPERSEDED.get(folder.name, 0)
    for record in records:
        if record.cell in cells:
            cell = cells[record.cell]
            assert (record.train.run, record.policy.digest) == (cell.run_key, cell.policy.digest())
            assert (record.regime, record.seed, record.size) == (cell.regime, cell.seed, cell.size)
    planned = results.manifest.cells if results.manifest else []
    assert {cell.cell for cell in planned} <= set(cells)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_the_costs_that_ship_are_of_tasks_as_they_are(folder):
    for record in open_results(folder).cost_records:
        assert record.task.digest == load_task(record.task.name).digest()
