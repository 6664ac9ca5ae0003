"""Configurations as values: the schemas of policies/, tasks/, tasks/suites/ and of a run; unknown keys are refused."""

from robo_orl.config.online import ImitationConfig, OnlineConfig
from robo_orl.config.policies import (
    SIZES,
    ActionHeadConfig,
    BackboneConfig,
    CriticConfig,
    ExtractionConfig,
    GammaConfig,
    LoraConfig,
    ObjectiveConfig,
    ObservationConfig,
    OptimConfig,
    PolicyConfig,
    Topology,
)
from robo_orl.config.reading import apply_overrides, deep_merge, parse, read_yaml
from robo_orl.config.references import ReferenceConfig
from robo_orl.config.regimes import OUTCOME_VARIANTS, REGIMES, OutcomeVariant, Regime, amount_of, split_regime
from robo_orl.config.rewards import LabelNoise, RewardConfig
from robo_orl.config.runs import DataReading, OnTheWay, RunConfig, TaskData
from robo_orl.config.selection import SelectionConfig
from robo_orl.config.strict import PlainName, Strict, T, sha256_of
from robo_orl.config.suites import (
    Choice,
    CostConfig,
    CurveRequest,
    DataRequest,
    EvaluationRequest,
    GridConfig,
    OfficialFile,
    PolicyChoice,
    ReferenceChoice,
    SuiteConfig,
)
from robo_orl.config.tasks import LOOPS, START_BANKS, Loop, StartBankName, TaskConfig, View

__all__ = [
    "ActionHeadConfig",
    "BackboneConfig",
    "Choice",
    "CostConfig",
    "CriticConfig",
    "CurveRequest",
    "DataReading",
    "DataRequest",
    "EvaluationRequest",
    "ExtractionConfig",
    "GammaConfig",
    "GridConfig",
    "ImitationConfig",
    "LOOPS",
    "LabelNoise",
    "Loop",
    "LoraConfig",
    "ObjectiveConfig",
    "OUTCOME_VARIANTS",
    "ObservationConfig",
    "OfficialFile",
    "OnTheWay",
    "OnlineConfig",
    "OptimConfig",
    "OutcomeVariant",
    "PlainName",
    "PolicyChoice",
    "PolicyConfig",
    "ReferenceChoice",
    "REGIMES",
    "ReferenceConfig",
    "Regime",
    "RewardConfig",
    "RunConfig",
    "SIZES",
    "START_BANKS",
    "SelectionConfig",
    "StartBankName",
    "Strict",
    "SuiteConfig",
    "T",
    "TaskConfig",
    "TaskData",
    "Topology",
    "View",
    "amount_of",
    "apply_overrides",
    "deep_merge",
    "parse",
    "read_yaml",
    "sha256_of",
    "split_regime",
]
