"""The files that receive the output of calls."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from .descriptors import STREAMS, file_id, move_descriptor
from .system import Failpoint

#: The maximum number of bytes of a stream in an end line. Longer output stays in its own file.
OUTPUT_LIMIT = 32 * 1024


class Outputs:
    """The files behind descriptors 1 and 2. They are reused while the output of calls is short."""

    def __init__(self, prefix: str, claims: str, failpoint: Failpoint) -> None:
        """Open the files `prefix`.stdout and `prefix`.stderr. `claims` is the folder of files that are kept."""
        self._paths = {1: f"{prefix}.stdout", 2: f"{prefix}.stderr"}
        self._claims = claims
        self._failpoint = failpoint
        self._files: dict[int, tuple[int, int] | None] = {}
        self._used: list[int] = []
        self._kept: list[int] = []
        for target in self._paths:
            self._open(target)

    def collect(self, claim: int, *, is_alone: bool) -> dict[str, Any]:
        """Return a call's output. A stream that is long, or still open for writing, is kept in a file of the claim."""
        document: dict[str, Any] = {}
        for target in (1, 2):
            status = self._status(target)
            if status.st_nlink != 1 or status.st_size > OUTPUT_LIMIT or not is_alone:
                self._keep(target, claim)
                document.setdefault("kept", []).append(STREAMS[target])
            elif status.st_size:
                document[STREAMS[target]] = os.pread(target, status.st_size, 0).decode("latin-1")
                self._used.append(target)
        return document

    def recover(self) -> None:
        """Open the files again if the call has closed or replaced their descriptors. Raises OSError."""
        for target in self._paths:
            self._status(target)

    def recycle(self) -> None:
        """Empty the files for the next call, once their content is in the journal. Raises OSError."""
        failpoint = self._failpoint
        for target in self._used:
            with failpoint("runner.output.truncate"):
                os.ftruncate(target, 0)
        for target in self._kept:
            self._replace(target)
        self._used, self._kept = [], []

    def _status(self, target: int) -> os.stat_result:
        """Return the file's status. Open the file again if the call has closed or replaced the descriptor."""
        try:
            status = os.fstat(target)
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._files[target]:
            self._open(target)
            status = os.fstat(target)
        return status

    def _keep(self, target: int, claim: int) -> None:
        """Rename a file to its claim's name. If the worker has linked it there already, rename(2) does nothing."""
        failpoint = self._failpoint
        with failpoint("runner.output.rename"):
            os.rename(self._paths[target], f"{self._claims}/{claim}.{STREAMS[target]}")
        self._kept.append(target)

    def _replace(self, target: int) -> None:
        """Open a new file, because the old one may also have a claim's name and must not be truncated."""
        failpoint = self._failpoint
        with suppress(FileNotFoundError), failpoint("runner.output.unlink"):
            os.unlink(self._paths[target])
        self._open(target)

    def _open(self, target: int) -> None:
        opened = os.open(self._paths[target], os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        move_descriptor(opened, target)
        self._files[target] = file_id(target)
