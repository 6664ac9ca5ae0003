"""Every shipped task can be told in other words, and those kept for evaluation are never told in training."""

import pytest
import yaml

from robo_orl.base.errors import UsageError
from robo_orl.config.instructions import held_out_sentences, training_sentences
from robo_orl.config.presets import PRESETS_VARIABLE, available, load_task
from robo_orl.models.backbones.embedding import byte_tokens


@pytest.mark.parametrize("name", sorted(available("tasks")))
def test_a_shipped_task_has_sentences_that_fit_and_others_held_out(name):
    task = load_task(name)
    told, kept = training_sentences(task), held_out_sentences(task)
    assert told[0] == task.instruction and len(told) >= 3 and len(kept) >= 2
    assert not set(told) & set(kept)
    byte_tokens([*told, *kept])


def test_paraphrases_are_no_part_of_a_task():
    assert "paraphrases" not in available("tasks")
    assert load_task("lift").digest() == "0adef97041761763bafe7d74699a3996be8b4cd463664a646e068236cb077a1f"


def test_a_folder_of_ones_own_comes_first(tmp_path, monkeypatch):
    folder = tmp_path / "tasks" / "instructions"
    folder.mkdir(parents=True)
    own = {"lift the red cube": {"training": ["up"], "held_out": ["up with it"]}}
    (folder / "paraphrases.yaml").write_text(yaml.safe_dump(own))
    monkeypatch.setenv(PRESETS_VARIABLE, str(tmp_path))
    assert training_sentences(load_task("lift")) == ["lift the red cube", "up"]
    assert held_out_sentences(load_task("lift")) == ["up with it"]
    (folder / "paraphrases.yaml").write_text("lift the red cube: {heldout: [x]}")
    with pytest.raises(UsageError, match="Did you mean 'held_out'"):
        training_sentences(load_task("lift"))


def test_a_task_without_words_is_refused_with_the_remedy():
    task = load_task("lift")
    with pytest.raises(UsageError, match="no instruction"):
        training_sentences(task.model_copy(update={"instruction": ""}))
    with pytest.raises(UsageError, match="No paraphrase of 'fly' is held out"):
        held_out_sentences(task.model_copy(update={"instruction": "fly"}))
