"""Rewards by imitation: against known densities, closed forms and numpy; in the loop bit for bit; what is refused."""

import copy
import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_online import METHOD, go, killed, launched, learned, start_of

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import derive_seed
from robo_orl.config import ImitationConfig, deep_merge
from robo_orl.engine.checkpoint import checkpoints
from robo_orl.online.imitation.points import PointScale, Side
from robo_orl.online.imitation.registry import make_reward
from robo_orl.online.imitation.reward import RewardedWindows
from robo_orl.online.opening import IMITATION, open_imitation, open_windows
from robo_orl.rewards.discriminator import cross_entropy

SMALL = {"hidden": 32, "batch": 512, "lr": 0.01}
DAC = deep_merge(METHOD, {"online": {"imitation": {"source": "dac", "params": {"hidden": 16, "batch": 32}}}})
SCALE = PointScale(np.zeros(2), np.ones(2), action_dim=1)


def source_of(name, scale=SCALE, **values):
    return make_reward(ImitationConfig(source=name, **values), scale, seed=0)


def side(states, ends=0):
    """Frames of two numbers and one action, in rows of `states` (F, 3)."""
    states = np.asarray(states, np.float32)
    arrays = SimpleNamespace(observations=states[:, :2], actions=states[:, 2:])
    return Side(arrays, np.arange(len(states)), ends)


# ---------------------------------------------------------------------------------------------------- the discriminator

STATES = np.array([[0.0, 0.0, 0.5], [1.0, 0.0, -0.5], [0.0, 1.0, 0.0]])
SHOWN, OWN = (7, 2, 1), (2, 3, 5)  # of ten frames, in each of three states


def test_the_discriminator_finds_the_log_ratio_of_known_densities():
    """D* = p / (p + q): its logit is ln(7/2), ln(2/3), ln(1/5)."""
    made, same = source_of("gail", params=SMALL), source_of("gail", params=SMALL)
    shown, own = side(STATES.repeat(SHOWN, axis=0)), side(STATES.repeat(OWN, axis=0))
    for step in range(300):
        made.learn(shown, own, 0, step)
        same.learn(own, own, 0, step)
    points = SCALE.points(shown.arrays, np.array([0, 7, 9]))
    expected = np.log(np.array(SHOWN) / OWN)
    np.testing.assert_allclose(made.logits(points).detach().numpy(), expected, atol=0.3)
    assert same.logits(points).abs().max() < 0.3, "shown what it is compared with, it says one half"


def test_the_risk_is_least_at_the_log_ratio():
    logits = torch.log(torch.tensor(SHOWN).double() / torch.tensor(OWN)).requires_grad_()
    shown, own = (torch.arange(3).repeat_interleave(torch.tensor(counts)) for counts in (SHOWN, OWN))
    (gradient,) = torch.autograd.grad(cross_entropy(logits[shown], logits[own]), logits)
    assert gradient.abs().max() < 1e-9


def test_an_update_is_that_of_adam_on_risk_and_penalty():
    made = source_of("dac", params={"hidden": 8, "batch": 64})
    twin = copy.deepcopy(made.network)
    optimiser = torch.optim.Adam(twin.parameters(), made.params.lr)
    shown, own = side(STATES.repeat(SHOWN, axis=0), ends=2), side(STATES.repeat(OWN, axis=0))
    for step in range(4):
        made.learn(shown, own, 3, step)
        bits = np.random.Philox(key=derive_seed(3, step, "imitation")).random_raw(96)
        good = SCALE.points(shown.arrays, shown.draw(bits[:32]))
        rest = SCALE.points(own.arrays, own.draw(bits[32:64]))
        share = torch.tensor([int(b) // 2**40 / 2**24 for b in bits[64:]])[:, None]
        between = (share * good + (1 - share) * rest).requires_grad_()
        (slope,) = torch.autograd.grad(twin(between).sum(), between, create_graph=True)
        yes, no = twin(good).sigmoid(), twin(rest).sigmoid()
        loss = -yes.log().mean() - (1 - no).log().mean() + 10 * ((slope.norm(dim=1) - 1) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for ours, theirs in zip(made.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-4)


def test_without_actions_the_discriminator_sees_observations_alone():
    made = source_of("dac", params={"actions": False, "hidden": 8, "batch": 16})
    points, other = torch.randn(5, 4), torch.randn(5, 1)
    acted = torch.cat((points[:, :2], other, points[:, 3:]), dim=1)
    assert torch.equal(made.reward(points), made.reward(acted))
    assert not torch.equal(made.reward(points), made.reward(points + 1.0))
    weights = made.network[0].weight[:, 2].clone()
    made.learn(side(STATES), side(STATES[::-1]), 0, 0)
    assert torch.equal(made.network[0].weight[:, 2], weights)


def test_an_absorbing_state_is_drawn_as_often_as_a_frame():
    ended = side(STATES, ends=2)
    drawn = ended.draw(np.arange(1000, dtype=np.uint64))
    assert np.bincount(drawn + 1).tolist() == [400, 200, 200, 200]
    point = SCALE.points(ended.arrays, np.array([-1]))
    assert point.tolist() == [[0.0, 0.0, 0.0, 1.0]]


# -------------------------------------------------------------------------------------------------------------- rewards


@pytest.mark.parametrize(
    "source, form",
    [
        ("gail", lambda d: -np.log(1 - d) / np.log1p(np.exp(5.0))),
        ("dac", lambda d: (np.log(d) - np.log(1 - d)) / 5.0),
    ],
    ids=["gail", "dac"],
)
def test_a_reward_has_its_closed_form_and_is_cut(source, form):
    made = source_of(source)
    points = torch.randn(50, 4)
    d = torch.sigmoid(made.logits(points)).detach().double().numpy()
    np.testing.assert_allclose(made.reward(points).detach().numpy(), form(d), atol=1e-5)
    with torch.no_grad():
        made.network[-1].weight.mul_(1e4)
    cut = made.reward(torch.randn(200, 4)).detach()
    assert cut.max() == 1.0 and cut.min() >= (-1.0 if source == "dac" else 0.0)


@pytest.fixture
def windows(cloned, tmp_path):
    return open_windows(start_of(cloned, tmp_path, method=DAC))


@pytest.mark.parametrize("source", ["gail", "dac"])
def test_the_rewards_of_a_pair_are_summed_as_a_loop_sums_them(windows, source):
    """Of every frame: n rewards, and past a terminal those of the absorbing state for ever."""
    arrays, n, gamma = windows.arrays, windows.n, windows.gamma
    made = source_of(source, PointScale(np.zeros(1), np.ones(1), 1))
    at = np.arange(len(arrays.rewards))
    batch = RewardedWindows(windows, made).gather(at)
    for frame in at:
        episode = arrays.episode_of_frame[frame]
        end, total = arrays.starts[episode + 1], 0.0
        for k in range(10_000):
            if k >= n and not (arrays.terminal[episode] and frame + n >= end):
                break
            if frame + k < end:
                seen = np.concatenate((arrays.observations[frame + k], arrays.actions[frame + k], [0.0]))
            elif arrays.terminal[episode] and source == "dac":
                seen = np.array([0.0, 0.0, 1.0])
            else:
                break
            point = torch.from_numpy(seen.astype(np.float32))[None]
            total += gamma**k * (1 - gamma) * float(made.reward(point).detach())
            if frame + k >= end and gamma**k < 1e-7:
                break
        assert float(batch.reward[frame]) == pytest.approx(total, abs=1e-5)
    plain = windows.gather(at)
    assert torch.equal(batch.discount, plain.discount) and torch.equal(batch.td_valid, plain.td_valid)


def test_the_tasks_rewards_and_returns_are_not_in_a_pair(windows):
    made = source_of("dac", PointScale(np.zeros(1), np.ones(1), 1))
    at = np.arange(len(windows.arrays.rewards))
    first = RewardedWindows(windows, made).gather(at)
    assert first.return_to_go.isnan().all() and first.next_return_to_go.isnan().all()
    assert not torch.equal(first.reward, windows.gather(at).reward)
    with torch.no_grad():
        made.network[-1].bias += 1.0
    assert not torch.equal(RewardedWindows(windows, made).gather(at).reward, first.reward), "it is that of the moment"


def test_disagreement_is_the_covariance_of_the_cloned_actions_along_the_action():
    made = source_of("dril", params={"steps": 1})
    points = torch.randn(6, 4)
    said = [member(points[:, :2]).clamp(-1, 1).detach().numpy() for member in made.members]
    for row, point in enumerate(points):
        covariance = np.cov(np.stack([each[row] for each in said]).T).reshape(1, 1)
        action = point[2:3].numpy()
        assert float(made.cost(points)[row]) == pytest.approx(float(action @ covariance @ action), rel=1e-4, abs=1e-7)


def test_cloned_policies_agree_on_demonstrations_and_not_elsewhere():
    draw = np.random.default_rng(0)
    seen = draw.normal(size=(400, 2)) * 0.3
    demonstrations = side(np.column_stack((seen, np.where(seen[:, 0] > 0, 0.8, -0.8))))
    made = source_of("dril", params={"steps": 300, "hidden": 32, "batch": 64})
    made.begin(demonstrations)
    points = SCALE.points(demonstrations.arrays, demonstrations.frames)
    assert (made.reward(points) > 0).float().mean() == pytest.approx(0.98, abs=0.005)
    away = points.clone()
    away[:, 1] += 6.0
    assert (made.reward(away) > 0).float().mean() < 0.5
    untaught = source_of("dril", learns=False)
    before = copy.deepcopy(untaught.members.state_dict())
    untaught.begin(demonstrations)
    assert all(torch.equal(tensor, before[name]) for name, tensor in untaught.members.state_dict().items())


# ------------------------------------------------------------------------------------------------------------- the loop


@pytest.fixture(scope="module")
def whole(cloned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imitated")
    go(start_of(cloned, folder, method=DAC), folder / "out", steps=200)
    return folder / "out"


def test_a_checkpoint_holds_what_the_discriminator_has_learned(cloned, whole, tmp_path):
    start = start_of(cloned, tmp_path, method=DAC)
    first = open_imitation(start).source.state_dict()
    from safetensors.torch import load_file

    stored = load_file(checkpoints(whole)[-1] / IMITATION)
    updates = int(checkpoints(whole)[-1].name[5:])
    assert int(stored["updates"]) == updates and stored.keys() == first.keys()
    assert not torch.equal(stored["network.0.weight"], first["network.0.weight"])
    rows = [json.loads(line) for line in (whole / "online.jsonl").read_text().splitlines()]
    assert any("imitation/accuracy" in row.get("metrics", {}) for row in rows)


def test_two_simulator_processes_change_no_reward(cloned, whole, tmp_path):
    go(start_of(cloned, tmp_path, method=DAC), tmp_path / "out", steps=200, workers=2)
    assert learned(tmp_path / "out") == learned(whole)


@pytest.mark.slow
def test_every_process_of_a_team_learns_the_same_rewards_as_one(cloned, tmp_path):
    """Before anything that was learned acts, as in test_team.py."""
    go(start_of(cloned, tmp_path, method=DAC), tmp_path / "one", steps=100)
    done = launched(cloned, tmp_path, tmp_path / "two", steps=100, method=DAC)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = ((checkpoints(tmp_path / out)[-1] / IMITATION).read_bytes() for out in ("one", "two"))
    assert one == two


@pytest.mark.slow
@pytest.mark.parametrize("place, count", [("update", 7), ("checkpoint", 1)])
def test_a_killed_run_goes_on_with_the_rewards_that_it_had(cloned, whole, tmp_path, place, count):
    assert killed(cloned, tmp_path, tmp_path / "out", place, count, 200, DAC) == -signal.SIGKILL
    go(start_of(cloned, tmp_path, method=DAC), tmp_path / "out", steps=200)
    assert learned(tmp_path / "out") == learned(whole)


@pytest.mark.slow
@pytest.mark.parametrize("imitation", [
    {"source": "gail", "params": {"hidden": 16, "batch": 32, "recent": 2}},
    {"source": "gail", "params": {"hidden": 16, "batch": 32}, "shown": "collected"},
    {"source": "dril", "params": {"hidden": 16, "steps": 20}},
])  # fmt: skip
def test_every_source_goes_on_bit_for_bit(cloned, tmp_path, imitation):
    method = METHOD | {"online": METHOD["online"] | {"imitation": imitation}}
    start = start_of(cloned, tmp_path, method=method)
    go(start, tmp_path / "whole", steps=300)
    go(start, tmp_path / "out", steps=200)
    go(start, tmp_path / "out", steps=300)
    assert learned(tmp_path / "out") == learned(tmp_path / "whole") and learned(tmp_path / "out")["imitation"]


def test_the_control_at_random_stays_as_it_began(cloned, tmp_path):
    from safetensors.torch import load_file

    method = deep_merge(DAC, {"online": {"imitation": {"learns": False}}})
    start = start_of(cloned, tmp_path, method=method)
    source, shown = (lambda i: (i.source, i.shown))(open_imitation(start))
    logits = source.logits(source.scale.points(shown.arrays, shown.frames)).detach()
    assert float(logits.mean()) == pytest.approx(0, abs=1e-4) and float(logits.std()) == pytest.approx(1, abs=1e-3)
    go(start, tmp_path / "out", steps=120)
    stored = load_file(checkpoints(tmp_path / "out")[-1] / IMITATION)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in source.state_dict().items())


def test_episodes_of_a_fixed_length_end_with_their_time_whether_they_succeed_or_not(cloned, tmp_path):
    method = deep_merge(DAC, {"online": {"collection": {"ends": "time"}, "replay": {"mix": "half"}}})
    start = start_of(cloned, tmp_path, method=method)
    windows, imitation = open_windows(start), open_imitation(start)
    assert not windows.arrays.terminal.any() and imitation.shown.ends == 0
    batch = RewardedWindows(windows, imitation.source).gather(np.arange(len(windows.arrays.rewards)))
    assert not batch.success.any() and not batch.td_valid[batch.discount == 0].any()
    go(start, tmp_path / "out", steps=200)
    lines = [json.loads(line) for line in (tmp_path / "out/replay/episodes.jsonl").read_text().splitlines()]
    assert {line["length"] for line in lines} == {40} and not any(line["terminal"] for line in lines)
    assert any(line["success"] for line in lines)
    points = [json.loads(line) for line in (tmp_path / "out/online.jsonl").read_text().splitlines()]
    assert any(point.get("solved") for point in points), "an evaluation still ends with its success"


# --------------------------------------------------------------------------------------------------- names and refusals


def test_controls_are_variants_of_every_method(cloned):
    from robo_orl.online.start import resolve_start

    online = {name: resolve_start(cloned, name, 0).run.policy.online for name in (
        "gail+random_reward", "dac+no_demonstrations", "dac+fixed_length", "dac+true_success"
    )}  # fmt: skip
    assert online["gail+random_reward"].imitation == ImitationConfig(source="gail", learns=False)
    assert online["dac+no_demonstrations"].imitation.shown == "collected"
    assert online["dac+fixed_length"].collection.ends == "time"
    assert online["dac+true_success"].imitation is None
    assert resolve_start(cloned, "dac+random_reward", 0).method == "dac_random_reward"
    with pytest.raises(UsageError, match="Unknown online variant 'random_rewrd'. Did you mean 'random_reward'"):
        resolve_start(cloned, "dac+random_rewrd", 0)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"imitation": {"source": "gial"}}, "Unknown source of online.imitation 'gial'. Did you mean 'gail'"),
        ({"imitation": {"params": {"penalti": 1}}}, "Did you mean 'penalty'"),
        ({"imitation": {"demonstrations": 99}}, "shows 99 demonstrations, and 4 episodes of .* succeed: lower"),
        ({"replay": {"outcomes": "success"}}, "reads the success that rewards by imitation go without"),
        ({"imitation": None, "collection": {"ends": "time"}}, "collection.ends time is for rewards by imitation"),
    ],
)
def test_what_does_not_go_together_is_refused(cloned, tmp_path, changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        go(start_of(cloned, tmp_path, method=deep_merge(DAC, {"online": changes})), tmp_path / "out", steps=100)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"critic": {"loss": "hl_gauss"}}, "which critic.loss 'hl_gauss' does not hold: set critic.loss to mse"),
        (
            {"objective": {"name": "bc"}, "critic": None, "selection": {}, "n_step": None}
            | {"online": DAC["online"] | {"warm_up": {}}},
            "the objective 'bc' needs these",
        ),
    ],
)
def test_objectives_that_need_returns_are_refused(cloned, tmp_path, changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        go(start_of(cloned, tmp_path, method=DAC | changes), tmp_path / "out", steps=100)


def test_an_ensemble_has_no_control_without_demonstrations():
    with pytest.raises(UsageError, match="'dril' learns before anything is collected"):
        source_of("dril", shown="collected")
