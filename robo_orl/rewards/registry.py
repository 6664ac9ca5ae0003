"""The sources of rewards by name. A new source is one file and one line; outside, a class and an entry point."""

from __future__ import annotations

from robo_orl.base.errors import unknown
from robo_orl.base.plugins import with_plugins
from robo_orl.config import RewardConfig
from robo_orl.config.presets import preset_values
from robo_orl.config.reading import parse
from robo_orl.rewards.classifier import Classifier
from robo_orl.rewards.column import Column
from robo_orl.rewards.constant import Constant
from robo_orl.rewards.csil import Csil
from robo_orl.rewards.dense import Dense
from robo_orl.rewards.discriminator import Oril, Smodice
from robo_orl.rewards.iq_learn import IQLearn
from robo_orl.rewards.nearest import Nearest
from robo_orl.rewards.preferences import Preferences
from robo_orl.rewards.progress import Progress
from robo_orl.rewards.shuffled import Shuffled
from robo_orl.rewards.source import Source
from robo_orl.rewards.stages import Stages
from robo_orl.rewards.steps_to_go import StepsToGo
from robo_orl.rewards.stride import Stride
from robo_orl.rewards.success import Success
from robo_orl.rewards.transport import Transport

OURS: dict[str, type[Source]] = {
    "success": Success,
    "stages": Stages,
    "steps_to_go": StepsToGo,
    "dense": Dense,
    "constant": Constant,
    "shuffled": Shuffled,
    "column": Column,
    "classifier": Classifier,
    "progress": Progress,
    "stride": Stride,
    "preferences": Preferences,
    "nearest": Nearest,
    "transport": Transport,
    "smodice": Smodice,
    "oril": Oril,
    "iq_learn": IQLearn,
    "csil": Csil,
}
SOURCES = with_plugins(OURS, "rewards", Source)


def make_source(config: RewardConfig) -> Source:
    """The source of a configuration; UsageError for an unknown one, and for options that it does not take."""
    if config.source not in SOURCES:
        raise unknown("source of rewards", config.source, SOURCES)
    return SOURCES[config.source](config)


def load_reward(name: str) -> RewardConfig:
    """A reward by the name of its file in tasks/rewards/, or by path."""
    return parse(RewardConfig, preset_values("tasks/rewards", name), f"reward '{name}'")
