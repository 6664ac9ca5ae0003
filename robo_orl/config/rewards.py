"""Sources of rewards as values: the schema of tasks/rewards/, and the label noise of an annotation."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field

from robo_orl.config.strict import PlainName, Strict

Rest = Literal["failure", "drop"]
RESTS: tuple[Rest, ...] = get_args(Rest)


class LabelNoise(Strict):
    """The faults of an annotation. Flips and losses are uniform; the others are systematic: they follow what is seen.

    late_share: of the labelled episodes, those of the one annotator who marks stages late.
    """

    flip: float = Field(0.0, ge=0, le=0.5, description="share of the answers that are the wrong one")
    missing: float = Field(0.0, ge=0, lt=1, description="share of the labels that are lost")
    near_miss: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the labelled failures, those whose ends look most like a success, called one",
    )
    late: int = Field(0, ge=0, description="frames by which stages are marked late")
    late_share: float = Field(1.0, gt=0, le=1, description="of the labelled episodes that are marked late")


class RewardConfig(Strict):
    """A source of rewards, and the annotation that it is given."""

    name: PlainName
    description: str = ""
    version: int = Field(1, ge=1, description="that of the source: raised when what it computes changes")
    source: str = Field(description="a name of the registry in robo_orl/rewards")
    params: dict[str, Any] = Field({}, description="the source's own parameters")
    labels: int | None = Field(
        None, ge=1, description="labels of the kind that the source takes; none: every episode has one"
    )
    noise: LabelNoise = LabelNoise()
    rest: Rest = Field(
        "failure", description="episodes without a label, of a source that generalises to none: failures, or left out"
    )
    best: float = Field(
        0.25, gt=0, le=1, description="share of the episodes called successes by a source that judges no success"
    )
    seed: int = Field(0, ge=0, description="of the choice of episodes, the noise and the training of a model")


def named_by_labels(name: str, labels: int | None) -> str:
    """The name of a reward with another number of labels: `stages` with 25 is `stages_25`."""
    return name if labels is None else f"{name}_{labels}"
