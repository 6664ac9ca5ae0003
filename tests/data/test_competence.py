"""An oracle knows who was competent, by the names that a recording gives its operators, and draws from those alone."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import episode, write

from robo_orl.base.errors import UsageError
from robo_orl.config.presets import load_task
from robo_orl.data.cache import open_cache
from robo_orl.data.competence import COMPETENT, OTHERS, competent_frames
from robo_orl.data.windows import PairedWindows


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A function: episodes with these operators, twelve frames each, their first stage complete after frame 6."""
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))

    def made(*operators):
        episodes = [episode(12, i % 2 == 0, i, operator=operator) for i, operator in enumerate(operators)]
        return open_cache(write(tmp_path / "a.hdf5", episodes))

    return made


def test_a_part_of_an_episode_is_competent_by_its_letter(recorded):
    frames = competent_frames(recorded("stitch_cf", "stitch_fc", "stitch_cc", "stitch_ff", "stitch_c"))
    assert np.split(frames, 5)[0].tolist() == [True] * 7 + [False] * 5  # the action of frame 6 completes the stage
    assert np.split(frames, 5)[1].tolist() == [False] * 7 + [True] * 5
    assert [part.all() for part in np.split(frames, 5)] == [False, False, True, False, True]


def test_whole_episodes_are_competent_by_their_operator(recorded):
    frames = competent_frames(recorded("fair", "misser", "expert"))
    assert [part.tolist() for part in np.split(frames, 3)] == [[True] * 12, [False] * 12, [True] * 12]


def test_files_that_do_not_say_and_files_without_anybody_competent_are_refused(recorded):
    with pytest.raises(UsageError, match="names 'steady' as an operator.*train `bc` or `filtered_bc`"):
        competent_frames(recorded("expert", "steady"))
    with pytest.raises(UsageError, match="names nobody as an operator"):
        competent_frames(replace(recorded("expert"), operators=[""]))
    with pytest.raises(UsageError, match="No operator of .* was competent"):
        competent_frames(recorded("quitter", "stitch_ff"))


@pytest.mark.parametrize("regime", ["stitch+permuted", "stitch+permuted@stages_25"])
def test_stages_of_other_episodes_do_not_say_who_was_at_work(regime, recorded):
    arrays = replace(recorded("stitch_cf", "stitch_fc"), regime=regime)
    with pytest.raises(UsageError, match="has the stages of other episodes .permuted.*on the file that it was made of"):
        competent_frames(arrays)


@pytest.mark.parametrize("task", ["chain4", "chain1", "lift"])
def test_the_names_are_those_of_the_operators_without_a_bad_habit(task, recorded):
    """By the styles that a recording is planned with, which the names stand for."""
    from robo_orl.envs.demonstrators.regimes import REGIMES, plan

    seen = set()
    controls = {"half_fast", "never_whole"} if task != "chain4" else set()  # which are of several cubes
    for regime in REGIMES.keys() - controls:
        for item in plan(load_task(task), regime, 12):
            able = [_has_no_bad_habit(style) for style in item.styles]
            able[: item.begun] = [False] * item.begun  # nobody works on what lies in its place
            if not any(able):
                able, operators = [*able, True], (item.operator, "expert")
            else:
                operators = (item.operator,)
            frames = competent_frames(_at_stages(recorded(*operators), item.styles))
            assert frames[:12].tolist() == [able[min(i // 3, len(item.styles) - 1)] for i in range(12)], item.operator
            seen.add(item.operator)
    assert (COMPETENT | OTHERS) - seen == ({"quitting"} if task != "lift" else {"misplacing"})


def _has_no_bad_habit(style):
    clean = style.detour == style.drop == style.early_release == style.misplace == 0
    clean = clean and (style.short == 0 or style.name == "competent")  # within the zone, at the last cube
    return clean and style.miss <= 0.2 and style.give_up <= 0.05 and style.name != "slow"


def _at_stages(arrays, styles):
    """The same episodes, with a stage completed every third frame."""
    stages = np.stack([(np.arange(12) >= 3 * k - 1) for k in (1, 2, 3)], axis=1)
    return replace(arrays, stages=np.concatenate([stages] * len(arrays)).astype(np.uint8))


@pytest.mark.parametrize("cut_short", [False, True])
def test_windows_of_a_part_are_those_of_a_file_that_holds_the_part_alone(recorded, cut_short):
    arrays = recorded("stitch_cf", "stitch_fc", "stitch_ff", "stitch_cc")
    part = competent_frames(arrays)
    runs = [(0, 7), (19, 24), (36, 48)]  # first frame, end
    kept = np.concatenate([np.arange(*run) for run in runs])
    alone = replace(
        arrays,
        observations=arrays.observations[kept],
        actions=arrays.actions[kept],
        rewards=arrays.rewards[kept],
        stages=arrays.stages[kept],
        starts=np.cumsum([0, *(end - first for first, end in runs)]),
        success=arrays.success[[0, 1, 3]],
        terminal=np.array([False, arrays.terminal[1], arrays.terminal[3]]),
        names=arrays.names[:3],
    )
    ours = PairedWindows(arrays, 4, 3, 0.9, cut_short=cut_short, part=part)
    theirs = PairedWindows(alone, 4, 3, 0.9, cut_short=cut_short)
    assert ours.frames.tolist() == kept.tolist()
    mine, other = ours.gather(ours.frames), theirs.gather(theirs.frames)
    for name in ("actions", "action_mask", "next_actions", "next_action_mask", "td_valid", "discount"):
        assert np.array_equal(getattr(mine, name), getattr(other, name)), name
    for name in ("obs", "next_obs"):
        left, right = getattr(mine, name).low_dim, getattr(other, name).low_dim
        assert all(np.array_equal(left[key], right[key]) for key in left)
