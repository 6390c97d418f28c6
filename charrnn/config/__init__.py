"""The configuration: its keys, and how it is read from TOML files and `--set`."""

from charrnn.config.files import (
    Table,
    build,
    checked,
    dump,
    is_automatic,
    is_complete,
    keyed,
    merged,
    parse,
    parse_settings,
    presets,
    read,
    table,
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
    "is_automatic",
    "is_complete",
    "keyed",
    "merged",
    "parse",
    "parse_settings",
    "presets",
    "read",
    "size",
    "table",
]
