"""What a session's model is told: unread notices, as text; and the cursor that says which it has seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from .. import clock
from ..errors import Temporary
from ..home import Home
from ..machine.lock import Lock
from .events import EventLog
from .sqlite.database import Database

#: The consumer that hooks and the MCP server share: what the model saw, it saw.
MODEL = "model"
#: Batches that are told in one go, and characters of a task's result, or error, that are shown.
MOST, SHOWN = 20, 400
#: Locks among which the parents are divided.
TURNS = 64
#: Seconds that one who tells waits for another one who is telling.
PATIENCE = 1.0


@dataclass(frozen=True)
class Unread:
    """What a model is to be told, and up to where it has been told then."""

    seq: int
    text: str


class Inbox:
    """One parent's notices, for its model. No supervisor is needed."""

    def __init__(self, database: Database, parent: str) -> None:
        """Read what that session is told."""
        self._database = database
        self.parent = parent

    def unread(self) -> Unread | None:
        """What was not told yet, of tasks that have ended by now; None where there is nothing. Raises Temporary."""
        self._flush()
        values = {"parent": self.parent, "consumer": MODEL, "limit": MOST}
        with self._database.read() as transaction:
            rows = transaction.all("list_unread", values)
            if not rows:
                return None
            from .events import more_to_come  # who has nothing to tell does without

            busy = more_to_come(transaction, self.parent, 0)
        # what was true when a batch was formed may not be when it is told
        batches = [json.loads(row["body"]) | {"allComplete": row is rows[-1] and not busy} for row in rows]
        return Unread(rows[-1]["seq"], text(batches))

    def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` was told. Raises Temporary."""

        EventLog(self._database).acknowledge(self.parent, MODEL, seq)

    def _flush(self) -> None:
        if not self._waiting():
            return
        from .applied_config import applied_configuration

        log, most = EventLog(self._database), applied_configuration(self._database).notification_max_batch
        while self._waiting():
            log.form_batch(self.parent, most)
        self._database.home.wake("flusher")

    def _waiting(self) -> bool:
        """Whether ends are in no batch yet: their window is still open, or no flusher runs."""
        with self._database.read() as transaction:
            return bool(transaction.value("has_waiting_end", {"parent": self.parent}))


def turn_of(parent: str) -> str:
    """The lock for those who tell a parent's model; few parents share one, and there are not many files."""
    return f"telling-{crc32(parent.encode(errors='surrogatepass')) % TURNS}"


@contextmanager
def telling(home: Home, parent: str) -> Iterator[None]:
    """Be the only one of the home's processes that tells a parent's model something and then acknowledges it.

    A hook and a server of one session may be asked in the same moment, and what one tells the other must not.
    Raises Temporary where somebody else is telling for too long.
    """
    lock, until = Lock(home.lock(turn_of(parent))), clock.monotonic() + PATIENCE
    while not lock.acquire():
        if clock.monotonic() >= until:
            raise Temporary(f"Another process of {home.folder} is telling; what is unread is told next time.")
        clock.nap(0.005)
    try:
        yield
    finally:
        lock.release()


def text(batches: Sequence[Mapping[str, Any]]) -> str:
    """Notices as a model reads them: what ended, how, with which result, and how to read on."""
    lines = [line for batch in batches for line in _lines(batch)]
    return "\n".join(["<background-tasks>", *lines, "</background-tasks>"])


def _lines(batch: Mapping[str, Any]) -> Iterator[str]:
    yield batch["message"] + (" No task of yours is left." if batch["allComplete"] else "")
    for task in batch["tasks"]:
        yield f"- {_line(task)}"
    yield f"Whole output: the tool `output`, or: backburner output {batch['tasks'][0]['id']}"


def _line(task: Mapping[str, Any]) -> str:
    """«bg-1 (count lines) completed in 12 s: 41 lines»."""
    name = task.get("description") or " ".join(task.get("command") or ()) or task.get("call") or task["agent"]
    kind = f" ({task['errorKind']})" if task.get("errorKind") else ""
    said = task.get("result") if task["status"] == "completed" else task.get("error") or task.get("result")
    words = f"{task['id']} [{_cut(name, 80)}] {task['status']}{kind}{_took(task)}"
    return f"{words}: {_cut(said, SHOWN)}" if said else words


def _took(task: Mapping[str, Any]) -> str:
    if not (task.get("startedAt") and task.get("completedAt")):
        return ""
    return f" in {(clock.parse(task['completedAt']) - clock.parse(task['startedAt'])) / 1000:.1f} s"


def _cut(said: str, most: int) -> str:
    line = " ".join(said.split())
    return line if len(line) <= most else f"{line[:most]}…"
