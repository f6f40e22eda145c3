"""Which client started this process: the agent behind the shells."""

from __future__ import annotations

import os
from collections.abc import Iterator

from . import proc
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
        name, parent = proc.name(pid), proc.parent(pid)
        if name is None or parent is None:
            return
        yield pid, name
        pid = parent
