"""Files to which several processes append lines, and which survive every kill. Imports nothing of backburner."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tests.helpers.wait import eventually


class Journal:
    """A file of JSON lines to which several processes append; each line is one write(2), which no kill can tear."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, what: str, **facts: Any) -> None:
        """Append a line with the time in seconds of the monotonic clock."""
        line = json.dumps({"what": what, "at": time.monotonic(), **facts}) + "\n"
        os.write(self._descriptor, line.encode())


class Tail:
    """Reads a growing file by whole lines, each time from where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_lines(self) -> list[str]:
        """Return the whole lines that were appended since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode().splitlines()


def journal_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a journal; a last one without its end is ignored."""
    return list(map(json.loads, Tail(path).new_lines()))


def wait_for_numbers(path: Path, count: int, timeout: float = 30.0) -> list[int]:
    """Wait until a file has `count` lines, and return them as numbers."""

    def read() -> list[int]:
        found = list(map(int, Tail(path).new_lines()))
        return found if len(found) >= count else []

    return eventually(read, timeout, f"{count} numbers in {path}")
