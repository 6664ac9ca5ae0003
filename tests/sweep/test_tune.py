"""Equal tuning: the same number of trials for every policy, kept, resumable, and used by the suite."""

import json

import pytest
import yaml
from tuning import plan, tune

from robo_orl.base.errors import RunError, UsageError
from robo_orl.cli.app import app
from robo_orl.config import PolicyChoice, deep_merge
from robo_orl.report.boards import board, group
from robo_orl.report.build import build
from robo_orl.report.contents import load
from robo_orl.results.record import Tuning
from robo_orl.results.store import read_cells
from robo_orl.sweep.bench import bench
from robo_orl.sweep.cells import expand, load_suite
from robo_orl.sweep.cost_cells import cost_cells
from robo_orl.sweep.search import spaces_of
from robo_orl.sweep.tuned import Tuned, load_tuned

pytest.importorskip("optuna", reason="needs optuna: pip install 'robo-orl[tune]'")
GROUP = {"tasks": ["toy", "toy_long"], "regimes": ["mg"], "policies": ["bc", "critic"]}


def test_every_policy_has_the_same_trials_and_the_best_is_chosen(presets, fakes, tmp_path):
    fakes(likes=0.003)
    found = tune(plan(presets(groups=[GROUP]), trials=6), tmp_path / "out", workers=2, progress=False)
    assert {name: len(trials) for name, trials in found["every_trial"].items()} == {"bc": 6, "critic": 6}
    for name, chosen in found["policies"].items():
        trials = found["every_trial"][name]
        assert trials[0]["set"] == {} and (trials[0]["k"], trials[0]["n"]) == (3, 6)
        assert chosen["k"] == max(trial["k"] for trial in trials)
        assert trials[chosen["trial"]]["set"] == chosen["set"] and chosen["trials"] == 6
    best = found["policies"]["bc"]  # whose six points are tried out
    assert best["set"]["optim"]["lr"] == 0.003 and (best["k"], best["n"]) == (6, 6)


@pytest.mark.slow
def test_the_file_as_it_is_stays_where_nothing_beats_it(presets, fakes, tmp_path):
    found = tune(plan(presets(groups=[GROUP])), tmp_path / "out", workers=2, progress=False)
    assert all(chosen["trial"] == 0 and chosen["set"] == {} for chosen in found["policies"].values())


def test_trials_are_judged_on_start_states_that_no_result_is_from(presets, fakes, tmp_path):
    suite = presets(groups=[GROUP])
    tune(plan(suite, trials=2), tmp_path / "out", workers=2, progress=False)
    evaluations = [call["command"] for call in fakes.calls() if call["kind"] == "eval"]
    assert evaluations and all(words[words.index("--starts") + 1] == "tuning" for words in evaluations)
    before = len(fakes.calls())
    bench(suite, tmp_path / "results", workers=2, progress=False)
    assert not any("--starts" in call["command"] for call in fakes.calls()[before:])


def test_a_second_call_computes_nothing_and_more_trials_go_on_from_there(presets, fakes, tmp_path):
    suite = presets(groups=[GROUP])
    first = tune(plan(suite, trials=3), tmp_path / "out", workers=2, progress=False)
    done = len(fakes.calls())
    assert tune(plan(suite, trials=3), tmp_path / "out", workers=2, progress=False) == first
    assert len(fakes.calls()) == done
    more = tune(plan(suite, trials=4), tmp_path / "out", workers=2, progress=False)
    assert [trials[:3] for trials in more["every_trial"].values()] == list(first["every_trial"].values())
    assert sum(call["kind"] == "eval" for call in fakes.calls()[done:]) == 2  # one more trial of either policy


OTHER_SEARCHES = (
    ({"policies": "critic"}, "of a search that has bc too"),
    ({"task": "toy_long"}, r"with another task \(toy there, toy_long here\)"),
    ({"episodes": 5}, r"with another episodes \(6 there, 5 here\)"),
    ({"seed": 1}, "another seed"),
    ({"settings": ["optim.steps=7"]}, "another steps"),
    ({"settings": ["optim.batch_size=8"]}, "another set "),
    ({"task": "toy,toy_long"}, r"with another task \(toy there, toy,toy_long here\)"),
    ({"trials": 1}, "of 2 trials, more than 1"),
)


def test_what_another_search_chose_is_not_overwritten(presets, fakes, tmp_path):
    suite, out, request = presets(groups=[GROUP]), tmp_path / "out", {"policies": "bc", "trials": 2}
    tune(plan(suite, **request), out, workers=2, progress=False)
    before, calls = (out / "tuned.yaml").read_text(), len(fakes.calls())
    for changes, says in OTHER_SEARCHES:
        with pytest.raises(UsageError, match=f"tuned.yaml is .*{says}.*choose another --out"):
            tune(plan(suite, **(request | changes)), out, workers=2, progress=False)
        assert (out / "tuned.yaml").read_text() == before and len(fakes.calls()) == calls


def test_trials_are_nothing_to_report(presets, fakes, tmp_path):
    tune(plan(presets(groups=[GROUP]), policies="bc", trials=1), tmp_path / "out", workers=2, progress=False)
    with pytest.raises(UsageError, match=r"out holds trials of `robo-orl tune`.*`tuned: .*out/tuned.yaml`"):
        build(tmp_path / "out", tmp_path / "out")
    assert not (tmp_path / "out" / "report.html").exists()


def test_more_policies_join_a_search(presets, fakes, tmp_path):
    suite = presets(groups=[GROUP])
    first = tune(plan(suite, policies="bc", trials=2), tmp_path / "out", workers=2, progress=False)
    both = tune(plan(suite, policies="critic,bc", trials=2), tmp_path / "out", workers=2, progress=False)
    assert both["policies"].keys() == {"bc", "critic"} and both["policies"]["bc"] == first["policies"]["bc"]


def test_an_interrupted_continuation_leaves_what_was_chosen(presets, fakes, tmp_path):
    suite = presets(groups=[GROUP])
    tune(plan(suite, policies="bc", trials=2), tmp_path / "out", workers=2, progress=False)
    before = (tmp_path / "out" / "tuned.yaml").read_text()
    fakes(fail="critic_trial0")
    with pytest.raises(RunError, match=r"the fake was told to fail\. Run the same"):
        tune(plan(suite, policies="bc,critic", trials=3), tmp_path / "out", workers=2, progress=False)
    fakes(fail="bc_trial2")
    with pytest.raises(RunError):
        tune(plan(suite, policies="bc", trials=3), tmp_path / "out", workers=2, progress=False)
    assert (tmp_path / "out" / "tuned.yaml").read_text() == before


@pytest.mark.slow
def test_a_failed_trial_is_an_error_that_can_be_retried(presets, fakes, tmp_path):
    suite = presets(groups=[GROUP])
    fakes(fail="critic_trial1")
    with pytest.raises(RunError, match=r"1 trial\(s\) failed; .*critic_trial1.*the fake was told to fail"):
        tune(plan(suite), tmp_path / "out", workers=2, progress=False)
    fakes()
    assert tune(plan(suite), tmp_path / "out", workers=2, progress=False)["policies"]["critic"]["trials"] == 4


def test_a_suite_uses_what_was_chosen_and_says_by_how_many_trials(presets, fakes, tmp_path):
    fakes(likes=0.003)
    found = tune(plan(presets(groups=[GROUP]), trials=6), tmp_path / "out", workers=2, progress=False)
    variant = {"use": "critic", "name": "critic_variant", "set": {"optim": {"lr": 0.0007}}}
    one = {**GROUP, "tasks": ["toy"], "policies": ["bc", "critic", variant, "control"]}
    suite = presets("after", groups=[one], tuned=found["file"])
    cells = {cell.policy.name: cell for cell in expand(load_suite(suite))}
    assert cells["bc"].policy.optim.lr == 0.003
    values = cells["critic"].policy.model_dump(mode="json")
    assert deep_merge(values, found["policies"]["critic"]["set"]) == values
    assert cells["critic_variant"].policy.optim.lr == 0.0007  # its own setting is above what a search chose
    bench(suite, tmp_path / "results", workers=2, progress=False)
    records = {record.policy.name: record for record, _ in read_cells(tmp_path / "results")}
    budget = Tuning(trials=6, episodes=6, task="toy", regime="mg")
    assert records["bc"].tuning == records["control"].tuning == budget
    found_cells = load(tmp_path / "results")
    key, policies = next(iter(group(found_cells).items()))
    made = board(found_cells, 0, key, policies)
    assert made.tuning == "each trial 6 episodes of toy mg"
    assert {row.trials for row in made.rows} == {6}
    build(tmp_path / "results", tmp_path / "results")
    assert "Trials: those that chose the settings" in (tmp_path / "results" / "report.html").read_text()


def test_a_suite_lays_the_search_of_each_kind_of_data_on_what_learns_from_it(presets, fakes, tmp_path):
    both = {**GROUP, "tasks": ["toy"], "regimes": ["mg", "mh"]}
    files = {}
    for kind, rate in (("mg", 0.003), ("mh", 0.0003)):
        fakes(likes=rate)
        own = plan(presets(groups=[both]), "bc", trials=6, regime=kind)
        files[kind] = tune(own, tmp_path / kind, workers=2, progress=False)["file"]
    suite = presets("after", groups=[both | {"regimes": ["mg", "mh+ended", "mg+4demos"]}], tuned=list(files.values()))
    cells = expand(load_suite(suite))
    rates = {(cell.regime, cell.policy.optim.lr) for cell in cells if cell.policy.name == "bc"}
    assert rates == {("mg", 0.003), ("mg+4demos", 0.003), ("mh+ended", 0.0003)}
    assert {(cell.regime, cell.tuning.regime) for cell in cells} >= {("mg", "mg"), ("mh+ended", "mh")}
    for tuned, says in (
        ([files["mg"]], "tuned has files for mg and none for mh.ended; make one with `robo-orl tune --suite after"),
        ([files["mg"], files["mg"]], "tuned names two searches on mg data"),
    ):
        with pytest.raises(UsageError, match=says):
            expand(load_suite(presets("after", groups=[both | {"regimes": ["mg", "mh+ended"]}], tuned=tuned)))


@pytest.mark.slow
def test_a_cost_is_that_of_the_chosen_settings(presets, fakes, tmp_path):
    fakes(likes=0.003)
    found = tune(plan(presets(groups=[GROUP]), trials=6), tmp_path / "out", workers=2, progress=False)
    cost = {"task": "toy", "policies": ["bc", "critic"], "steps": 5}
    suite = presets("after", groups=[GROUP], tuned=found["file"], cost=cost)
    (cell,) = cost_cells(load_suite(suite))
    assert cell.policies[0].optim.lr == 0.003


def test_a_policy_that_no_search_was_made_for_is_called_not_tuned(presets, fakes, tmp_path):
    found = tune(plan(presets(groups=[GROUP]), policies="bc", trials=1), tmp_path / "out", workers=2, progress=False)
    suite = presets("after", groups=[{**GROUP, "tasks": ["toy"]}], tuned=found["file"])
    assert {cell.policy.name: cell.tuning for cell in expand(load_suite(suite))}["critic"].trials == 0


@pytest.mark.parametrize(
    ("name", "objective", "takes"),
    [
        ("bc_flow", "bc", "bc_flow"),
        ("bc_flow_zero_noise", "bc", "bc_flow"),
        ("bc_random", "bc", "bc"),
        ("bcq", "bcq", None),
        ("qc_separate", "qc", "qc"),
        ("another_name_of_qc", "qc", "qc"),
        ("another_name_of_bc", "bc", None),
        ("iql_vector", "iql", "iql_vector"),
        ("iql_vector_separate", "iql", None),
        ("iql", "iql", None),
    ],
)
def test_a_variant_takes_what_was_chosen_for_the_policy_that_it_is_of(name, objective, takes):
    one = {"set": {}, "trial": 0, "trials": 4, "k": 1, "n": 2}
    objectives = {"bc": "bc", "bc_flow": "bc", "qc": "qc", "iql_vector": "iql"}
    policies = {tuned: one | {"objective": learns} for tuned, learns in objectives.items()}
    policies["iql_vector"]["one_training"] = True  # a noise vector: to another network it is another chunk
    head = {"name": "found", "suite": "s", "task": "toy", "regime": "mg", "trials": 4, "episodes": 2, "steps": 10}
    tuned = Tuned(**head, policies=policies)
    assert tuned.of(name, objective) is (tuned.policies[takes] if takes else None)


def test_tuning_is_no_part_of_an_untouched_cells_address(presets, fakes, tmp_path):
    found = tune(plan(presets(groups=[GROUP]), trials=1), tmp_path / "out", workers=2, progress=False)
    plain = [cell.key for cell in expand(load_suite(presets(groups=[GROUP])))]
    assert [cell.key for cell in expand(load_suite(presets("after", groups=[GROUP], tuned=found["file"])))] == plain


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policies": "bc,critik"}, "Did you mean 'critic'"),
        ({"policies": ""}, "--policies names no policy"),
        ({"policies": " , "}, "--policies names no policy"),
        ({"task": ""}, "Unknown task of the suite ''"),
        ({"task": "toi"}, "Did you mean 'toy'"),
        ({"regime": "mgg"}, "Did you mean 'mg'"),
    ],
)
def test_an_unknown_name_is_one_sentence(presets, changes, message):
    with pytest.raises(UsageError, match=message):
        plan(presets(groups=[GROUP]), **changes)


def test_a_tuned_file_with_a_wrong_key_is_one_sentence(presets, tmp_path):
    path = tmp_path / "tuned.yaml"
    path.write_text(yaml.safe_dump({"suite": "small", "trails": 3}))
    with pytest.raises(UsageError, match="tuned .*tuned.yaml: task: Field required"):
        load_tuned(str(path))


def test_the_spaces_are_told_without_searching(presets, capsys):
    suite = presets(groups=[GROUP])
    told = spaces_of(plan(suite))["policies"]
    assert told["bc"]["points"] == 6 and told["bc"]["trials"] == 4
    app(["tune", "--suite", suite, "--spaces", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["policies"].keys() == {"bc", "critic"}


def test_settings_are_laid_on_every_trial(presets):
    asked = plan(presets(groups=[GROUP]), settings=["optim.steps=7"])
    assert {asked.policy(name).steps for name in asked.choices} == {7}
    assert asked.trial("bc", 2, {"optim.lr": 0.003}) == PolicyChoice(
        use="bc", name="bc_trial2", set={"optim": {"lr": 0.003}}
    )
