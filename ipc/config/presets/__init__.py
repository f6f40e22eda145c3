"""The agents that are known without a configuration: one TOML file each, to be overridden key by key."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@functools.cache
def presets() -> tuple[str, ...]:
    """Their names."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def text(name: str) -> str:
    """A preset as it is written, to be copied and changed."""
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")


@functools.cache
def preset(name: str) -> Mapping[str, Any]:
    """What a preset says of its agent."""
    import tomllib  # only who runs an agent pays for it

    found: Mapping[str, Any] = tomllib.loads(text(name))["agents"][name]
    return found
