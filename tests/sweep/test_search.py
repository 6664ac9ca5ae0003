"""What may be tried for a policy, and in which order."""

import pytest

from robo_orl.config import PolicyChoice
from robo_orl.config.presets import available, load_policy
from robo_orl.objectives import OBJECTIVES
from robo_orl.sweep.cells import load_suite, policy_of
from robo_orl.sweep.search import COMMON, Search, SearchRequest, make_plan, nested, size_of, space_of

pytest.importorskip("optuna", reason="needs optuna: pip install 'robo-orl[tune]'")


def drawn(policy, seed, count, scores=()):
    search, points = Search(policy, seed), []
    for number in range(count):
        points.append(search.propose())
        search.observe(scores[number] if number < len(scores) else 0.0)
    return points


@pytest.fixture(autouse=True)
def shipped(monkeypatch):
    monkeypatch.delenv("ROBO_ORL_PRESETS", raising=False)


def test_the_first_trial_is_the_policy_file_and_no_point_comes_twice():
    points = drawn(load_policy("iql"), 0, 12)
    assert points[0] == {}
    assert len({tuple(sorted(point.items())) for point in points}) == 12


def test_a_search_told_the_same_scores_asks_for_the_same_points_and_another_seed_or_policy_for_others():
    scores = [3.0, 1.0, 5.0, 2.0, 4.0, 0.0]
    iql = drawn(load_policy("iql"), 0, 16, scores)
    assert drawn(load_policy("iql"), 0, 16, scores) == iql
    assert drawn(load_policy("iql"), 1, 16, scores) != iql
    assert drawn(load_policy("fql"), 0, 6) != drawn(load_policy("qc_fql"), 0, 6)  # one space


def test_a_space_that_is_tried_out_gives_nothing_more():
    bc = load_policy("bc")
    assert space_of(bc).keys() == {*COMMON, "optim.weight_decay"} and size_of(space_of(bc)) == 6
    points = drawn(bc, 0, 6)
    assert len({tuple(sorted(point.items())) for point in points}) == 6
    search = Search(bc, 0)
    for _ in range(6):
        search.propose()
        search.observe(1.0)
    assert search.propose() is None


def test_of_a_fixed_noise_vector_only_the_vector_is_searched_and_all_trials_share_one_training():
    policy = load_policy("bc+flow+fixed_noise")
    assert space_of(policy) == {"selection.noise_seed": tuple(range(64))}
    points = drawn(policy, 0, 5)
    assert points[0] == {} and all(point.keys() == {"selection.noise_seed"} for point in points[1:])
    trials = [policy_of(PolicyChoice(use=policy.name, set=nested(p)), size=None, where="") for p in points]
    assert len({trial.selection.noise_seed for trial in trials}) == 5
    assert len({str(trial.identity(exclude={"name", "selection"})) for trial in trials}) == 1


def test_the_policys_own_value_is_in_the_space_even_if_nobody_published_it():
    policy = policy_of(PolicyChoice(use="iql", set={"objective": {"params": {"beta": 7.5}}}), size=None, where="here")
    assert space_of(policy)["objective.params.beta"] == (7.5, 1.0, 10.0, 100.0, 1000.0)


def test_a_point_becomes_the_settings_of_a_policy_file():
    point = {"objective.params.beta": 3.0, "selection.num_samples": 8, "optim.lr": 1e-5, "optim.weight_decay": 0.0}
    assert nested(point) == {
        "objective": {"params": {"beta": 3.0}}, "selection": {"num_samples": 8},
        "optim": {"lr": 0.00001, "weight_decay": 0.0},
    }  # fmt: skip


PRESETS = {"return_conditioned": "return_conditioned_flow", "mc_awr": "mc_awr_flow"}


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name in available("policies")])
def test_every_value_of_every_space_makes_a_policy(objective):
    name = PRESETS.get(objective, objective)
    for key, values in space_of(load_policy(name)).items():
        for value in values:
            policy = policy_of(PolicyChoice(use=name, set=nested({key: value})), size=None, where="here")
            OBJECTIVES[objective](policy)  # its own schema refuses what it does not know
            assert policy.objective.name == objective


def test_every_source_of_rewards_gets_the_same_search_over_temperatures():
    """As an axis of the suite every temperature of the objectives' own spaces; by `tune` the data set of the source."""
    suite = load_suite("rewards")
    groups = [group for group in suite.groups if {"mc_awr", "iql"} & {choice.use for choice in group.policies}]
    assert groups and all(len(group.rewards) == 6 for group in groups)
    for name in ("mc_awr", "iql"):
        temperatures = set(OBJECTIVES[name].search["objective.params.beta"]) | {10.0}
        for group in groups:
            policies = [policy_of(choice, size=None, where="") for choice in group.policies if choice.use == name]
            assert {p.objective.params.get("beta", 10.0) for p in policies} == temperatures
    plan = make_plan(SearchRequest("rewards", policies="mc_awr", regime="stitch@progress_25"))
    (group,) = plan.cells_of([plan.trial("mc_awr", 0, {})]).groups
    assert list(group.data_names()) == ["stitch@progress_25"]
