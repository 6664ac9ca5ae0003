"""A results folder becomes a page and a JSON file, finished or not."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from robo_orl.base.errors import UsageError
from robo_orl.cli.app import app
from robo_orl.report.build import build
from robo_orl.report.contents import control_rank, has_critic, is_plain_bc, load
from robo_orl.report.document import document
from robo_orl.report.published import published
from robo_orl.report.terminal import table
from robo_orl.results import store

ROOT = Path(__file__).parents[2]
INTERNAL = {"board", "index", "report_version"}  # places in lists and the version of the schema


def numbers(value, key=""):
    if isinstance(value, dict):
        for name, item in value.items():
            yield from () if name in INTERNAL else numbers(item, f"{key}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def on_page(html: str) -> set[float]:
    return {float(found) for found in re.findall(r'<data value="([^"]+)">', html)}


def document_of(results):
    return document(load(results))


@pytest.fixture(scope="module")
def built(quick_results, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    summary = build(quick_results, out)
    return summary, json.loads((out / "report.json").read_text()), (out / "report.html").read_text()


def test_every_number_of_the_json_is_on_the_page(built):
    _, made, html = built
    shown = on_page(html)
    absent = {key for key, value in numbers(made) if float(value) not in shown}
    assert not absent


def test_the_page_loads_nothing_and_stays_small(built):
    html = built[2]
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', html) and "url(" not in html and "@import" not in html
    assert len(html) < 300_000


def test_every_success_carries_its_k_and_n_recounted_from_the_rows(built, quick_results):
    counted = {}
    for record, rows in store.read_cells(quick_results):
        counted[record.task.name, record.policy.name] = (sum(row.success_once for row in rows), len(rows))
    shown = {(board["task"], row["policy"]): (row["success"]["k"], row["success"]["n"])
            for board in built[1]["boards"] for row in board["rows"]}  # fmt: skip
    assert shown == counted and len(shown) == 12


def test_costs_come_from_the_interleaved_run_where_it_has_the_policy(built):
    rows = {row["policy"]: row for row in built[1]["boards"][0]["rows"]}
    assert rows["qc_separate"]["cost_source"] == "interleaved"
    assert rows["qc_separate"]["time_relative"] == pytest.approx(2.7 * 1.1)
    assert rows["best_of_untrained"]["cost_source"] == "cells"
    assert rows["bc"]["time_relative"] == 1.0
    assert {row["topology"] for row in built[1]["cost"][0]["rows"]} >= {"shared", "shared_detached", "frozen"}


def test_an_untrained_critic_is_a_control_and_not_a_critic(built):
    rows = {row["policy"]: row for row in built[1]["boards"][0]["rows"]}
    assert rows["qc_shared"]["critic"] and not rows["best_of_untrained"]["critic"]


def test_the_control_is_deterministic_cloning_and_never_a_policy_that_chooses_among_samples():
    plain = {"action_head": {"kind": "flow"}, "objective": {"name": "bc"}, "critic": None}
    chosen = plain | {"selection": {"num_samples": 4, "untrained_critic": True}}
    assert is_plain_bc(plain) and not is_plain_bc(chosen) and not has_critic(chosen)
    assert not is_plain_bc(plain | {"objective": {"name": "filtered_bc"}})
    zero, floor = plain | {"selection": {"noise_scale": 0.0}}, plain | {"selection": {"acting": "random"}}
    assert is_plain_bc(zero) and not has_critic(zero) and not is_plain_bc(floor) and not has_critic(floor)
    deterministic = plain | {"action_head": {"kind": "l1"}}
    assert control_rank(deterministic, "z") < control_rank(plain, "bc")


def test_missing_and_failed_cells_are_listed_in_the_page_and_their_board(make_results, results_plan, tmp_path):
    plan = results_plan(fail=[("synthetic2", "qc_separate")], skip=[("synthetic1", "bc_flow")], episodes=20)
    summary = build(make_results(tmp_path / "results", plan), tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert summary.absent == 2 and summary.cells == 10
    assert "Out of memory." in html and "not run" in html and "Not in this report" in html
    made = json.loads((tmp_path / "report.json").read_text())
    assert [cell["policy"] for cell in made["boards"][1]["absent"]] == ["qc_separate"]


@pytest.mark.parametrize("left", ["bc", "qc_shared"])
def test_one_task_with_one_policy_and_no_costs_still_makes_a_report(left, make_results, results_plan, tmp_path):
    policies = [policy for policy in results_plan().policies if policy.name == left]
    plan = results_plan(tasks=("synthetic1",), policies=policies, cost=False, episodes=10)
    summary = build(make_results(tmp_path / "results", plan), tmp_path)
    assert summary.answer == "These results do not say." and summary.cells == 1
    assert "not measured" in (tmp_path / "report.html").read_text() or left == "bc"


def test_a_suite_of_which_nothing_has_run_says_so(make_results, results_plan, tmp_path):
    everything = [(task, policy.name) for task in ("synthetic1", "synthetic2") for policy in results_plan().policies]
    folder = make_results(tmp_path / "results", results_plan(skip=everything, cost=False))
    summary = build(folder, tmp_path)
    assert summary.cells == 0 and summary.absent == 12
    assert "No cell has finished yet." in (tmp_path / "report.html").read_text()
    Console(width=80).print(table(document_of(folder)))


def squeezed(path):
    return re.sub(r"\s", "", path.read_text())


def test_records_of_settings_that_are_no_longer_asked_for_are_left_out_and_never_added_up(
    make_results, results_plan, tmp_path
):
    plan = results_plan(tasks=("synthetic1",), episodes=20, cost=False)
    folder = make_results(tmp_path / "results", plan)
    build(folder, tmp_path / "before")
    old = next(p.parent for p in (folder / "cells").glob("*/record.json") if '"name":"qc_shared"' in squeezed(p))
    stale = shutil.copytree(old, old.with_name("stale-" + "e" * 10)) / "record.json"
    stale.write_text(json.dumps(json.loads(stale.read_text()) | {"cell": "e" * 64}))
    summary = build(folder, tmp_path / "after")
    assert summary.superseded == 1
    assert "record of settings that the suite no longer asks for" in (tmp_path / "after/report.html").read_text()
    before, after = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("before", "after"))
    assert before["boards"] == after["boards"]
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(document_of(folder)))
    assert "Left out: 1 record" in console.export_text()
    (folder / "suite.json").unlink()  # loose records: nobody says which of the two is meant
    with pytest.raises(UsageError, match="Two records are qc_shared on synthetic1 mg"):
        build(folder, tmp_path / "loose")


def test_rows_that_the_suite_does_not_ask_for_are_counted_apart_and_marked(make_results, results_plan, tmp_path):
    folder = make_results(tmp_path / "results", results_plan(tasks=("synthetic1",), episodes=20))
    suite = json.loads((folder / "suite.json").read_text())
    left = [cell for cell in suite["cells"] if cell["policy"] not in ("bc_flow", "filtered_bc")]
    (folder / "suite.json").write_text(json.dumps(suite | {"cells": left}))
    build(folder, tmp_path)
    made, page = json.loads((tmp_path / "report.json").read_text()), (tmp_path / "report.html").read_text()
    (row,) = made["suites"]
    assert (row["cells_asked"], row["cells_done"], row["cells_beyond"]) == (4, 4, 2)
    marked = {row["policy"]: row["marks"] for row in made["boards"][0]["rows"] if row["marks"]}
    assert marked == {"bc_flow": ["beyond the suite"], "filtered_bc": ["beyond the suite"]}
    head = re.sub(r"<[^>]+>", "", page.split("<h1>")[0].split("<body>")[1])
    assert "4 of 4 cells and 2 beyond the suite" in head
    assert page.count('<span class="tagged warn">beyond the suite</span>') == 2
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(document_of(folder)))
    assert "Beyond the suite: 2 record(s)" in console.export_text()


def test_rows_of_another_n_are_marked_in_the_table_and_in_the_figures(make_results, results_plan, tmp_path):
    folder = make_results(tmp_path / "results", results_plan(tasks=("synthetic1",), episodes=10))
    few = results_plan(tasks=("synthetic1",), policies=[p for p in results_plan().policies if p.name == "qc_separate"])
    made = make_results(tmp_path / "few", replace(few, episodes=5))
    for path in (folder / "cells").iterdir():
        if '"name":"qc_separate"' in squeezed(path / "record.json"):
            shutil.rmtree(path)
    shutil.copytree(made / "cells", folder / "cells", dirs_exist_ok=True)
    build(folder, tmp_path)
    page, rows = (tmp_path / "report.html").read_text(), document_of(folder)["boards"][0]["rows"]
    mark = "5 episodes a training, most rows 10"
    assert {row["policy"]: row["marks"] for row in rows if row["marks"]} == {"qc_separate": [mark]}
    assert f'<span class="tagged warn">{mark}</span>' in page
    assert ">qc_separate (n = 5)<" in page.partition('id="tradeoff"')[2]
    assert ">qc_separate (n = 5)<" in page.partition('id="difference"')[2].partition("</section>")[0]


def test_rows_of_more_trainings_are_not_marked_as_of_another_n(make_results, results_plan, tmp_path):
    folder = make_results(tmp_path / "results", results_plan(tasks=("synthetic1",), seeds=(0, 1, 2), episodes=10))
    for path in (folder / "cells").iterdir():
        record = json.loads((path / "record.json").read_text())
        if record["seed"] and record["policy"]["name"] != "bc":
            shutil.rmtree(path)
    rows = {row["policy"]: row for row in document_of(folder)["boards"][0]["rows"]}
    assert rows["bc"]["seeds"] == 3 and all(row["seeds"] == 1 for name, row in rows.items() if name != "bc")
    assert not any(row["marks"] for row in rows.values())
    build(folder, tmp_path)
    board = (tmp_path / "report.html").read_text().partition('id="board-')[2].partition("</h3>")[0]
    assert "1 to 3 training seeds" in re.sub(r"<[^>]+>", "", board)


def test_costs_of_settings_that_are_no_longer_asked_for_are_left_out(quick_results, tmp_path):
    results = shutil.copytree(quick_results, tmp_path / "results")
    keys = [json.loads(path.read_text())["key"] for path in (results / "cost").glob("*.json")]
    suite = json.loads((results / "suite.json").read_text())
    for asked, left in ((keys, len(keys)), ([*keys[1:], "d" * 64], len(keys) - 1), (None, len(keys))):
        (results / "suite.json").write_text(json.dumps(suite | {"costs": asked}))
        summary = build(results, tmp_path / "out")
        assert (summary.costs, summary.superseded) == (left, len(keys) - left)


def test_several_seeds_are_pooled_with_the_wider_interval(make_results, results_plan, tmp_path):
    plan = results_plan(tasks=("synthetic1",), seeds=(0, 1, 2), episodes=30)
    build(make_results(tmp_path / "results", plan), tmp_path)
    made = json.loads((tmp_path / "report.json").read_text())
    row = made["boards"][0]["rows"][0]
    assert row["seeds"] == 3 and row["success"]["n"] == 90 and row["success"]["interval"] == "over trainings"
    assert {c["seeds"] for c in made["comparisons"]} == {3} and {c["n"] for c in made["comparisons"]} == {90}


def test_horizon_and_size_become_curves_with_exponents(make_results, results_plan, tmp_path):
    plan = results_plan(tasks=("synthetic1", "synthetic2"), sizes=("tiny", "xs", "s"), episodes=10)
    build(make_results(tmp_path / "results", plan), tmp_path)
    made = json.loads((tmp_path / "report.json").read_text())
    assert {"success", "value_error"} <= {trend["metric"] for trend in made["horizon"]}
    assert {"success", "value_error", "peak memory", "throughput"} <= {trend["metric"] for trend in made["size"]}
    flops = next(trend for trend in made["size"] if trend["metric"] == "flops per sample")
    fits = {series["policy"]: series["fit"] for series in flops["series"]}
    assert fits["bc"]["points"] == 3 and fits["bc"]["exponent"] == pytest.approx(1.0)
    labels = [point["label"] for point in flops["series"][0]["points"]]
    assert labels == ["tiny", "xs", "s"]


def test_published_numbers_stand_apart_with_source_and_kind(built):
    html = built[2]
    start = html.index('id="published"')
    assert "robomimic study" not in html[:start] and "None of these was run here." in html[start:]
    tables = published()["success"]
    assert all(t["source"] and t["kind"] in published()["kinds"] for t in tables)
    iql = next(t for t in tables if t["methods"] == ["IQL (single run)"])
    assert iql["kind"] == "third-party"


def test_a_folder_without_results_is_a_usage_error_and_writes_nothing(tmp_path):
    with pytest.raises(UsageError, match="no results folder"):
        build(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no results"):
        build(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "reference.json").write_text("{}")
    with pytest.raises(UsageError, match="empty is the folder of one run: `robo-orl eval "):
        build(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_out_must_be_a_folder(quick_results, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        build(quick_results, tmp_path / "file")


def test_a_disk_that_fills_up_leaves_the_old_report_whole(quick_results, tmp_path, monkeypatch):
    build(quick_results, tmp_path)
    before = (tmp_path / "report.html").read_bytes()
    monkeypatch.setattr("robo_orl.report.build.render", lambda made, **_: (_ for _ in ()).throw(OSError("broken")))
    with pytest.raises(OSError, match="broken"):
        build(quick_results, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_the_terminal_table_fits_80_columns_and_names_every_policy(quick_results):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(document_of(quick_results)))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "When does a critic pay?" in text and text.count("/50") == 12 and "…" not in text


def test_a_grid_of_costs_alone_is_a_table_of_costs_and_no_fault(tmp_path):
    done = CliRunner().invoke(app, ["report", str(ROOT / "results/cost_cpu"), "--out", str(tmp_path)])
    assert done.exit_code == 0 and not (tmp_path / "cost.html").exists()
    assert "Nothing was trained here" in done.stdout and "relative to bc_flow" in done.stdout
    assert "iql_separate_full_ema" in done.stdout
    page = (tmp_path / "report.html").read_text()
    assert (
        'id="cost"' in page
        and "Leaderboard" not in page
        and "Stage by stage" not in page
        and "of cells" not in page.split("<main>")[0]
    )


def test_the_terminal_table_marks_times_that_were_not_measured_side_by_side(quick_results):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(document_of(quick_results)))
    lines = console.export_text().splitlines()
    assert all("~" in line for line in lines if line.startswith("best_of_untrained"))
    assert not any("~" in line for line in lines if line.startswith("qc_separate"))
