"""The journal of a worker, which has the start and the end of each attempt.

- `s CLAIM US` is noted before the first instruction of an attempt. US is microseconds since 1970.
- `e CLAIM US JSON CRC` is noted when its process tree is gone.
- `x CLAIM US JSON CRC` is noted when its first process has ended and others of its tree are alive.

Each line is one write(2) to a file opened with O_APPEND, without a sync. It survives the death of any process, but
not a power loss. The document in a runner's end line has `last` if the runner takes no further call.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from ...ipc import clock
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ...ipc.model.claim import Settlement
from ...ipc.model.task import TaskStatus
from .outcome import Outcome
from .runner.journal import end_line, start_line

#: The size in bytes from which a journal is started over, once all its entries are settled.
MAX_SIZE = 1024 * 1024

#: Bytes of one read. The allocator would map and unmap a larger buffer each time (mallopt(3)).
_PIECE = 64 * 1024


class Entry(NamedTuple):
    """One line. `kind` is s, e or x, `at` is in microseconds since 1970, and `text` is the outcome as JSON."""

    kind: str
    claim: int
    at: int
    text: bytes = b""

    @property
    def document(self) -> dict[str, Any]:
        """Return the decoded outcome."""
        document: dict[str, Any] = json.loads(self.text)
        return document


class Journal:
    """The journal of one worker. Its file name contains the worker's number, `owner`."""

    def __init__(self, home: Home, owner: int) -> None:
        """Create an empty journal. Raises OSError."""
        self.home, self.path = home, journal_path(home, owner)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self.descriptor = os.open(self.path, flags, 0o600)
        self._offset = 0

    def note_start(self, claim: int) -> int:
        """Note that an attempt is about to start. Return the time in microseconds since 1970. Raises OSError."""
        at = clock.nanoseconds() // 1000
        with failpoint("journal.start"):
            self._append(start_line(claim, at))
        return at

    def note_end(self, claim: int, document: dict[str, Any]) -> int:
        """Note the outcome of an attempt. Return the time in microseconds since 1970. Raises OSError."""
        at = clock.nanoseconds() // 1000
        with failpoint("journal.end"):
            self._append(end_line("e", claim, at, document))
        return at

    def _append(self, line: bytes) -> None:
        """Write one line, whole or not at all."""
        written = os.write(self.descriptor, line)
        if written < len(line):  # the disk is full, and the next line must not continue this one
            os.ftruncate(self.descriptor, os.fstat(self.descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read(self) -> list[Entry]:
        """Return the entries since the last call, including the worker's own."""
        data = b""
        while piece := os.pread(self.descriptor, _PIECE, self._offset + len(data)):
            data += piece
            if len(piece) < _PIECE:
                break
        end = data.rfind(b"\n") + 1
        self._offset += end
        return entries(data[:end])

    def start_over(self) -> None:
        """Empty the journal if it is long. All its entries must be settled, and no attempt may run."""
        if os.fstat(self.descriptor).st_size > MAX_SIZE:
            with failpoint("journal.truncate"):
                os.ftruncate(self.descriptor, 0)
            self._offset = 0

    def remove(self) -> None:
        """Delete the journal. All its entries must be settled, and the worker exits."""
        os.close(self.descriptor)
        with failpoint("journal.unlink"):
            self.path.unlink(missing_ok=True)


def entries(data: bytes) -> list[Entry]:
    """Return the entries in these lines. Torn and damaged lines are left out."""
    return [entry for line in data.split(b"\n") if (entry := _entry(line)) is not None]


def _entry(line: bytes) -> Entry | None:
    if line[:2] == b"s ":
        parts = line.split(b" ")
        whole = len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit()
        return Entry("s", int(parts[1]), int(parts[2])) if whole else None
    text, _, checksum = line.rpartition(b" ")
    if line[:2] not in (b"e ", b"x ") or checksum != b"%08x" % crc32(text):
        return None
    kind, claim, at, document = text.split(b" ", 3)
    return Entry(kind.decode(), int(claim), int(at), document)


def entries_by_claim(home: Home, owner: int) -> dict[int, list[Entry]]:
    """Return the entries of a dead worker's journal by claim, in order. Without a journal, return none."""
    try:
        data = journal_path(home, owner).read_bytes()
    except FileNotFoundError:
        return {}
    by_claim: dict[int, list[Entry]] = {}
    for entry in entries(data[: data.rfind(b"\n") + 1]):
        by_claim.setdefault(entry.claim, []).append(entry)
    return by_claim


def journal_path(home: Home, owner: int) -> Path:
    """Return the path of a worker's journal."""
    return home.folder / "output" / f"worker-{owner}.journal"


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """Return the JSON document of an outcome."""
    document: dict[str, Any] = {
        "result": outcome.result,
        "error": outcome.error,
        "errorKind": outcome.error_kind,
        "exitCode": outcome.exit_code,
        "signal": outcome.signal,
    }
    for stream, data in outcome.outputs:
        document[stream] = data.decode("latin-1")
    return document


def outcome_in(document: dict[str, Any]) -> Outcome:
    """Return the outcome in a JSON document."""
    outputs = tuple((name, document[name].encode("latin-1")) for name in ("stdout", "stderr") if name in document)
    return Outcome(
        result=document.get("result"),
        error=document.get("error"),
        error_kind=document.get("errorKind"),
        exit_code=document.get("exitCode"),
        signal=document.get("signal"),
        outputs=outputs,
    )


def settlement_document(settlement: Settlement) -> dict[str, Any]:
    """Return the JSON document for an attempt that was watched separately and is already judged."""
    return {"settlement": settlement._replace(outputs=())._asdict()}


def settlement_in(document: dict[str, Any]) -> Settlement | None:
    """Return the settlement in a JSON document, or None if it has an outcome instead."""
    fields = document.get("settlement")
    if fields is None:
        return None
    return Settlement(**{**fields, "status": TaskStatus(fields["status"]), "outputs": ()})
