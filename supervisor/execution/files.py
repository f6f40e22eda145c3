"""The files of one try: what it reads, what it writes."""

from __future__ import annotations

import os
from contextlib import suppress
from io import FileIO
from pathlib import Path

from ...ipc.failpoints import failpoint
from ...ipc.home import Home, sync

STREAMS = ("stdout", "stderr")

#: Bytes of one stream that go into the database with the settlement.
SMALL = 64 * 1024

#: Bytes of a stream that an agent's rules are given to read.
READABLE = 16 * 1024 * 1024


class Files:
    """What one claim has on disk. Named by the claim, so that no two tries ever share a file."""

    def __init__(self, home: Home, claim: int) -> None:
        """Touches nothing."""
        self.paths = {stream: home.output_name(claim, stream) for stream in STREAMS}
        self._home, self._claim = home, claim
        self._kept: set[str] = set()

    def were_made(self) -> bool:
        """Whether the try's process was ever there: it makes its output files itself, between fork and exec."""
        return os.path.exists(self.paths["stdout"])

    def small(self) -> tuple[tuple[str, bytes], ...]:
        """What was written, of the streams that are small enough to go into the database."""
        found = {stream: data for stream in STREAMS if (data := self._read(stream, SMALL + 1)) is not None}
        fitting = {stream: data for stream, data in found.items() if len(data) <= SMALL}
        self._kept = set(fitting) | (set(STREAMS) - set(found))
        return tuple((stream, data) for stream, data in fitting.items() if data)

    def sync(self) -> None:
        """Have what stays a file outlive a power loss."""
        for stream in set(STREAMS) - self._kept:
            sync(Path(self.paths[stream]))

    def forget(self, inputs: bool) -> None:
        """Unlink what is in the database now and, with `inputs`, what the try was given to read."""
        for stream in self._kept:
            with suppress(FileNotFoundError), failpoint("output.unlink"):
                os.unlink(self.paths[stream])
        for kind in ("stdin", "prompt", "order") if inputs else ():
            with failpoint("input.unlink"):
                self._home.input(f"{self._claim}.{kind}").unlink(missing_ok=True)

    def text(self, stream: str) -> str:
        """What was written to a stream, from its start; bad bytes are replaced."""
        return (self._read(stream, READABLE) or b"").decode(errors="replace")

    def tail(self, stream: str) -> str:
        """The last 4 KiB of a stream."""
        try:
            if not os.stat(self.paths[stream]).st_size:
                return ""
            with open(self.paths[stream], "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def size(self) -> int:
        """Bytes written so far, to both streams."""
        return sum(map(_size, self.paths.values()))

    def _read(self, stream: str, limit: int) -> bytes | None:
        try:
            if not os.stat(self.paths[stream]).st_size:  # most write nothing, to stderr at least
                return b""
            with open(self.paths[stream], "rb", buffering=0) as file:
                return _read_up_to(file, limit)
        except FileNotFoundError:
            return None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _read_up_to(file: FileIO, limit: int) -> bytes:
    """The start of a file, in as many bytes as there are: room for the limit would be made anew each time."""
    size = min(os.fstat(file.fileno()).st_size, limit)
    pieces = bytearray()
    while len(pieces) < size and (piece := file.read(size - len(pieces))):
        pieces += piece
    return bytes(pieces)
