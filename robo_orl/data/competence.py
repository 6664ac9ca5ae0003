"""Who was competent: the frames of a data file at which an operator without a bad habit was at work.

The operators of `data generate` are named in the file, with the stages that each frame had completed: competence per
frame follows from both, and nothing else is stored. A name "stitch_cf" has a letter for each object, c where its
operator is competent (of half_fast: fast); the operator at work is that of the first object whose stage is not
completed.
"""

from __future__ import annotations

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.config.regimes import regime_parts
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.windows import stages_before

# Of every regime (envs/demonstrators/regimes.py) the operators that have no fault as a habit.
COMPETENT = frozenset({"expert", "better_1", "better_2", "fair"})
OTHERS = frozenset(
    {"okay_1", "okay_2", "worse_1", "worse_2", "misser", "dropper", "idler", "quitter", "misplacer", "misplacing"}
    | {"quitting"}
)
LETTERS = {"stitch_": "cf", "half_fast_": "cs", "never_whole_": "-chb"}  # regime -> the letters of its operators


def competent_frames(arrays: EpisodeArrays) -> np.ndarray:
    """(F,) bool: the frames at which a competent operator was at work.

    UsageError where an episode does not name an operator of ours, where nobody was competent, and where the stages are
    those of other episodes.
    """
    if "permuted" in regime_parts(arrays.regime or ""):
        raise UsageError(
            f"{arrays.path} has the stages of other episodes (permuted), which do not say who was at work when: train "
            "oracle_competent on the file that it was made of."
        )
    able = [_competence(operator, arrays.path) for operator in arrays.operators]  # per episode, one bool an object
    objects = max(map(len, able))
    table = np.array([[*own, *(own[-1:] * (objects - len(own)))] for own in able])  # (E, objects)
    at = np.minimum(stages_before(arrays), objects - 1)  # (F,)
    frames = table[arrays.episode_of_frame, at]
    if not frames.any():
        raise UsageError(f"No operator of {arrays.path} was competent: there is nothing to clone, so train `bc`.")
    return frames


def _competence(operator: str, path: str) -> tuple[bool, ...]:
    """Per object, in order, whether the operator was competent at it; the last one goes on for the rest."""
    for prefix, known in LETTERS.items():
        letters = operator.removeprefix(prefix)
        if operator.startswith(prefix) and letters and set(letters) <= set(known):
            return tuple(letter == "c" for letter in letters)
    if operator in COMPETENT or operator in OTHERS:
        return (operator in COMPETENT,)
    named = f"'{operator}'" if operator else "nobody"
    raise UsageError(
        f"{path} names {named} as an operator, of whom nothing is known: only `robo-orl data generate` says who "
        "was competent; train `bc` or `filtered_bc` on others."
    )
