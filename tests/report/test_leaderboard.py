"""The leaderboard from records: divisions, places, what is never mixed, and names that are text everywhere."""

import base64
import csv
import gzip
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace as Box

import pytest
import yaml
from typer.testing import CliRunner

from robo_orl.base.errors import RunError, UsageError
from robo_orl.cli.app import app
from robo_orl.config import PolicyConfig
from robo_orl.config.presets import available
from robo_orl.envs.demonstrators.regimes import REGIMES as RECORDED
from robo_orl.objectives import OBJECTIVES
from robo_orl.report.leaderboard import site as leaderboard
from robo_orl.report.leaderboard.divisions import divisions
from robo_orl.report.leaderboard.methods import configurations, descriptions
from robo_orl.report.leaderboard.plots import curves, figures, learning
from robo_orl.report.leaderboard.rankings import ranked
from robo_orl.report.leaderboard.site import gather, render
from robo_orl.report.leaderboard.table import by_size, csv_text
from robo_orl.report.leaderboard.tasks import MEDIA, task_media
from robo_orl.report.leaderboard.words import FAMILIES, REGIMES, family
from robo_orl.report.leaderboard.words import OBJECTIVES as FAMILY_OF
from robo_orl.results.store import results_folders

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def quick(quick_results):
    """The leaderboard of two synthetic tasks and six policies, and its files."""
    made = gather([quick_results])
    return made, render(made)


def rewritten(folder: Path, old: str, new: str, out: Path) -> Path:
    """A copy of a results folder with one text replaced in all of its records."""
    copy = shutil.copytree(folder, out)
    for path in [*copy.glob("cells/*/record.json"), copy / "suite.json"]:
        path.write_text(path.read_text().replace(old, new))
    return copy


def test_every_policy_of_every_task_is_ranked_with_a_set_that_holds_its_place(quick):
    made, _ = quick
    rankings = [ranking for division in made.divisions for ranking in division.rankings]
    assert [(r.board.task, len(r.standings)) for r in rankings] == [("synthetic1", 6), ("synthetic2", 6)]
    for standing in (s for ranking in rankings for s in ranking.standings):
        for name, rank in standing.places.items():
            assert 1 <= rank.best <= rank.place <= rank.worst <= 6, (standing.row.policy, name)
    assert {s.trainings for r in rankings for s in r.standings} == {"one training"}


def test_the_overall_ranking_holds_those_that_stand_on_every_task(quick, make_results, results_plan, tmp_path):
    assert len(quick[0].totals[0].rows) == 6 and quick[0].totals[0].control == ("bc", "tiny")
    partly = gather([make_results(tmp_path, results_plan(skip=[("synthetic2", "qc_shared")]))])
    total = partly.totals[0]
    assert len(total.rows) == 5 and total.partial == [(("qc_shared", "tiny"), 1)]
    assert "qc_shared (tiny, 1 of 2)" in render(partly)["index.html"]


def test_three_trainings_widen_the_interval_and_are_said(make_results, results_plan, tmp_path):
    plan = results_plan(tasks=("synthetic1",), seeds=(0, 1, 2), episodes=30)
    made = gather([make_results(tmp_path, plan)])
    effect = made.divisions[0].effects["success"]
    assert effect.freedom == 12 and effect.factor >= 1
    assert all(s.estimates["success"].over_trainings for s in made.divisions[0].rankings[0].standings)
    assert "3 trainings" in render(made)["index.html"]


def test_versions_loops_renderers_and_digests_are_never_mixed(quick_results, tmp_path):
    others = {
        "version": ('"version": 1\n },\n "task"', '"version": 2\n },\n "task"'),
        "loop": ('"loop": "exact"', '"loop": "fast"'),
        "renderer": ('"render": null', '"render": {"reference_sha256": "' + "a" * 64 + '"}'),
    }
    for name, (old, new) in others.items():
        copy = rewritten(quick_results, old, new, tmp_path / name)
        for path in copy.glob("cells/*/record.json"):  # other cells, which are not those of the first folder
            value = json.loads(path.read_text())
            path.write_text(json.dumps(value | {"cell": f"{name[0]}{value['cell'][1:]}"}))
        if name == "version":
            (copy / "suite.json").unlink()
        else:
            suite = json.loads((copy / "suite.json").read_text())
            cells = [cell | {"cell": f"{name[0]}{cell['cell'][1:]}"} for cell in suite["cells"]]
            (copy / "suite.json").write_text(json.dumps(suite | {"cells": cells}))
        made = [ranked(division) for division in divisions([quick_results, copy])]
        assert sorted(len(d.rankings) for d in made) == [2, 2], name
        assert all(len(ranking.standings) == 6 for d in made for ranking in d.rankings)
        assert len({d.division.name for d in made}) == 2


def test_rows_of_fewer_episodes_than_the_suite_asks_for_have_no_place(make_results, results_plan, tmp_path):
    full = make_results(tmp_path / "full", results_plan(tasks=("synthetic1",), episodes=50, cost=False))
    few = make_results(tmp_path / "few", results_plan(tasks=("synthetic1",), episodes=20, cost=False))
    for path in [*few.glob("cells/*/record.json"), few / "suite.json"]:
        text = path.read_text()
        path.write_text(
            re.sub(r'"cell": ?"(.{8})', r'"cell":"ffffffff', text).replace('"name": "bc"', '"name": "bc_few"')
        )
    (few / "suite.json").unlink()
    suite = json.loads((full / "suite.json").read_text())
    (full / "suite.json").write_text(json.dumps(suite | {"config": {"evaluation": {"episodes": 50}}}))
    made = gather([full, few])
    ranking = made.divisions[0].rankings[0]
    assert len(ranking.standings) == 6 and len(ranking.unranked) == 6
    assert ranking.unranked[0].reason == "20 episodes a training, the suite asks for 50"
    html = render(made)["index.html"]
    assert "Not ranked: 6 rows" in html and "20 episodes a training, the suite asks for 50" in html


def test_an_oracle_is_a_bound_without_a_place(quick_results, tmp_path):
    folder = shutil.copytree(quick_results, tmp_path / "oracle")
    for path in folder.glob("cells/*/record.json"):
        value = json.loads(path.read_text())
        if value["policy"]["name"] == "filtered_bc":
            value["policy"]["config"]["selection"]["look_ahead"] = 1
            path.write_text(json.dumps(value))
    ranking = gather([folder]).divisions[0].rankings[0]
    assert [s.row.policy for s in ranking.unranked] == ["filtered_bc"] and "a bound" in ranking.unranked[0].reason
    assert len(ranking.standings) == 5


def test_rows_of_another_n_are_marked(make_results, results_plan, tmp_path):
    more = make_results(tmp_path / "more", results_plan(tasks=("synthetic1",), episodes=50, cost=False))
    less = make_results(tmp_path / "less", results_plan(tasks=("synthetic1",), episodes=40, cost=False))
    for path in less.glob("cells/*/record.json"):
        path.write_text(re.sub(r'"cell": ?"(.{8})', r'"cell":"ffffffff', path.read_text()))
    (less / "suite.json").unlink()
    (more / "suite.json").unlink()
    html = render(gather([more, less]))["index.html"]
    assert html.count("n differs: 40 episodes a training, others 50") == 6
    assert "qc_shared (less)" in html  # another row of the same name


def test_rows_beyond_their_own_suite_and_rankings_that_tell_nothing_are_marked(make_results, results_plan, tmp_path):
    plan = results_plan(tasks=("synthetic1",), cost=False)
    asked = make_results(tmp_path / "asked", plan)
    suite = json.loads((asked / "suite.json").read_text())
    cells = [cell for cell in suite["cells"] if cell["policy"] != "qc_shared"]
    (asked / "suite.json").write_text(json.dumps(suite | {"cells": cells}))
    site = gather([asked])
    html = render(site)["index.html"]
    assert html.count("beyond the suite</small>") == 1
    (row,) = [row for row in site.rows if row["policy"] == "qc_shared"]
    assert row["beyond_the_suite"] == 1 and row["not_informative"] == "cloning is at the ceiling: bc is above 90 %"
    assert f"Not informative by success: {row['not_informative']}." in html
    assert "On 1 of 1 ranking success tells nothing about critics" in html


def test_an_entry_is_not_beyond_a_suite_that_its_own_folder_asks_for(make_results, results_plan, tmp_path):
    ours = make_results(tmp_path / "ours", results_plan(tasks=("synthetic1",), cost=False))
    theirs = rewritten(ours, '"qc_shared"', '"their_method"', tmp_path / "theirs")
    for path in [*theirs.glob("cells/*/record.json"), theirs / "suite.json"]:
        path.write_text(re.sub(r'"cell": ?"(.{8})', r'"cell":"ffffffff', path.read_text()))
    made = gather([ours, theirs])
    assert "their_method" in {row["policy"] for row in made.rows}
    assert not any(row["beyond_the_suite"] for row in made.rows)


def test_cells_that_two_folders_hold_count_once(quick_results, tmp_path):
    copy = shutil.copytree(quick_results, tmp_path / "again")
    assert len(gather([quick_results, copy]).rows) == 12


HOSTILE = "<script>alert(1)</script>\"'&\u0007\u001b[2J"


def test_html_and_control_characters_in_names_are_text_everywhere(quick_results, tmp_path):
    written = json.dumps(HOSTILE)[1:-1]
    folder = rewritten(quick_results, '"qc_shared"', f'"{written}"', tmp_path / "hostile")
    suite = json.loads((folder / "suite.json").read_text())
    (folder / "suite.json").write_text(json.dumps(suite | {"description": HOSTILE}))
    for path in folder.glob("cells/*/record.json"):
        value = json.loads(path.read_text())
        value["policy"]["config"]["description"] = HOSTILE
        value["hardware"]["cpu"] = HOSTILE
        path.write_text(json.dumps(value))
    files = render(gather([folder]))
    pages = {name: text for name, text in files.items() if name.endswith(".html")}
    assert any("alert(1)" in text for text in pages.values())
    for name, text in pages.items():
        assert "<script>alert" not in text and '</script>"' not in text, name
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), name
        assert re.fullmatch(r"[a-z0-9_.-]+", name)
    assert not re.search(
        r"[\x00-\x08\x0e-\x1f]", table_of(files, "results").replace("\u0007", "").replace("\u001b", "")
    )


def test_a_text_that_a_spreadsheet_would_run_is_quoted():
    assert csv_text([{"policy": "=cmd()", "k": 3, "rate": 1 / 3}]).splitlines()[1] == "'=cmd(),3,0.33333"


def test_every_figures_numbers_are_a_csv_file_with_counts(quick):
    made, files = quick
    assert render(made)["data/results.csv.gz"] == files["data/results.csv.gz"]  # no time of day in it
    for figure in (*figures(), curves()):
        assert f"data/{figure.file}" in files, figure.name
    results = list(csv.DictReader(io.StringIO(table_of(files, "results"))))
    assert len(results) == 12 and {row["success_place"] for row in results} >= {"1"}
    assert all(row["k"] and row["n"] == "50" and row["memory_relative"] and row["horizon"] for row in results)
    lines = list(csv.DictReader(io.StringIO(table_of(files, "curves"))))
    assert len(lines) == 12 and [key for key in lines[0] if key.startswith("k_within")][-1] == "k_within_100_percent"
    ends = {(row["task"], row["policy"]): row["k"] for row in results}
    assert {(row["task"], row["policy"]): row["k_within_100_percent"] for row in lines} == ends
    levels = list(csv.DictReader(io.StringIO(table_of(files, "profiles"))))
    assert len(levels) == 6 and {row["at_least_0"] for row in levels} == {"1.0"}


def table_of(files, name: str) -> str:
    """A data file of the site as text."""
    return gzip.decompress(files[f"data/{name}.csv.gz"]).decode()


def shared_of(files) -> dict:
    """The numbers that the pages' figures read."""
    characters, length = re.search(r'unpack\("([^"]+)", (\d+)\)', files["assets/data.js"]).groups()
    return json.loads(gzip.decompress(base64.b85decode(characters)[: int(length)]))


def test_the_numbers_that_figures_read_stand_in_one_file_and_are_those_of_the_rows(quick):
    made, files = quick
    shared = shared_of(files)
    table = shared["rows"]["columns"]
    policies, places = table["policy"]
    assert [policies[place] for place in places] == [row["policy"] for row in made.rows]
    assert table["k"] == [row["k"] for row in made.rows]
    assert table["success_place"] == [row["success_place"] for row in made.rows]
    assert {"memory", "curves", "learning"} <= set(shared["figures"])
    assert not any("application/json" in text for name, text in files.items() if name.endswith(".html"))


def test_the_site_of_the_shipped_records_is_under_two_megabytes():
    """All of it, before videos."""
    files = render(gather(results_folders([ROOT / "results"])))
    kept = {name: text for name, text in files.items() if not name.startswith("videos/")}
    assert sum(len(text.encode() if isinstance(text, str) else text) for text in kept.values()) < 2_000_000


def test_every_figure_is_a_specification_that_vega_lite_takes():
    import vl_convert

    for figure in (*figures(), curves(), learning()):
        spec = figure.spec | {"datasets": {figure.spec["data"]["name"]: []}}
        assert vl_convert.vegalite_to_vega(spec, vl_version="6.4")["marks"], figure.name


def test_links_of_all_pages_lead_somewhere_and_none_leaves_them(quick):
    _, files = quick
    for name, text in files.items():
        if not name.endswith(".html"):
            continue
        for target in re.findall(r'(?:href|src)="([^"]*)"', text):
            path, _, anchor = target.partition("#")
            assert "//" not in target and (target.startswith("data:") or (path or name) in files), (name, target)
            if anchor:
                assert f'id="{anchor}"' in files[path or name], (name, target)


def test_names_are_never_shortened_and_sizes_stand_in_the_order_of_size(quick):
    _, files = quick
    for name in ("best_of_untrained", "qc_separate"):
        assert f'href="policy-{name}.html"' in files["index.html"] and "…" not in files["index.html"]
    assert by_size({"m", "reference", "tiny", "1b", "debug", "xs", "d48"}) == [
        "debug", "tiny", "xs", "m", "1b", "d48", "reference"]  # fmt: skip


def test_every_shipped_task_has_a_picture_films_are_small_and_a_strange_name_reads_no_file():
    for name in available("tasks"):
        assert (MEDIA / "task_pictures" / task_media(name, "task_pictures", "jpg")).read_bytes()[:2] == b"\xff\xd8", (
            name
        )
    films = {film.name.removesuffix(".mp4"): film.read_bytes() for film in (MEDIA / "task_videos").iterdir()}
    assert {"lift", "chain1", "chain2"} <= films.keys() <= set(available("tasks"))
    assert all(content[4:8] == b"ftyp" and len(content) < 400_000 for content in films.values())
    assert task_media("chain2_40hz", "task_pictures", "jpg") == "chain2.jpg"
    assert task_media("../numbers", "", "py") is None and task_media("unknown", "task_pictures", "jpg") is None


def test_every_objective_regime_and_policy_is_explained(quick):
    assert set(OBJECTIVES) <= set(FAMILY_OF) and set(FAMILY_OF.values()) <= set(FAMILIES)
    assert set(RECORDED) <= set(REGIMES) and "not robomimic's mg" in REGIMES["mg"]
    assert family({"objective": {"name": "iql", "extraction": {"kind": "best_of_n"}}}) == "best of samples"
    assert family({"objective": {"name": "of_a_plugin"}}) == "other"
    index = quick[1]["index.html"]
    assert index.index('id="reading"') < index.index("<table")
    assert all(page.facts for page in quick[0].methods)


def test_a_variant_is_told_apart_by_the_settings_that_differ_from_its_base():
    base = {"name": "a", "library": "r", "description": "A method.", "alpha": 2.5, "steps": 5}
    made = descriptions({"a": base, "a_0": base | {"name": "a_0", "alpha": 0}, "b": base | {"description": "Another."}})
    assert made == {"a": "A method.", "a_0": "As a, but alpha 0.", "b": "Another."}


def test_the_page_of_a_method_says_what_it_is_what_it_costs_and_how_to_make_it_again(quick):
    page = quick[1]["policy-qc_separate.html"]
    assert "robo-orl bench --suite synthetic --out runs/synthetic" in page
    assert "a backbone of its own" in page and "2.97×" in page  # 2.7 x 1.1, measured in turns
    assert "Compared with" in page and "p Holm" in page and "Configuration" in page


def test_the_configuration_stands_as_a_policy_file(quick):
    made, files = quick
    page = next(page for page in made.methods if page.name == "qc_separate")
    file = yaml.safe_load(page.configurations[0][1])
    (own,) = {standing.records[0].policy.digest: standing.records[0].policy.config
              for ranking in made.divisions[0].rankings for standing in ranking.standings
              if standing.row.policy == "qc_separate"}.values()  # fmt: skip
    resolved, recorded = (PolicyConfig.model_validate(config) for config in (file, own))
    assert resolved.model_copy(update={"description": own.get("description", "")}) == recorded
    assert "chunk" in own["action_head"] and "chunk" not in file["action_head"]  # it has its default
    assert "&#34;" not in files["policy-qc_separate.html"].partition('id="configuration"')[2].partition("</pre>")[0]


def test_other_words_are_no_other_configuration():
    def placed(suite, **config):
        config = {"name": "qc", "description": suite, **config}
        standing = Box(size="tiny", records=[Box(policy=Box(config=config))])
        return Box(division=Box(name=suite)), None, standing

    whole, other = configurations([placed("a", lr=1), placed("b", lr=1), placed("c", lr=2)])
    assert whole == ("a, tiny · b, tiny", "{name: qc, lr: 1}\n")
    assert other == ("c, tiny", "lr: 2 (first: 1)")


def test_settings_that_an_older_version_did_not_have_yet_are_no_other_configuration():
    def placed(suite, config):
        standing = Box(size="tiny", records=[Box(policy=Box(config=config))])
        return Box(division=Box(name=suite)), None, standing

    now = PolicyConfig(name="bc").model_dump(mode="json")
    before = {**now, "optim": {key: value for key, value in now["optim"].items() if key != "capture"}}
    (only,) = configurations([placed("old", before), placed("new", now)])
    assert only[0] == "old, tiny · new, tiny"


def test_who_is_undecided_by_every_endpoint_is_named_without_numbers(quick):
    made, files = quick
    for page in made.methods:
        text = files[page.page].partition('id="compared"')[2].partition("</section>")[0]
        for place in page.compared:
            told = [name for name in place.rows if name not in place.undecided]
            assert all({one.verdict for one in place.rows[name].values()} == {"undecided"} for name in place.undecided)
            assert all({one.verdict for one in place.rows[name].values()} != {"undecided"} for name in told)
        assert text.count("by every one of these endpoints, against") == sum(bool(p.undecided) for p in page.compared)
    assert {True, False} == {bool(place.undecided) for page in made.methods for place in page.compared}


def test_what_a_training_did_on_the_way_is_drawn_where_records_hold_it(quick, quick_results, tmp_path):
    assert "Success on the way" not in quick[1]["policy-bc.html"]
    folder = shutil.copytree(quick_results, tmp_path / "curves")
    points = [{"step": step, "wall_s": 1.0, "success": {"k": k, "n": 10, "low": 0, "high": 1}}
              for step, k in ((500, 3), (1000, 8))]  # fmt: skip
    curve = {"every": 500, "episodes": 10, "loop": "exact", "starts_sha256": None, "points": points}
    for path in folder.glob("cells/*/record.json"):
        value = json.loads(path.read_text())
        if value["policy"]["name"] == "bc":
            path.write_text(json.dumps(value | {"curve": curve}))
    files = render(gather([folder]))
    assert "Success on the way" in files["policy-bc.html"]
    assert table_of(files, "learning").splitlines()[1].endswith(",bc,0,500,3,10")


def test_videos_of_a_results_folder_stand_on_the_page_of_their_policy(tmp_path):
    folder = shutil.copytree(ROOT / "results" / "quick", tmp_path / "quick")
    (folder / "videos").mkdir()
    for name in ("chain1-qc-episode_000.mp4", "chain1-qc_separate-episode_001.mp4", "notes.mp4"):
        (folder / "videos" / name).write_bytes(b"video")
    leaderboard.build([folder], tmp_path / "site")
    page = (tmp_path / "site/policy-qc.html").read_text()
    assert 'src="videos/chain1-qc-episode_000.mp4"' in page and "qc_separate-episode_001" not in page
    assert (tmp_path / "site/videos/chain1-qc-episode_000.mp4").read_bytes() == b"video"
    assert not (tmp_path / "site/videos/notes.mp4").exists()
    assert "Videos" not in (tmp_path / "site/policy-bc.html").read_text()


def test_published_numbers_stand_on_the_page_of_their_task_and_are_marked(quick_results, tmp_path):
    folder = rewritten(quick_results, '"synthetic1"', '"lift"', tmp_path / "lift")
    page = render(gather([folder]))["task-lift.html"]
    assert "Published, not run here." in page and "robomimic study" in page and "91.3" in page


def test_results_that_contradict_themselves_make_no_leaderboard(tmp_path):
    folder = shutil.copytree(ROOT / "results" / "quick", tmp_path / "quick")
    lines = (folder / "records.jsonl").read_text().splitlines()
    value = json.loads(lines[0])
    value["evaluation"]["success_once"]["k"] -= 1
    (folder / "records.jsonl").write_text("\n".join([json.dumps(value), *lines[1:]]) + "\n")
    with pytest.raises(RunError, match="contradicts itself, so no leaderboard is built"):
        leaderboard.build([folder], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_the_command_writes_a_site_of_the_shipped_records(tmp_path):
    done = CliRunner().invoke(
        app, ["leaderboard", "build", str(ROOT / "results/quick"), "--out", str(tmp_path), "--json"]
    )
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert made["rankings"] == 2 and made["policies"] == 7 and made["rows"] == 11
    assert (tmp_path / "index.html").is_file() and (tmp_path / "assets/vega.js").stat().st_size < 1_000_000


def test_folders_without_records_and_an_out_that_is_a_file_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="There is no results folder"):
        results_folders([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="holds no results"):
        results_folders([tmp_path])
    with pytest.raises(UsageError, match="hold costs only"):
        leaderboard.build([ROOT / "results" / "cost_cpu"], tmp_path / "site")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        leaderboard.build([ROOT / "results" / "quick"], tmp_path / "file")


def test_a_folder_of_results_folders_gives_all_of_them():
    found = [folder.name for folder in results_folders([ROOT / "results"])]
    assert {"methods", "parity", "quick", "cost"} <= set(found) and found == sorted(found)


def test_a_folder_of_results_folders_is_verified_as_all_of_them(tmp_path):
    for name in ("quick", "vision"):
        shutil.copytree(ROOT / "results" / name, tmp_path / name)
    done = CliRunner().invoke(app, ["results", "verify", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert [Path(path).name for path in json.loads(done.stdout)] == ["quick", "vision"]
