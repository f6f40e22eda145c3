"""What a supervisor is started with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...ipc.config.settings import BackgroundConfig


@dataclass(frozen=True)
class Source:
    """A function that reads the configuration, and the command that starts a fork server."""

    read: Callable[[], tuple[BackgroundConfig, list[Path]]]
    fork_server: list[str]
