"""Rewards that are given or annotated: what each writes, on one scale of returns, and what is refused."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from foreign import as_robomimic, changed
from synthetic import episode, write
from typer.testing import CliRunner

from robo_orl.base.errors import UsageError
from robo_orl.cli.app import app
from robo_orl.config import RewardConfig
from robo_orl.config.presets import available
from robo_orl.data.cache import open_cache
from robo_orl.data.validate import faults
from robo_orl.data.windows import returns_to_go
from robo_orl.rewards.quality import hacking
from robo_orl.rewards.registry import OURS, load_reward, make_source
from robo_orl.rewards.relabel import relabel, reward_of
from robo_orl.rewards.scale import lasting, scale_of

GAMMA = 0.99


def file_of(tmp_path, many=12):
    """Every third episode succeeds; their lengths are 8, 11, 14 and so on."""
    return write(tmp_path / "a.hdf5", [episode(8 + 3 * i, i % 3 == 0, seed=i) for i in range(many)])


def config(source, **values):
    return RewardConfig(name=source, source=source, **values)


def relabelled(path, reward, **options):
    out = path.with_name("out.hdf5")
    out.unlink(missing_ok=True)
    relabel(path, reward, out, **options)
    return open_cache(out)


@pytest.mark.parametrize("name", sorted(available("tasks/rewards")))
def test_every_shipped_reward_is_valid_described_and_named_after_its_file(name):
    reward = load_reward(name)
    assert reward.name == name and reward.description
    make_source(reward)


def test_every_source_has_a_preset():
    assert {load_reward(name).source for name in available("tasks/rewards")} == set(OURS)


def test_the_success_bit_is_the_reward_that_the_file_has(tmp_path):
    path = file_of(tmp_path)
    before, after = open_cache(path), relabelled(path, config("success"))
    np.testing.assert_array_equal(after.rewards, before.rewards)
    for name in ("observations", "actions", "stages", "success", "terminal", "starts"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert after.regime == "mh@success" and faults(tmp_path / "out.hdf5") == []


@pytest.mark.parametrize("source", ["success", "stages", "steps_to_go", "shuffled"])
def test_every_source_is_brought_to_returns_from_0_to_1(source, tmp_path):
    after = relabelled(file_of(tmp_path), config(source))
    returns = returns_to_go(after, GAMMA)
    assert returns.min() == pytest.approx(0, abs=1e-6) and returns.max() == pytest.approx(1, abs=1e-6)


def test_steps_to_go_is_the_discounted_success_once_a_failure_goes_on_for_ever(tmp_path):
    path = file_of(tmp_path)
    bit = returns_to_go(relabelled(path, config("success")), GAMMA)
    np.testing.assert_allclose(returns_to_go(relabelled(path, config("steps_to_go")), GAMMA), bit, atol=1e-5)
    cut = relabelled(path, config("steps_to_go", params={"failures": "truncated"}))
    ends = returns_to_go(cut, GAMMA)[cut.starts[1:] - 1]
    assert ends[1] > 0.9, "a failure that is cut off looks nearly as good as a success"


def test_a_constant_reward_says_nothing_of_any_frame(tmp_path):
    after = relabelled(file_of(tmp_path), config("constant"))
    np.testing.assert_allclose(returns_to_go(after, GAMMA), 1.0, atol=1e-5)
    assert after.success.all() and after.terminal.all()


def test_shuffled_rewards_are_those_of_other_episodes(tmp_path):
    path = file_of(tmp_path)
    before, after = open_cache(path), relabelled(path, config("shuffled"))
    assert after.success.sum() == before.success.sum() and (after.success != before.success).any()


def test_a_scale_keeps_the_order_of_all_returns_and_its_shift_rewards_no_length(tmp_path):
    arrays = open_cache(file_of(tmp_path))
    reward = np.random.default_rng(0).normal(size=len(arrays.rewards)) - 3
    everything = np.ones(len(arrays), bool)
    scale = scale_of(arrays, reward, everything, GAMMA)
    before = returns_to_go(replace(arrays, rewards=reward), GAMMA)
    after = returns_to_go(replace(arrays, rewards=scale.apply(arrays, reward)), GAMMA)
    np.testing.assert_allclose(after, (before - before.min()) / (before.max() - before.min()), atol=1e-9)


def test_a_reward_of_states_goes_on_where_an_episode_stops(tmp_path):
    """Standing at 1 for ever is worth 1 / (1 - gamma) at every frame: a success is not punished for ending early."""
    arrays = open_cache(file_of(tmp_path))
    returns = returns_to_go(replace(arrays, rewards=lasting(arrays, np.ones(len(arrays.rewards)), GAMMA)), GAMMA)
    np.testing.assert_allclose(returns, 1 / (1 - GAMMA))


# ---------------------------------------------------------------------------------------------------------- annotations


def test_more_labels_are_of_the_same_order_and_the_rest_fails_or_is_left_out(tmp_path):
    path = file_of(tmp_path)
    labelled = {}
    for count in (4, 8):
        relabelled(path, config("success", labels=count))
        with h5py.File(tmp_path / "out.hdf5") as file:
            labelled[count] = {name for name, demo in file["data"].items() if demo.attrs["labelled"]}
            for name, demo in file["data"].items():
                said = bool(demo.attrs["success"])
                assert said == (bool(demo.attrs["true_success"]) and name in labelled[count])
    assert len(labelled[4]) == 4 and labelled[4] < labelled[8]
    kept = relabelled(path, config("success", labels=4, rest="drop"))
    assert set(kept.names) == labelled[4] and len(kept) == 4


def test_flips_are_as_many_as_their_share_and_near_misses_are_failures_that_end_like_successes(tmp_path):
    episodes = [episode(8, i % 2 == 0, seed=i) for i in range(200)]
    for i, one in enumerate(episodes):
        one.obs["object"][-1] = 0.0 if one.success or i % 4 == 1 else 30.0  # half of the failures end like a success
    path = write(tmp_path / "a.hdf5", episodes)
    true = open_cache(path).success
    flipped = relabelled(path, config("success", noise={"flip": 0.2})).success != true
    assert 25 <= flipped.sum() <= 55
    called = relabelled(path, config("success", noise={"near_miss": 0.5})).success & ~true
    assert called.sum() == 50 and all(i % 4 == 1 for i in np.flatnonzero(called))
    lost = relabelled(path, config("success", noise={"missing": 0.3}))
    assert lost.success.sum() < true.sum() and not (lost.success & ~true).any()


def test_late_marks_come_late_and_one_annotator_of_two_marks_half(tmp_path):
    path = file_of(tmp_path)
    before = relabelled(path, config("stages"))
    late = relabelled(path, config("stages", noise={"late": 2}))
    some = relabelled(path, config("stages", noise={"late": 2, "late_share": 0.5}))
    frames = [np.flatnonzero(a.rewards > 0.01)[0] for a in (before, late)]
    assert frames[1] == frames[0] + 2
    changed_frames = [(a.rewards != before.rewards).sum() for a in (some, late)]
    assert 0 < changed_frames[0] < changed_frames[1]


def test_a_file_says_what_its_reward_cost_and_is_worth(tmp_path):
    path = file_of(tmp_path, 20)
    relabelled(path, config("stages", labels=5))
    said = reward_of(tmp_path / "out.hdf5")
    assert said["annotation"] == {"kind": "stages", "labels": 5, "seconds": None, "seconds_assumed": 75.0}
    assert said["quality"]["episodes"] == 4 and said["quality"]["auc"] == 0.5, "nobody was asked about these four"
    assert said["request"]["file"]["name"] == "a.hdf5"


def test_the_same_call_leaves_a_complete_file_and_another_one_is_refused(tmp_path):
    path, out = file_of(tmp_path), tmp_path / "out.hdf5"
    first = relabel(path, config("success", labels=3), out)
    content = out.read_bytes()
    again = relabel(path, config("success", labels=3), out)
    assert (first.already_complete, again.already_complete) == (False, True) and out.read_bytes() == content
    with pytest.raises(UsageError, match="exists and holds other data"):
        relabel(path, config("success", labels=4), out)
    with pytest.raises(UsageError, match="holds the rewards of 'success' already: relabel the file it was made of"):
        relabel(out, config("success"), tmp_path / "b.hdf5")
    assert sorted(p.name for p in tmp_path.glob("*") if p.is_file()) == ["a.hdf5", "out.hdf5"]


# ---------------------------------------------------------------------------------------- files of others, and refusals


def with_column(values):
    def change(file):
        for demo in file["data"].values():
            demo["vlm"] = np.resize(np.asarray(values, float), len(demo["actions"]))

    return change


def test_a_column_of_a_file_of_other_software_is_a_reward(tmp_path):
    def change(file):
        as_robomimic(file)
        with_column(np.linspace(0, 1, 7))(file)

    path = changed(tmp_path / "a.hdf5", change)
    after = relabelled(path, config("column", params={"column": "vlm", "kind": "progress"}))
    returns = returns_to_go(after, GAMMA)
    assert returns.min() == pytest.approx(0, abs=1e-6) and returns.max() == pytest.approx(1, abs=1e-6)
    assert after.success.sum() == max(1, round(0.25 * len(after)))


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"source": "sucess"}, "Unknown source of rewards 'sucess'. Did you mean 'success'"),
        ({"source": "success", "labels": 13}, "asks for 13 success bits, and .* has 12"),
        (
            {"source": "success", "noise": {"late": 3}},
            "takes no noise 'late', here 3: it takes flip, missing, near_miss",
        ),
        ({"source": "constant", "labels": 3}, "takes no labels: leave --labels out"),
        ({"source": "constant", "rest": "drop"}, "judges every episode, so that `rest` does nothing"),
        ({"source": "stages", "noise": {"late_share": 0.5}}, "late_share does nothing without `late`"),
        (
            {"source": "success", "version": 2},
            "is of version 2 of the source 'success', and this robo-orl has version 1",
        ),
        (
            {"source": "steps_to_go", "params": {"failure": "x"}},
            "Unknown key in params 'failure'|Unknown key 'failure'",
        ),
        ({"source": "column", "params": {"column": "vlm"}}, "demo_0 has no dataset 'vlm'"),
        ({"source": "dense"}, "Unknown env|does not replay"),
    ],
)
def test_what_a_reward_cannot_be_is_refused_in_one_sentence(values, sentence, tmp_path):
    path = file_of(tmp_path)
    with pytest.raises(UsageError, match=sentence):
        relabel(path, RewardConfig(name="r", **values), tmp_path / "out.hdf5", workers=1)
    assert not (tmp_path / "out.hdf5").exists()


def test_a_column_that_is_no_number_and_stages_that_are_not_there_are_refused(tmp_path):
    nan = changed(tmp_path / "nan.hdf5", with_column([1.0, np.nan]))
    with pytest.raises(UsageError, match="demo_0/vlm is nan at frame 1: mend the column, a reward is finite"):
        relabel(nan, config("column", params={"column": "vlm"}), tmp_path / "out.hdf5")
    bare = changed(tmp_path / "bare.hdf5", as_robomimic)
    with pytest.raises(UsageError, match="needs stages, and the episodes of .* have none"):
        relabel(bare, config("stages"), tmp_path / "out.hdf5")


def test_the_command_names_the_copy_by_its_labels_and_prints_its_account(tmp_path):
    path, out = file_of(tmp_path), tmp_path / "out.hdf5"
    words = [
        "data",
        "relabel",
        str(path),
        "--reward",
        "stages",
        "--labels",
        "5",
        "--noise",
        "flip=0.1",
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    assert said["regime"] == "mh@stages_5" and said["reward"]["request"]["config"]["noise"]["flip"] == 0.1
    assert "annotation.labels" in CliRunner().invoke(app, words).output
    refused = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "b.hdf5"), "--noise", "flop=1"])
    assert refused.exit_code != 0 and "flop" in str(refused.exception)


def test_rewards_are_listed_with_the_annotation_that_they_need():
    result = CliRunner().invoke(app, ["list", "rewards", "--json"])
    rows = {row["name"]: row for row in json.loads(result.output)["rewards"]}
    assert rows["stages"]["needs"] == "stages" and rows["constant"]["needs"] == "nothing"


@pytest.mark.parametrize(
    "returns, success, k",
    [
        ([0.9, 0.8, 0.1, 0.0], [True, False, True, False], 1),  # 0.8 is above 0.5, the median of the successes
        ([0.0, 0.0, 0.0], [True, False, False], 0),  # a reward that gives nobody anything
        ([0.0, 1.0, 0.5], [True, False, False], 2),  # a success that is worth the least of all
    ],
)
def test_a_failure_hacks_a_reward_whose_return_is_high(returns, success, k):
    found = hacking(np.array(returns), np.array(success))["hacked"]
    assert found == {"k": k, "n": len(success) - sum(success)}
    assert hacking(np.array(returns), np.zeros(len(returns), bool)) == {"hacked": None}
