"""Labels that people gave: their journal, what each costs, and what is refused."""

import json

import pytest
from synthetic import episode, write

from robo_orl.base.errors import UsageError
from robo_orl.config import RewardConfig
from robo_orl.data.cache import open_cache
from robo_orl.rewards.relabel import relabel, reward_of

SUCCESS = RewardConfig(name="bits", source="success")
STAGES = RewardConfig(name="marks", source="stages")


def file_of(tmp_path):
    return write(tmp_path / "a.hdf5", [episode(10 + i, i % 2 == 0, seed=i) for i in range(6)])


def journal(tmp_path, path, *labels, name="ann.jsonl", tail=""):
    sha256 = open_cache(path).sha256
    lines = [json.dumps({"file": sha256, "annotator": "ann", "seconds": 2.5} | label) for label in labels]
    file = tmp_path / name
    file.write_text("\n".join(lines) + "\n" + tail)
    return file


def test_labels_of_a_journal_are_the_reward_and_their_seconds_are_on_the_account(tmp_path):
    path, out = file_of(tmp_path), tmp_path / "out.hdf5"
    given = journal(
        tmp_path,
        path,
        {"episode": "demo_1", "success": False},
        {"episode": "demo_1", "success": True, "seconds": 4.0},  # a person's newest label counts
        {"episode": "demo_2", "success": False},
        tail='{"file": "abc", "episode": "demo_3", "succ',  # a crash in the midst of a line
    )
    relabel(path, SUCCESS, out, (given,))
    assert open_cache(out).success.tolist() == [False, True, False, False, False, False]
    said = reward_of(out)
    assert said["annotation"]["labels"] == 2 and said["annotation"]["seconds"] == 6.5
    assert said["quality"]["episodes"] == 4


def test_stage_marks_are_rewarded_at_their_frames(tmp_path):
    path, out = file_of(tmp_path), tmp_path / "out.hdf5"
    relabel(path, STAGES, out, (journal(tmp_path, path, {"episode": "demo_0", "success": True, "marks": [3, 9]}),))
    arrays = open_cache(out)
    assert (arrays.rewards[:10] > 0.01).nonzero()[0].tolist() == [3, 9] and not arrays.rewards[10:].any()


@pytest.mark.parametrize(
    "reward, labels, sentence",
    [
        (SUCCESS, [{"episode": "demo_9", "success": True}], "Unknown episode of .* 'demo_9'"),
        (SUCCESS, [{"episode": "demo_1", "success": True, "file": "abc"}], "holds labels of another file than"),
        (
            SUCCESS,
            [{"episode": "demo_1", "success": True}, {"episode": "demo_1", "success": False, "annotator": "bob"}],
            "ann and bob contradict each other about demo_1: let one of them label it again",
        ),
        (STAGES, [{"episode": "demo_1", "success": True}], "demo_1 needs 2 stage marks and has none"),
        (STAGES, [{"episode": "demo_1", "success": True, "marks": [1, 99]}], "a mark at frame 99, and 11 frames"),
        (SUCCESS, [{"episode": "demo_1"}, {"episode": "demo_2", "success": True}], "line 1: Field required"),
        (SUCCESS, [], "holds no label; `robo-orl data label` writes them"),
        (RewardConfig(name="c", source="constant"), [], "takes no success bits or stage marks"),
        (SUCCESS.model_copy(update={"labels": 2}), [{"episode": "demo_1", "success": True}], "asks for 2 labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_one_sentence(reward, labels, sentence, tmp_path):
    path = file_of(tmp_path)
    with pytest.raises(UsageError, match=sentence):
        relabel(path, reward, tmp_path / "out.hdf5", (journal(tmp_path, path, *labels),))
    assert not (tmp_path / "out.hdf5").exists()
