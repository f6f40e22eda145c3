"""Which client started this process: the agent behind the shells."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from .identity import Identity

#: What stands between a client and what it starts.
BETWEEN = frozenset("sh bash dash zsh fish ksh env nice timeout setsid sudo uv uvx pipx".split())


def client() -> Identity | None:
    """The nearest ancestor that is no shell and no launcher; None where there is none, or it cannot be known."""
    found = next((pid for pid, name in _ancestors() if name not in BETWEEN), None)
    return None if found is None else Identity.of(found)


def _ancestors() -> Iterator[tuple[int, str]]:
    """Numbers and names, from the parent on; the first process of all is nobody's client."""
    pid = os.getppid()
    while pid > 1:
        found = _look(pid)
        if found is None:
            return
        name, parent = found
        yield pid, name
        pid = parent


def _look(pid: int) -> tuple[str, int] | None:
    """A process's name and its parent."""
    if sys.platform != "linux":
        return _look_by_psutil(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode(errors="replace")
    except OSError:
        return None
    name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
    return name, int(rest[1])


def _look_by_psutil(pid: int) -> tuple[str, int] | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return process.name(), process.ppid()
    except psutil.Error:
        return None
