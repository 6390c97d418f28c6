"""Configuration: frozen dataclasses <- TOML <- `--set`. Host only."""

from charrnn.config.files import (
    Table,
    build,
    checked,
    dump,
    keyed,
    merged,
    parse,
    parse_settings,
    presets,
    read,
    table,
    whole,
)
from charrnn.config.schema import Config, DataConfig, LogConfig, ModelConfig, OptimizerConfig, TrainConfig, size

__all__ = [
    "Config",
    "DataConfig",
    "LogConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Table",
    "TrainConfig",
    "build",
    "checked",
    "dump",
    "keyed",
    "merged",
    "parse",
    "parse_settings",
    "presets",
    "read",
    "size",
    "table",
    "whole",
]
