"""Presets: one TOML file for each agent that is known without a configuration."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@functools.cache
def presets() -> tuple[str, ...]:
    """Return the names of the presets."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def is_preset(name: str) -> bool:
    """Return True if a preset has this name. This does not list the folder."""
    return name.isprintable() and "/" not in name and (_FOLDER / f"{name}.toml").is_file()


def text(name: str) -> str:
    """Return the text of a preset's file, which a user may copy and change."""
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")


@functools.cache
def preset(name: str) -> Mapping[str, Any]:
    """Return the settings of a preset's agent."""
    import tomllib  # needed only to run an agent

    found: Mapping[str, Any] = tomllib.loads(text(name))["agents"][name]
    return found
