"""Rounds of on-policy methods: what is drawn of them and when, what the policy did in them, and that a kill changes
nothing."""

import json
import signal

import numpy as np
import pytest
import torch
import toy_online
import toy_rounds
import toy_run
from test_schedule import episodes
from toy_online import go, killed, learned

from robo_orl.base.errors import UsageError
from robo_orl.config import OnlineConfig, PolicyConfig, parse
from robo_orl.config.presets import available
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.run_folder import read_run
from robo_orl.engine.task_data import make_windows
from robo_orl.engine.train import train
from robo_orl.objectives import OBJECTIVES
from robo_orl.online.collection import acting_seed
from robo_orl.online.replay import Replay, ReplayRequest, read_episodes
from robo_orl.online.rounds import Round, RoundPlan
from robo_orl.online.schedule import Schedule, Slot
from robo_orl.online.start import resolve_start

GAUSSIAN = {"name": "tiny_gaussian", "action_head": {"kind": "gaussian", "flow_steps": 10}}
SMALL = (
    "policy.online.evaluation.points=[0, 200]", "policy.online.evaluation.every=200",
    "policy.online.evaluation.episodes=3", "policy.online.collection.episodes=4", "policy.optim.batch_size=32",
)  # fmt: skip
OWN = {
    "ppo": ("policy.online.warm_up.steps=100", "policy.objective.params.target_kl=0.001"),
    "fpo": ("policy.online.warm_up.steps=100", "policy.online.trains=cached"),
    "reinflow": ("policy.online.warm_up.steps=100",),
    "reinforce": ("policy.online.collection.group=2",),
    "grpo": ("policy.online.collection.group=2",),
}


@pytest.fixture(scope="module")
def runs(cloned, tmp_path_factory):
    """A cloned run for each head that the methods are for."""
    folder = tmp_path_factory.mktemp("gaussian")
    gaussian = toy_run.trained(folder, GAUSSIAN, checkpoint_every=4)
    return {name: cloned if name in ("fpo", "reinflow") else gaussian for name in OWN}


def start_of(runs, name, *settings):
    return resolve_start(runs[name], name, 3, settings=(*SMALL, *OWN[name], *settings))


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory):
    """PPO, uninterrupted, with a KL limit that ends rounds early."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, go(start_of(runs, "ppo"), out)


# ------------------------------------------------------------------------------------------------------ when and what


def plan(name="ppo"):
    return RoundPlan(OBJECTIVES[name](toy_rounds.policy(name)), execute=5, epochs=3, minibatch=4, group=2)


def test_a_round_is_learned_from_before_the_next_is_collected():
    config = OnlineConfig.model_validate({"collection": {"episodes": 2}, "warm_up": {"steps": 12}})
    slots = Schedule(config, execute=5, has_data=False, rounds=plan()).slots(episodes(10, 7, 5, 5, 41, 4))
    assert slots == [
        Slot(0, 0, True, 0, 0, 0),
        Slot(1, 17, False, 0, 3, 0),  # 4 decisions, a minibatch a pass: of the warm-up the critic alone learns
        Slot(2, 27, False, 3, 0, 3),
        Slot(3, 72, False, 6, 0, 9),  # 10 decisions: three minibatches a pass
    ]


def test_what_a_timeout_cut_off_is_no_decision():
    """A decision at the very last frame of an episode that timed out led to nothing that is known."""
    assert plan().decisions(11, terminal=True).tolist() == [0, 5, 10]
    assert plan().decisions(11, terminal=False).tolist() == [0, 5]
    assert plan().decisions(12, terminal=False).tolist() == [0, 5, 10]


def test_groups_that_end_alike_are_discarded_and_counted():
    alike, mixed = episodes(10, 20), [*episodes(10), *episodes(20, success=False)]
    assert plan("grpo").updates(alike) == 0 and plan("grpo").updates(mixed) == 3 * 2
    assert plan("grpo").discarded([*alike, *mixed]) == {"discarded_groups": 1, "discarded_steps": 30}
    assert plan("reinforce").updates(alike) == 3 * 2 and plan("reinforce").discarded(alike) == {}


def test_a_pass_takes_every_decision_once_and_ranks_share_what_one_would_have(runs, whole):
    made = newest_round(runs, whole[0])
    count = made.plan.minibatches(len(made))
    assert count > 1 and len(made) % 32
    frames = [(made.batch(0, step, 0, 1, 32)) for step in range(count)]
    assert all(torch.equal(batch.kept["log_prob"], made.kept["log_prob"][place(made, batch)]) for batch in frames)
    seen = np.concatenate([place(made, batch) for batch in frames])
    assert set(seen) == set(range(len(made))) and len(seen) - len(made) < 8 * count
    again = np.concatenate([place(made, made.batch(0, step, 0, 1, 32)) for step in range(count, 2 * count)])
    assert set(again) == set(seen) and not np.array_equal(again[: len(seen)], seen[: len(again)])
    one = made.batch(0, 1, 0, 1, 32)
    for world in (2, 4):
        shares = [made.batch(0, 1, rank, world, 32) for rank in range(world)]
        of_all = np.concatenate([place(made, share) for share in shares])
        assert sorted(of_all) == sorted(place(made, one)) and len({len(share) for share in shares}) == 1


def place(made, batch):
    """The decisions of a batch, by what only one of them can have."""
    known = {value: i for i, value in enumerate(made.kept["log_prob"].tolist())}
    assert len(known) == len(made)
    return np.array([known[value] for value in batch.kept["log_prob"].tolist()])


def newest_round(runs, out, agent=None, name="ppo"):
    """The last round of a run in `out`, by the weights of `agent`."""
    start = start_of(runs, name)
    request = ReplayRequest.model_validate(json.loads((out / "replay/request.json").read_text()))
    replay = Replay(out / "replay", request, read_episodes(out / "replay"))
    last = len(replay.episodes)
    arrays = replay.arrays(list(start.spec.obs), start.run.task, last, last - 4)
    windows = make_windows(start.run, [arrays])
    agent = agent or load_agent(out)[0]
    return Round(RoundPlan.of(start.run.policy), windows, replay.episodes[last - 4 :], agent, acting_seed(3), 0)


@pytest.mark.parametrize("name", ["fpo", "reinflow"])
def test_what_a_flow_did_is_drawn_again_to_the_action(runs, tmp_path, name):
    """The chunks and chains of the first round are kept as they were acted, though nothing of them is stored."""
    from robo_orl.online.start import initial_agent

    start = start_of(runs, name)
    go(start, tmp_path / "out", steps=40)
    made = newest_round(runs, tmp_path / "out", initial_agent(start, tmp_path), name)
    kept = made.kept["chunk"] if name == "fpo" else made.kept["chain"][:, -1].clamp(-1, 1)
    window = made.windows.gather(made.frames)
    normaliser = load_agent(runs[name])[0].normaliser
    acted, mask = normaliser.scale_actions(window.actions)[:, :2], window.action_mask[:, :2]
    assert torch.allclose(kept[:, :2][mask], acted[mask], atol=1e-3) and mask.sum() > 30
    assert kept.std() > 0.05


def test_episodes_of_a_group_begin_at_one_start_and_go_apart(runs, tmp_path):
    go(start_of(runs, "grpo"), tmp_path / "out", steps=40)
    lines = read_episodes(tmp_path / "out/replay")[:4]
    assert [line.start_seed for line in lines[::2]] == [line.start_seed for line in lines[1::2]]
    assert lines[0].start_seed != lines[2].start_seed
    assert len({line.fingerprint for line in lines}) == 4
    rows = [json.loads(row) for row in (tmp_path / "out/online.jsonl").read_text().splitlines()]
    counted = [row["discarded_groups"] for row in rows if row["kind"] == "round" and row["episodes"]]
    alike = [a.success == b.success for a, b in zip(lines[::2], lines[1::2], strict=True)]
    assert counted[0] == sum(alike)


# --------------------------------------------------------------------------------------------------------- interruption


def test_the_kl_limit_ends_the_updates_of_a_round_and_the_account_says_so(whole):
    out, account = whole
    assert 0 < account["skipped"] < account["updates"]
    rows = [json.loads(row) for row in (out / "online.jsonl").read_text().splitlines()]
    assert all(not row["skipped"] for row in rows if row["kind"] == "round" and row["critic_only"])
    assert account["critic_only_updates"] > 0 and account["warm_up_steps"] >= 100


def test_a_run_of_fewer_steps_goes_on_as_if_it_had_been_longer(runs, whole, tmp_path):
    go(start_of(runs, "ppo"), tmp_path / "out", steps=200, workers=2)
    go(start_of(runs, "ppo"), tmp_path / "out")
    assert learned(tmp_path / "out") == learned(whole[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OWN if name != "grpo"])  # on this line its groups end alike
@pytest.mark.parametrize("place, count", [("update", 3), ("line", 7), ("rows", 30), ("checkpoint", 2), ("point", 2)])
def test_a_killed_run_goes_on_and_collects_nothing_twice(runs, whole, tmp_path, name, place, count):
    uninterrupted = tmp_path / "uninterrupted"
    policy = start_of(runs, name).run.policy.model_dump(mode="json")
    parts = ("objective", "action_head", "critic", "n_step", "optim", "online")
    method = {"description": name} | {part: policy[part] for part in parts if policy[part] is not None}
    go(toy_online.start_of(runs[name], tmp_path, method=method), uninterrupted)
    code = killed(runs[name], tmp_path, tmp_path / "out", place, count, method=method)
    assert code == -signal.SIGKILL
    account = go(toy_online.start_of(runs[name], tmp_path, method=method), tmp_path / "out")
    assert learned(tmp_path / "out") == learned(uninterrupted)
    assert account["env_steps"] == json.loads((uninterrupted / "online.json").read_text())["env_steps"]


# ------------------------------------------------------------------------------------------------------------- refusals


def refused(runs, name, *settings):
    """The sentence, before a folder is begun."""
    out = runs[name].parent / "refused"
    with pytest.raises(UsageError) as error:
        go(start_of(runs, name, *settings), out)
    assert not out.exists()
    return str(error.value)


def test_a_head_without_a_likelihood_is_refused(runs):
    runs = runs | {"ppo": runs["fpo"], "fpo": runs["ppo"]}
    assert "needs the likelihood of an action, and the action head 'flow' has none" in refused(runs, "ppo")
    assert "or learn by fpo or reinflow" in refused(runs, "ppo")
    assert "set action_head.kind to flow" in refused(runs, "fpo")


def test_a_group_above_the_starts_of_a_round_is_refused(runs):
    assert "group (8) cannot exceed the 4 episodes of a round" in refused(
        runs, "grpo", "policy.online.collection.group=8"
    )
    assert "no multiple of group (3)" in refused(runs, "grpo", "policy.online.collection.group=3")
    assert "set online.collection.group above 1" in refused(runs, "grpo", "policy.online.collection.group=1")


@pytest.mark.parametrize(
    "setting, sentence",
    [
        ("policy.online.replay.mix=half", "learns from its own rounds alone"),
        ("policy.online.updates=2", "leave online.updates out"),
        ("policy.online.collection.noise=0.1", "set online.collection.noise to 0"),
        ("policy.online.collection.selection={acting: mode}", "samples of the action head"),
        ("policy.n_step=4", "set n_step to execute"),
        ("policy.online.warm_up.critic_updates=3", "the critic learns from each round"),
        ("policy.online.warm_up.selection={acting: mode}", "leave online.warm_up.selection out"),
        ("policy.optim.policy_ema=0.9", "set optim.policy_ema to 0"),
        ("policy.online.replay.outcomes=success", "learns from failures too"),
    ],
)
def test_what_would_make_the_likelihood_another_is_refused(runs, setting, sentence):
    assert sentence in refused(runs, "ppo", setting)


def test_a_warm_up_without_a_critic_and_an_entropy_of_a_flow_are_refused(runs):
    assert "no critic that could learn in a warm-up" in refused(runs, "grpo", "policy.online.warm_up.steps=10")
    assert "a flow does not tell its entropy" in refused(runs, "fpo", "policy.objective.params.entropy=0.1")


def test_they_do_not_train_on_data(runs, tmp_path):
    run = read_run(runs["ppo"])
    policy = start_of(runs, "ppo").run.policy
    with pytest.raises(UsageError, match="go on with `robo-orl online RUN --method ppo`"):
        train(run.model_copy(update={"policy": policy}), tmp_path / "run", progress=False)


def test_every_method_has_a_file_that_says_what_it_does():
    for name in OWN:
        assert name in available("policies/online") and OBJECTIVES[name].on_policy
    assert parse(PolicyConfig, {"name": "x"}, "here").online is None
