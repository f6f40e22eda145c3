"""Hints and orders to the supervisor, which arrive through its pipe and as signals."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable

from ...ipc.lines import LineReader, LineTooLong

#: The orders that other processes may write to the pipe. Any other line is a hint.
ORDERS = ("limits", "reload", "down", "down now", "down now requeue")

#: The order to replace the program of the supervisor. The new command follows as JSON.
RESTART = "restart "


class Orders:
    """Passes hints on at once. Orders wait for the next turn."""

    def __init__(self, on_groups: Callable[..., None], on_change: Callable[[], None]) -> None:
        """Call `on_groups` with the names of groups that have new tasks, and `on_change` for any other hint."""
        self._on_groups = on_groups
        self._on_change = on_change
        self._reader = LineReader()
        self._waiting: list[str] = []

    @property
    def is_down(self) -> bool:
        """Return True if a shutdown waits for its turn."""
        return any(order.startswith("down") for order in self._waiting)

    def receive(self, data: bytes) -> None:
        """Handle data from the pipe."""
        self._reader.feed(data)
        try:
            lines = list(self._reader.lines())
        except LineTooLong:  # no process of ours writes such a line
            self._reader, lines = LineReader(), [b""]
        for line in dict.fromkeys(lines):
            self._receive(line.decode(errors="replace"))

    def _receive(self, line: str) -> None:
        if line.startswith('["') and line.endswith('"]'):
            self._on_groups(*json.loads(line))
        elif line in ORDERS or line.startswith(RESTART):
            self._waiting.append(line)
        else:
            self._on_change()

    def reload_or_down(self) -> None:
        """React to SIGHUP: shut down if the terminal was closed, else read the configuration again."""
        self._waiting.append("down" if _terminal_is_gone() else "reload")

    def down(self, is_shutting_down: bool) -> None:
        """React to SIGTERM or Ctrl-C: shut down, or end all tasks at once if a shutdown has begun already."""
        again = is_shutting_down or "down" in self._waiting
        self._waiting.append("down now" if again else "down")

    def execute_all(self, execute: Callable[[str], None]) -> None:
        """Call `execute` with each order. An order that raises an error stays first in line and is tried again."""
        while self._waiting:
            execute(self._waiting[0])
            self._waiting.pop(0)


def _terminal_is_gone() -> bool:
    """Return True if this process had a terminal and lost it, so that reading standard input fails."""
    try:
        os.tcgetpgrp(0)
    except OSError as error:
        return error.errno == errno.EIO  # ENOTTY: it never had a terminal
    return False
