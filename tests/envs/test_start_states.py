"""Start states: equal for equal seeds, bit-equal in replay, files that are hashed by content."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from robo_orl.base.errors import RunError
from robo_orl.config.presets import load_task
from robo_orl.envs import start_banks
from robo_orl.envs.registry import scene_entry
from robo_orl.envs.start_banks import draw_bank, eval_bank, make_bank
from robo_orl.envs.start_states import StartBank, evaluation_seed, training_seed
from robo_orl.envs.task_env import TaskEnv

SHIPPED = ("lift", "can", "square", "stack", "chain1", "chain2", "chain4", "chain8", "transport", "tool_hang")


@pytest.fixture(scope="module", params=["chain2", "lift"])
def env(request) -> TaskEnv:
    env = TaskEnv(load_task(request.param))
    yield env
    env.close()


def test_the_same_start_and_actions_lead_to_the_same_bits_in_another_environment(env):
    start = env.draw_start(11)
    other = TaskEnv(env.task)
    other.draw_start(12)
    actions = np.random.default_rng(0).uniform(-1, 1, (25, 7))
    env.reset(env.draw_start(13))  # what came between does not matter
    env.step(actions[0])
    first, second = env.reset(start), other.reset(start)
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])
    for action in actions:
        a, b = env.step(action), other.step(action)
        np.testing.assert_array_equal(env.state(), other.state())
        np.testing.assert_array_equal(a.obs["object"], b.obs["object"])
    assert env.model_xml() == other.model_xml()
    other.close()


def test_a_seed_is_a_start_state(env):
    first, other, again = env.draw_start(5), env.draw_start(6), env.draw_start(5)
    for key in first.entry:
        np.testing.assert_array_equal(first.entry[key], again.entry[key])
    assert not np.array_equal(first.entry["state"], other.entry["state"])


def test_training_and_evaluation_starts_never_meet():
    task = load_task("chain2")
    training = {training_seed(task, seed, index) for seed in range(5) for index in range(200)}
    evaluation = {evaluation_seed(task, index) for index in range(200)}
    assert len(training) == 1000 and len(evaluation) == 200 and not training & evaluation


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bank_has_200_different_states_in_less_than_a_megabyte(name):
    bank = eval_bank(load_task(name))
    assert len(bank) == 200
    assert len(np.unique(bank.arrays["state"], axis=0)) == 200
    assert (Path(__file__).parents[2] / "tasks" / "starts" / f"{name}.npz").stat().st_size < 1_000_000


@pytest.mark.parametrize("name", ["chain8", "stack"])
def test_a_shipped_state_can_be_made_again_from_its_seed(name):
    task = load_task(name)
    bank, env = eval_bank(task), TaskEnv(task)
    again = env.draw_start(evaluation_seed(task, 7))
    for key, value in bank[7].entry.items():
        np.testing.assert_allclose(again.entry[key], value, rtol=1e-9, atol=1e-12)
    assert env.reset(bank[7])["object"].shape == (env.spec["object"],)
    env.close()


def test_variants_of_a_scene_share_its_evaluation_states():
    task = load_task("chain2")
    variant = task.model_copy(update={"name": "mine", "control_hz": 10, "padding": 1.0, "max_seconds": 5.0})
    assert eval_bank(variant).sha256 == eval_bank(task).sha256


def test_a_user_s_own_scene_gets_its_bank_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path))
    monkeypatch.setattr("robo_orl.envs.start_banks.make_eval_bank", lambda task: make_bank(task, 3, 0))
    task = load_task("chain2").model_copy(update={"params": {"cubes": 3}})
    bank = eval_bank(task)
    monkeypatch.setattr("robo_orl.envs.start_banks.make_eval_bank", None)
    assert eval_bank(task).sha256 == bank.sha256 and len(bank) == 3
    assert [path.name for path in (tmp_path / "starts").glob("[!.]*")] == ["chain3.npz"]


def test_numbers_that_all_states_share_stand_in_the_file_once_and_come_back_bit_for_bit(tmp_path):
    draws = np.random.default_rng(0).normal(size=(50, 400))
    draws[:, :390] = draws[0, :390]
    draws[7, 3], draws[0, 3], draws[1:7, 3], draws[8:, 3] = -0.0, 0.0, 0.0, 0.0
    bank = StartBank({"model": draws, "gripper": draws[:, 390:], "rest": np.full((50, 3), np.nan)})
    bank.save(tmp_path / "a.npz")
    loaded = StartBank.load(tmp_path / "a.npz")
    assert loaded.sha256 == bank.sha256 and list(loaded.arrays) == ["model", "gripper", "rest"]
    assert (tmp_path / "a.npz").stat().st_size < 20_000


def test_a_bank_survives_its_file_and_its_hash_tells_content(tmp_path):
    bank = StartBank({"state": np.arange(6.0).reshape(3, 2), "gripper": np.zeros((3, 1))})
    bank.save(tmp_path / "a.npz")
    loaded = StartBank.load(tmp_path / "a.npz")
    assert loaded.sha256 == bank.sha256 and loaded[1].index == 1
    np.testing.assert_array_equal(loaded[2].entry["state"], [4, 5])
    changed = StartBank(bank.arrays | {"gripper": np.array([[0.0], [0.0], [1e-16]])})
    assert changed.sha256 != bank.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    with pytest.raises(IndexError):
        bank[3]


def test_a_reset_costs_less_than_a_millisecond(env):
    bank = draw_bank(env, [5, 6])

    def reset_s(index: int) -> float:
        begun = process_time()
        env.reset(bank[index])
        return process_time() - begun

    assert min(reset_s(i % 2) for i in range(20)) < 0.001


def test_a_broken_bank_is_named_with_the_remedy(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(RunError, match="a.npz.*Remove the file"):
        StartBank.load(tmp_path / "a.npz")


def test_a_state_of_another_scene_is_refused(env):
    foreign = eval_bank(load_task("stack"))[0]
    with pytest.raises(RunError, match="another scene"):
        env.reset(foreign)


def test_a_bank_holds_the_states_of_its_seeds(env):
    bank = draw_bank(env, [5, 6])
    np.testing.assert_array_equal(bank[1].entry["state"], env.draw_start(6).entry["state"])


def test_hyper_parameters_are_chosen_on_states_that_no_result_is_reported_from(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(start_banks, "cache_folder", lambda: tmp_path)
    drawing = lambda task, seeds: drawn.extend(seeds) or StartBank({"qpos": np.array(seeds)})  # noqa: E731
    monkeypatch.setattr(start_banks, "_drawn", drawing)
    task = load_task("lift")
    tuning = start_banks.stored_bank(task, "tuning")
    assert len(tuning) == start_banks.TUNING_STATES and len(set(drawn)) == len(drawn) > 0
    tested = {evaluation_seed(task, index) for index in range(1000)}
    assert not tested & set(drawn)


def test_simulations_that_draws_replace_are_freed_though_nothing_else_makes_python_collect(env, monkeypatch):
    """Their meshes and textures are no Python objects: without this a recording grows by a scene every few episodes."""
    if not scene_entry(env.task).draws_model:
        return  # one model serves all its starts
    size = env.scene.env.sim.model._model.nbuffer
    monkeypatch.setattr("robo_orl.envs.task_env.REPLACED_BYTES", 2.5 * size)
    env.draw_start(0)
    gc.collect()
    gc.disable()
    try:
        alive = [weakref.ref(env.scene)]
        counts = []
        for seed in range(6):
            env.draw_start(seed)
            alive.append(weakref.ref(env.scene))
            counts.append(sum(one() is not None for one in alive))
    finally:
        gc.enable()
    assert 1 < max(counts) <= 3  # seven without it
