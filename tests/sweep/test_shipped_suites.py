"""The shipped suites expand to the cells that they had when their results were made: number, order and names."""

import pytest

from robo_orl.config import sha256_of
from robo_orl.config.presets import PRESETS_VARIABLE, available
from robo_orl.sweep.cells import expand, load_suite

# Number of cells, and a hash of their tasks, regimes, rows, sizes and seeds in order. What is in a cell is held by the
# records (tests/results/test_shipped.py): their addresses follow from the whole configuration.
CELLS = {
    "ablations": (156, "4caa63434e7ab341"),
    "budgets": (16, "1c4e4193ce9aa1f1"),
    "controls": (181, "217aec965b806c7e"),
    "data_and_size": (480, "5f2ae61eeba56850"),
    "data_passes": (48, "5660ca0a798cd14a"),
    "horizon_controls": (771, "f1902525408f79e2"),
    "horizon_total": (180, "ee76da0ae2f0afc6"),
    "imitation": (66, "87569a8b418dbed1"),
    "methods": (1290, "73f45abd6aacf54b"),
    "must_pay": (162, "2e6635273b90cca5"),
    "multitask": (4, "55df7af207d4a63b"),
    "noise": (44, "67231eb8ed70bac2"),
    "online": (357, "16aebd9b4f714cd5"),
    "online_multitask": (8, "1f664e49f6b43e37"),
    "online_policy_gradient": (159, "b8fd9f82d4b37a29"),
    "parity": (119, "a12a423b749c67f3"),
    "quick": (11, "7c1cd64c8168087d"),
    "rewards": (684, "fd61778ea70624ed"),
    "robomimic": (240, "a3b6d93107621f83"),
    "standard": (306, "90d4fd7cc7d906a3"),
    "trunk": (90, "8e873c4cc4b7f26a"),
    "tuned": (84, "09cd6d3ec22e640a"),
    "vision": (5, "20651837fc15df60"),
}


@pytest.fixture(autouse=True)
def presets(monkeypatch):
    """The shipped files alone, without the small ones of the other tests of this folder."""
    monkeypatch.delenv(PRESETS_VARIABLE, raising=False)


@pytest.mark.parametrize("suite", CELLS)
def test_a_suite_has_the_cells_that_it_had(suite):
    cells = expand(load_suite(suite))
    names = [[cell.task.name, cell.regime, cell.policy.name, cell.size, cell.seed] for cell in cells]
    assert (len(cells), sha256_of(names)[:16]) == CELLS[suite]


def test_the_demo_acts_by_one_training_of_the_flow_policy_in_several_ways():
    runs = {(cell.task.name, cell.policy.name): cell.run_key for cell in expand(load_suite("quick"))}
    assert len(set(runs.values())) == 8
    assert all(runs[task, "bc_flow_zero_noise"] == runs[task, "bc_flow"] for task in ("chain1", "chain2_one_reward"))
    assert runs["chain2_one_reward", "bc_flow_best_of_n_untrained"] == runs["chain2_one_reward", "bc_flow"]


@pytest.mark.parametrize("suite", ["online", "online_multitask", "online_policy_gradient"])
def test_every_start_can_go_on_by_the_methods_that_a_suite_gives_it(suite):
    from robo_orl.agent.agent import check_agent
    from robo_orl.online.learner import check_trainable

    policies = {cell.policy.digest(): cell.policy for cell in expand(load_suite(suite)) if cell.online is not None}
    assert len(policies) > 2
    for policy in policies.values():
        check_agent(policy)
        check_trainable(policy)


def test_starts_are_crossed_with_methods():
    """Cloning with three heads, recap, iql and qc go on by the same methods, and by qc where they sample."""
    crossed = {}
    for cell in expand(load_suite("online")):
        if cell.online is not None and cell.online.steps == 20_000 and (cell.task.name, cell.regime) == ("lift", "mg"):
            crossed.setdefault(cell.online.start.name, set()).add((cell.online.method, cell.seed))
    common = {(method, seed) for method in ("bc_continue", "iql", "rlpd", "residual") for seed in range(3)}
    sampled = common | {("qc", seed) for seed in range(3)}
    assert crossed["bc"] == common
    for start in ("bc_gaussian", "bc_flow", "recap", "iql", "qc"):
        assert crossed[start] >= sampled, start


def test_collecting_is_asked_about_on_a_start_that_lacks_data():
    """As many updates with and without the episodes, from ten demonstrations; the second group of the suite."""
    cells = [cell for cell in expand(load_suite("online")) if cell.regime == "mg+10demos"]
    assert {(cell.online.method, cell.seed) for cell in cells if cell.online} == {
        (method, seed) for method in ("qc", "qc_data", "rlpd") for seed in range(3)
    }
    assert all(cell.data.episodes == 10 for cell in cells)
    assert all(cell.online.steps == 10_000 for cell in cells if cell.online)
    (qc,), (control,) = (
        {cell.policy.digest(): cell.policy for cell in cells if cell.online and cell.online.method == name}.values()
        for name in ("qc", "qc_data")
    )
    named = ("name", "description", "online.replay.mix")
    assert _changed(qc.model_dump(), control.model_dump()) <= set(named)


def test_the_others_train_nothing():
    others = available("tasks/suites").keys() - CELLS
    assert others and all(not load_suite(name).groups for name in others)


def test_every_row_of_the_ablations_changes_one_axis_of_its_base():
    """n is the backup's, however it is written: rows of another chunk spell out the base's."""
    cells = expand(load_suite("ablations"))
    base, follows = cells[0].policy, {"name", "description", "n_step", "backbone.size"}
    assert (base.name, len({(cell.task.name, cell.regime) for cell in cells})) == ("qc", 2)
    axes = set()
    for policy in {cell.policy.digest(): cell.policy for cell in cells}.values():
        changed = _changed(base.model_dump(), policy.model_dump()) - follows
        changed |= {name for name in ("n", "size") if getattr(policy, name) != getattr(base, name)}
        if policy.action_head.kind != base.action_head.kind:  # what belongs to another head goes with it
            changed = {"action_head.kind"} | {key for key in changed if key.startswith(("critic", "selection", "n"))}
        assert len(changed) == (policy.digest() != base.digest()), (policy.name, changed)
        axes |= changed
    assert len(axes) == 14


def _changed(one, other, path=""):
    """The dotted names of the values that differ."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return {path} if one != other else set()
    return {
        name
        for key in one.keys() | other.keys()
        for name in _changed(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    }
