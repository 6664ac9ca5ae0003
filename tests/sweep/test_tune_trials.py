"""What a trial is: the policy as the suite has it but for one point, played and scored like everyone else's."""

from itertools import product

import pytest
import yaml
from tuning import plan, tune

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyChoice
from robo_orl.objectives import OBJECTIVES
from robo_orl.sweep import search
from robo_orl.sweep.cells import expand, policy_of
from robo_orl.sweep.search import Search, size_of, space_of
from robo_orl.sweep.tune import Outcome, score_of

pytest.importorskip("optuna", reason="needs optuna: pip install 'robo-orl[tune]'")
VARIANT = {"use": "critic", "name": "variant", "set": {"critic": {"ensemble": 7}, "optim": {"weight_decay": 0.5}}}
GROUP = {"tasks": ["toy", "toy_long"], "regimes": ["mg", "mh"], "policies": ["bc", "critic"]}


def outcome(k, stages, task="toy", n=6):
    """Of a search that is judged by success."""
    return Outcome(task, k, n, k / n, stages)


@pytest.fixture
def played(monkeypatch):
    """A function that says how a policy does, (successes of 6, stages reached), instead of training and playing it.

    It is told the policy, and the task where it asks for two.
    """

    def by(does):
        def run(suite, *_):
            outcomes = {}
            for cell in expand(suite):
                told = (cell.policy, cell.task.name)[: does.__code__.co_argcount]
                outcomes.setdefault(cell.policy.name, []).append(outcome(*does(*told), cell.task.name))
            return outcomes

        monkeypatch.setattr("robo_orl.sweep.tune._run", run)

    return by


def test_one_more_success_beats_every_stage_and_stages_decide_between_equal_successes():
    cases = list(product((0, 1, 2, 50), (0.0, 0.25, 0.9, 1.0)))
    by_score = sorted(cases, key=lambda case: score_of([outcome(*case, n=100)]))
    assert by_score == sorted(cases)  # by successes, and then by stages
    assert len({score_of([outcome(*case, n=100)]) for case in cases}) == len(cases)


def test_of_trials_with_equal_successes_the_first_that_reached_most_stages_is_chosen(presets, played, tmp_path):
    reached = {0.001: 0.5, 0.0003: 0.75, 0.003: 0.6}
    played(lambda policy: (3, reached[policy.optim.lr]))
    found = tune(plan(presets(groups=[GROUP]), policies="bc", trials=6), tmp_path / "out", progress=False)
    chosen, trials = found["policies"]["bc"], found["every_trial"]["bc"]
    rates = [trial["set"].get("optim", {}).get("lr", 0.001) for trial in trials]
    assert chosen["trial"] == rates.index(0.0003) > 0 and rates.count(0.0003) == 2
    assert chosen["set"] == trials[chosen["trial"]]["set"]


def test_a_success_more_is_chosen_before_stages(presets, played, tmp_path):
    played(lambda policy: (4, 0.1) if policy.optim.lr == 0.003 else (3, 1.0))
    found = tune(plan(presets(groups=[GROUP]), policies="bc", trials=6), tmp_path / "out", progress=False)
    assert found["policies"]["bc"]["set"]["optim"]["lr"] == 0.003 and found["policies"]["bc"]["k"] == 4


def test_a_variants_trial_keeps_its_own_settings_and_takes_the_point(presets):
    suite = presets(groups=[{**GROUP, "policies": ["bc", VARIANT], "set": {"optim": {"steps": 33}}}])
    asked = plan(suite)
    trial = asked.trial("variant", 2, {"optim.lr": 0.003})
    assert trial == PolicyChoice(
        use="critic", name="variant_trial2",
        set={"critic": {"ensemble": 7}, "optim": {"weight_decay": 0.5, "lr": 0.003}},
    )  # fmt: skip
    over = asked.trial("variant", 3, {"optim.weight_decay": 0.0})
    (cell,) = expand(asked.cells_of([over]))
    assert cell.policy.optim.weight_decay == 0.0 and cell.policy.critic.ensemble == 7 and cell.policy.optim.steps == 33


def test_trials_are_cells_of_the_task_regime_size_seed_data_and_settings_that_were_asked_for(presets):
    suite = presets(
        groups=[GROUP | {"sizes": ["xs", "s"], "set": {"optim": {"steps": 33}}}],
        data={"episodes": 9}, set={"optim": {"batch_size": 32, "steps": 44}},
        evaluation={"episodes": 6, "loop": "fast"},
    )  # fmt: skip
    asked = plan(suite, task="toy_long", regime="mh", episodes=17, seed=5, settings=["optim.warmup_steps=3"])
    points = {"bc": {"optim.lr": 0.003}, "critic": {}}
    cells = expand(asked.cells_of([asked.trial(name, 1, point) for name, point in points.items()]))
    assert [cell.policy.name for cell in cells] == ["bc_trial1", "critic_trial1"]
    for cell in cells:
        assert (cell.task.name, cell.regime, cell.size, cell.seed) == ("toy_long", "mh", "xs", 5)
        assert cell.data.episodes == 9 and cell.evaluation.episodes == 17
        assert cell.evaluation.starts == "tuning" and cell.evaluation.loop == "fast"
        optim = cell.policy.optim
        assert (optim.steps, optim.batch_size, optim.warmup_steps) == (33, 32, 3)  # the group's lies on the suite's
    assert cells[0].policy.optim.lr == 0.003


def test_a_task_of_a_later_group_takes_that_groups_policies_and_settings(presets):
    later = {"tasks": ["toy_long"], "regimes": ["mh"], "policies": ["flow"], "set": {"optim": {"steps": 77}}}
    suite = presets(groups=[{**GROUP, "tasks": ["toy"]}, later])
    asked = plan(suite, task="toy_long")
    assert list(asked.choices) == ["flow"] and asked.regime == "mh" and asked.policy("flow").steps == 77
    assert list(plan(suite).choices) == ["bc", "critic"] and plan(suite).task == "toy"


def test_what_was_chosen_is_in_the_file_of_the_search(presets, played, tmp_path):
    """The file and not the answer is what a suite reads."""
    played(lambda policy: (6, 1.0) if policy.optim.lr == 0.003 else (3, 0.5))
    tune(plan(presets(groups=[GROUP]), trials=6, regime="mh"), tmp_path / "out", progress=False)
    held = yaml.safe_load((tmp_path / "out" / "tuned.yaml").read_text())
    told = {key: held[key] for key in ("suite", "task", "regime", "trials", "episodes", "seed", "steps")}
    assert told == {
        "suite": "small", "task": "toy", "regime": "mh", "trials": 6, "episodes": 6, "seed": 0, "steps": 10,
    }  # fmt: skip
    best = held["policies"]["bc"]
    assert best["set"]["optim"]["lr"] == 0.003 and best["objective"] == "bc"
    assert (best["k"], best["n"], best["trials"]) == (6, 6, 6) and best["trial"] > 0
    assert held["policies"]["critic"]["objective"] == "qc"


def test_every_policy_has_as_many_trials_as_any_other_but_where_its_space_ends(presets, played, tmp_path):
    tried = []
    played(lambda policy: tried.append(policy.name) or (3, 0.5))
    found = tune(plan(presets(groups=[GROUP]), trials=8), tmp_path / "out", progress=False)
    assert {name: len(trials) for name, trials in found["every_trial"].items()} == {"bc": 6, "critic": 8}
    assert set(tried) == {f"bc_trial{i}" for i in range(6)} | {f"critic_trial{i}" for i in range(8)}


def test_the_search_observes_the_score_of_the_point_that_it_proposed(presets, played, tmp_path, monkeypatch):
    played(lambda policy: (6, 0.5) if policy.optim.lr == 0.003 else (3, 0.0))
    proposed, scores, real_propose, real_observe = {}, [], Search.propose, Search.observe

    def propose(self):
        proposed[id(self)] = real_propose(self)
        return proposed[id(self)]

    def observe(self, score):
        scores.append((proposed[id(self)], score))
        return real_observe(self, score)

    monkeypatch.setattr(Search, "propose", propose)
    monkeypatch.setattr(Search, "observe", observe)
    tune(plan(presets(groups=[GROUP]), trials=6), tmp_path / "out", progress=False)
    assert len(scores) == 12
    for point, score in scores:
        assert score == pytest.approx(1.00005 if point.get("optim.lr") == 0.003 else 0.5, abs=1e-9), point
    assert len({score for _, score in scores}) == 2


def test_a_trial_on_several_tasks_is_judged_by_their_mean(presets, played, tmp_path):
    """What is best on the first task alone is not chosen."""
    solved = {("toy", 0.003): 6, ("toy", 0.001): 4, ("toy", 0.0003): 5,
              ("toy_long", 0.003): 0, ("toy_long", 0.001): 4, ("toy_long", 0.0003): 5}  # fmt: skip
    played(lambda policy, task: (solved[task, policy.optim.lr], 0.5))
    suite = presets(groups=[GROUP])
    both = tune(plan(suite, "bc", trials=6, task="toy, toy_long"), tmp_path / "both", progress=False)
    chosen = both["policies"]["bc"]
    assert chosen["set"]["optim"]["lr"] == 0.0003 and (chosen["k"], chosen["n"]) == (10, 12)
    assert both["task"] == "toy,toy_long"
    assert both["every_trial"]["bc"][0]["tasks"].keys() == {"toy", "toy_long"}
    one = tune(plan(suite, "bc", trials=6), tmp_path / "one", progress=False)
    assert one["policies"]["bc"]["set"]["optim"]["lr"] == 0.003


def test_tasks_of_two_groups_are_tuned_together_where_their_settings_are_equal(presets):
    later = {"tasks": ["toy_long"], "regimes": ["mg"], "policies": ["flow"]}
    suite = presets(groups=[{**GROUP, "tasks": ["toy"]}, later])
    asked = plan(suite, task="toy,toy_long")
    assert list(asked.choices) == ["bc", "critic"]  # of the first task's group
    cells = expand(asked.cells_of([asked.trial("bc", 0, {})]))
    assert [(cell.task.name, cell.regime) for cell in cells] == [("toy", "mg"), ("toy_long", "mg")]
    other = presets("other", groups=[{**GROUP, "tasks": ["toy"]}, {**later, "set": {"optim": {"steps": 77}}}])
    with pytest.raises(UsageError, match="trains on toy_long with other settings or another size than on toy"):
        plan(other, task="toy,toy_long")


def test_a_trial_is_judged_by_the_first_endpoint_of_its_suite(presets, fakes, tmp_path, monkeypatch):
    """The fake's successes take as long as its settings say; by success alone no file would be left."""
    fakes(fast=0.003)
    monkeypatch.setattr(search, "COMMON", {"optim.lr": (0.003,)})  # two points: the file's, and this one
    monkeypatch.setattr(OBJECTIVES["bc"], "search", {})
    by = {}
    for endpoint in ("return", "success"):
        suite = presets(endpoint, groups=[{**GROUP, "tasks": ["toy"]}], endpoints=[endpoint])
        found = tune(plan(suite, "bc", trials=2), tmp_path / endpoint, workers=2, progress=False)
        assert found["endpoint"] == endpoint
        by[endpoint] = found["policies"]["bc"]
    assert by["return"]["set"]["optim"]["lr"] == 0.003 and by["success"]["trial"] == 0
    assert by["return"]["k"] == by["success"]["k"]


def test_the_backups_of_a_critic_are_searched_where_its_objective_takes_them(presets):
    spaces = {name: space_of(policy_of(PolicyChoice(use=name), size=None, where="test")) for name in ("critic", "bc")}
    assert spaces["critic"]["n_step"] == (None, "execute") and spaces["critic"]["critic.tau"][1:] == (0.02, 0.05)
    assert not {"n_step", "critic.tau", "gamma.matched"} & spaces["bc"].keys()
    discounts = ({"gamma": {"fixed": fixed, "matched": matched}} for fixed, matched in ((0.99, None), (None, 2.0)))
    of = [space_of(policy_of(PolicyChoice(use="critic", set=own), size=None, where="test")) for own in discounts]
    assert "gamma.matched" not in of[0] and of[1]["gamma.matched"] == (2.0, 1.0, 4.0)
    kept = policy_of(PolicyChoice(use="critic", set={"n_step": 3}), size=None, where="test")
    refusing = policy_of(PolicyChoice(use="critic", set={"objective": {"name": "qc_fql"}}), size=None, where="test")
    assert all("n_step" not in space_of(policy) for policy in (kept, refusing))


def test_a_length_of_backups_that_authors_searched_is_searched_though_a_file_names_one(monkeypatch):
    monkeypatch.delenv("ROBO_ORL_PRESETS")
    policy = policy_of(PolicyChoice(use="sharsa"), size=None, where="here")
    assert policy.n_step == 25 and space_of(policy)["n_step"] == (25, 50)


def test_a_search_turns_to_where_scores_are_high(monkeypatch):
    """Of many points those near the best come sooner; with the scores turned round, they come later."""
    monkeypatch.delenv("ROBO_ORL_PRESETS")  # the policies that ship
    policy, liked = policy_of(PolicyChoice(use="dqc"), size=None, where="here"), ("optim.lr", 0.003)
    assert liked[1] in space_of(policy)[liked[0]] and size_of(space_of(policy)) > 60

    def share(sign):
        search, points = Search(policy, 0), []
        for _ in range(30):
            points.append(search.propose())
            search.observe(sign * float(points[-1].get(liked[0]) == liked[1]))
        return sum(point.get(liked[0]) == liked[1] for point in points[10:]) / 20

    assert share(1.0) > share(-1.0) + 0.2
