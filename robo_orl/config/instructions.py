"""Instructions: the sentence of a task, paraphrases of it for training, and paraphrases held out for evaluation."""

from __future__ import annotations

from robo_orl.base.errors import UsageError
from robo_orl.config import Strict, TaskConfig, parse, read_yaml
from robo_orl.config.presets import preset_folders

FILE = "paraphrases.yaml"


class Paraphrases(Strict):
    """Other words for one instruction."""

    training: list[str] = []
    held_out: list[str] = []


def training_sentences(task: TaskConfig) -> list[str]:
    """The task's instruction and its paraphrases for training; UsageError where the task has none."""
    if not task.instruction:
        raise UsageError(f"The task {task.name} has no instruction, and the policy reads it: give the task one.")
    return [task.instruction, *_paraphrases(task).training]


def held_out_sentences(task: TaskConfig) -> list[str]:
    """The paraphrases that no policy reads in training; UsageError where there is none."""
    sentences = _paraphrases(task).held_out
    if not sentences:
        raise UsageError(
            f"No paraphrase of '{task.instruction}' is held out: add some to tasks/instructions/{FILE}, also in a "
            "folder of your own (--presets)."
        )
    return sentences


def _paraphrases(task: TaskConfig) -> Paraphrases:
    """Those of the first file that knows the sentence, the user's own first."""
    for folder in preset_folders("tasks/instructions"):
        if (folder / FILE).is_file():
            values = read_yaml(folder / FILE).get(task.instruction)
            if values is not None:
                return parse(Paraphrases, values, f"{folder / FILE}, '{task.instruction}'")
    return Paraphrases()
