"""The unread notifications of a session, as text for its model, and the cursor of what the model has read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from ...ipc import clock
from ...ipc.errors import Temporary
from ...ipc.home import Home
from ...ipc.machine.lock import Lock
from ...ipc.model.event import MODEL
from ...ipc.model.task import command_line
from ...ipc.store.interface import Store

#: The maximum numbers of batches in one text, and of characters of a result or an error in it.
MAX_BATCHES, MAX_RESULT = 20, 400
#: The number of lock files, which all sessions share.
LOCKS = 64
#: Seconds to wait for another process that delivers at the same time.
DELIVERY_TIMEOUT = 1.0


@dataclass(frozen=True)
class Unread:
    """Notifications as text, and the number of the last event in it."""

    seq: int
    text: str


class Inbox:
    """The notifications of one session, for its model. Works without a supervisor."""

    def __init__(self, store: Store, parent: str) -> None:
        """Read the notifications of the session `parent`."""
        self._store = store
        self.parent = parent

    def unread(self) -> Unread | None:
        """Return the unread notifications of tasks that have ended by now, or None. Raises Temporary."""
        self._form_batches()
        batches = self._store.events.unread_batches(self.parent, MODEL, MAX_BATCHES)
        return Unread(batches[-1][0], text([batch for _, batch in batches])) if batches else None

    def acknowledge(self, seq: int) -> None:
        """Mark the notifications up to `seq` as read. Raises Temporary."""
        self._store.events.acknowledge(self.parent, MODEL, seq)

    def _form_batches(self) -> None:
        """Batch the outcomes that wait for their window or for a flusher."""
        if not self._store.events.has_unbatched(self.parent):
            return
        from ...ipc.store.applied_config import applied_configuration  # most hooks have nothing to deliver

        size = applied_configuration(self._store).notification_max_batch
        while self._store.events.form_batch(self.parent, size):
            pass
        self._store.home.wake("flusher")


def delivery_lock(parent: str) -> str:
    """Return the name of the lock for deliveries to a session. Sessions share locks to limit the number of files."""
    return f"delivery-{crc32(parent.encode(errors='surrogatepass')) % LOCKS}"


@contextmanager
def delivering(home: Home, parent: str) -> Iterator[None]:
    """Exclude other processes while notifications are read, delivered and acknowledged.

    A hook and an MCP server of one session may run at the same time, and only one of them may deliver. This is a lock
    and not a compare-and-swap of the cursor: the cursor moves only after the delivery, so a process that dies before
    that loses no notification. The kernel releases its lock.

    Raises Temporary if another process delivers for too long.
    """
    lock, until = Lock(home.lock(delivery_lock(parent))), clock.monotonic() + DELIVERY_TIMEOUT
    while not lock.acquire():
        if clock.monotonic() >= until:
            raise Temporary(f"another process delivers notifications of {home.folder}; unread ones are delivered later")
        clock.nap(0.005)
    try:
        yield
    finally:
        lock.release()


def text(batches: Sequence[Mapping[str, Any]]) -> str:
    """Return batches as text for a model: the outcome and result of each task, and the way to read more."""
    lines = [line for batch in batches for line in _batch_lines(batch)]
    return "\n".join(["<background-tasks>", *lines, "</background-tasks>"])


def _batch_lines(batch: Mapping[str, Any]) -> Iterator[str]:
    yield batch["message"] + (" You have no unfinished tasks." if batch["allComplete"] else "")
    for task in batch["tasks"]:
        yield f"- {_task_line(task)}"
    yield f"Full output: the tool `output`, or: backburner output {batch['tasks'][0]['id']}"


def _task_line(task: Mapping[str, Any]) -> str:
    """Return one line: «bg-1 [count lines] completed in 12.0 s: 41 lines»."""
    title = task.get("description") or command_line(task.get("command") or ()) or task.get("call") or task["agent"]
    kind = f" ({task['errorKind']})" if task.get("errorKind") else ""
    result = task.get("result") if task["status"] == "completed" else task.get("error") or task.get("result")
    line = f"{task['id']} [{_shortened(title, 80)}] {task['status']}{kind}{_duration(task)}"
    return f"{line}: {_shortened(result, MAX_RESULT)}" if result else line


def _duration(task: Mapping[str, Any]) -> str:
    if not (task.get("startedAt") and task.get("completedAt")):
        return ""
    return f" in {(clock.parse(task['completedAt']) - clock.parse(task['startedAt'])) / 1000:.1f} s"


def _shortened(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length]}…"
