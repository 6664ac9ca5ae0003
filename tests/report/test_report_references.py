"""References stand on the boards of their task beside our policies, and decide nothing about them."""

import json

import pytest

from robo_orl.report.build import build


@pytest.fixture(scope="module")
def plan(results_plan):
    """Plan of one reference, which always succeeds."""

    class Reference(type(results_plan().policies[0])):
        @property
        def config(self):
            return {"name": self.name, "algorithm": "iql", "library": "robomimic 0.3.0", "settings": {}}

    where = {"tasks": ("synthetic1",), "sizes": ("reference",), "cost": False}
    return results_plan(policies=(Reference("robomimic_iql", 1.0),), **where)


@pytest.fixture(scope="module")
def built(make_results, results_plan, plan, tmp_path_factory):
    """Six policies at two sizes beside the reference."""
    out = make_results(tmp_path_factory.mktemp("references"), plan)
    make_results(out, results_plan(tasks=("synthetic1",), sizes=("tiny", "xs")))
    build(out, out)
    return json.loads((out / "report.json").read_text()), (out / "report.html").read_text()


def test_a_reference_stands_on_every_board_of_its_task(built):
    boards = built[0]["boards"]
    assert [board["size"] for board in boards] == ["tiny", "xs"]
    assert all(board["rows"][0]["policy"] == "robomimic_iql" for board in boards)
    assert all(len(board["rows"]) == 7 for board in boards)
    assert "reference: robomimic 0.3.0" in built[1]


def test_a_reference_is_no_control_and_nobodys_opponent(built):
    made, _ = built
    assert {board["control"] for board in made["boards"]} == {"bc"}
    assert all(row["against"] != "robomimic_iql" for row in made["comparisons"])
    assert any(row["policy"] == "robomimic_iql" and row["against"] == "bc" for row in made["comparisons"])
    assert not any("robomimic" in sentence for sentence in made["headline"]["sentences"])


def test_a_reference_does_not_grow_with_our_sizes(built):
    assert built[0]["size"] and not any(
        one["policy"] == "robomimic_iql" for trend in built[0]["size"] for one in trend["series"]
    )


def test_references_alone_make_a_board(make_results, plan, tmp_path):
    build(make_results(tmp_path, plan), tmp_path)
    (board,) = json.loads((tmp_path / "report.json").read_text())["boards"]
    assert (board["size"], board["control"], len(board["rows"])) == ("reference", None, 1)
