"""Settings: one frozen, validated record. A setting is one field, and what is said of it stands there."""

from anoclust_core.config.images import DEFAULT_BACKBONE, RECIPE_SIDES, DataConfig, EmbedConfig, StoreConfig
from anoclust_core.config.method import (
    COUNT_ONCE,
    DEFAULT_STORE_BUDGET,
    BlindConfig,
    DetectorConfig,
    GroupConfig,
    PairConfig,
    WeighConfig,
)
from anoclust_core.config.nights import NightConfig
from anoclust_core.config.run import RunConfig

__all__ = [
    "COUNT_ONCE",
    "DEFAULT_BACKBONE",
    "DEFAULT_STORE_BUDGET",
    "RECIPE_SIDES",
    "BlindConfig",
    "DataConfig",
    "DetectorConfig",
    "EmbedConfig",
    "GroupConfig",
    "NightConfig",
    "PairConfig",
    "RunConfig",
    "StoreConfig",
    "WeighConfig",
]
