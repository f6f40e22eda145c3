"""The exit record: how a try ended, written before it is settled, in case its worker dies in between.

One file a worker, written over each time: it counts for nobody but the row that still runs under the claim it names.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from ipc.boot import boot_id
from ipc.claim import Settlement
from ipc.home import Home
from ipc.moments import moment
from ipc.task import TaskStatus


class ExitRecord:
    """The record of one worker, named by its number in the registry."""

    def __init__(self, home: Home, owner: int) -> None:
        """Open it. Raises OSError."""
        self._path = path_of(home, owner)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def write(self, settlement: Settlement) -> None:
        """Note how a try ended. Raises OSError."""
        text = json.dumps({**vars(settlement), "outputs": (), "boot": boot_id()})
        with moment("record.write"):
            os.pwrite(self._descriptor, f"{_digest(text)} {len(text.encode())} {text}".encode(), 0)

    def remove(self) -> None:
        """The worker leaves, with nothing unsettled."""
        os.close(self._descriptor)
        with moment("record.unlink"):
            self._path.unlink(missing_ok=True)


def recorded(home: Home, owner: int, claim: int) -> Settlement | None:
    """How that claim's try ended, by the record of a dead worker; None where it does not say, or is torn."""
    try:
        digest, length, text = path_of(home, owner).read_bytes().split(b" ", 2)
    except (FileNotFoundError, ValueError):
        return None
    text = text[: int(length)]
    if _digest(text.decode(errors="replace")).encode() != digest:
        return None
    fields = json.loads(text)
    if fields.pop("boot") != boot_id() or fields["claim"] != claim:
        return None
    return Settlement(**{**fields, "status": TaskStatus(fields["status"]), "outputs": ()})


def path_of(home: Home, owner: int) -> Path:
    """The record of the worker with that number."""
    return home.folder / "output" / f"worker-{owner}.exit"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
