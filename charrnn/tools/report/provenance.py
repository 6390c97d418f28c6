"""How to repeat a run: the command, its configuration against the nearest preset, and what computed it."""

from __future__ import annotations

import shlex
from typing import Any

from charrnn import config
from charrnn.run_files import CONFIG
from charrnn.tools.report.finished import Finished, directory_of

NOT_COMPARED = {
    *("data.files", "data.shuffle_documents", "model.start_symbol"),
    *("train.init_sha256", "train.device", "train.shards"),
}
"""The text, and keys that every run sets by itself, from the text and the machine."""


def provenance(run: Finished) -> dict[str, Any]:
    """Return the rerun command, the differences to a preset, the text with its hash, and the environment."""
    settings = config.table(run.model.config)
    preset, differences = nearest_preset(settings)
    directory = directory_of(run.path)
    files = list(run.model.config.data.files)
    return {
        "command": None if directory is None else shlex.join(rerun(str(directory))),
        "preset": preset,
        "differences": differences,
        "files": files,
        "sha256": run.model.training_text_hash(),
        "characters": sum(run.model.vocabulary.counts),
        "checkpoint": str(run.model.source),
        "environment": {name: shown(value) for name, value in run.environment.items() if value not in (None, "")},
        "config": config.dump(run.model.config),
    }


def rerun(directory: str) -> list[str]:
    """Return the command that repeats a run: its configuration has every key, also the files of the text."""
    return [
        "charrnn",
        "train",
        "--config",
        f"{directory.rstrip('/')}/{CONFIG}",
        "--out",
        f"{directory.rstrip('/')}-again",
    ]


def nearest_preset(settings: config.Table) -> tuple[str, list[list[str]]]:
    """Return the preset with the fewest different keys, and [key, value of the run, value of the preset] of each."""
    best: tuple[str, list[list[str]]] | None = None
    for name in sorted(config.presets(), key=lambda name: (name != "quickstart", name)):
        values = config.table(config.build(config.read(name)))
        differences = [
            [f"{section}.{key}", shown(value), shown(values[section][key])]
            for section, keys in settings.items()
            for key, value in keys.items()
            if f"{section}.{key}" not in NOT_COMPARED and values[section][key] != value
        ]
        if best is None or len(differences) < len(best[1]):
            best = name, differences
    return best or ("", [])


def shown(value: Any) -> str:
    """Return a value of a configuration or an environment as TOML would show it, more or less."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {one}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else repr(value) if value == "" else str(value)
