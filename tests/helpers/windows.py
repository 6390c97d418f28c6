"""Simulate the name of Windows."""

from __future__ import annotations

import os
from types import ModuleType, SimpleNamespace

import pytest


def pretend_windows(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Let one module see the name of Windows. (For the whole process, pathlib could make no path any more.)"""
    monkeypatch.setattr(module, "os", SimpleNamespace(**vars(os) | {"name": "nt"}))
