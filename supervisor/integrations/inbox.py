"""The unread notifications of a session, as text for its model, and the cursor of what the model has read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from zlib import crc32

from ...ipc import clock
from ...ipc.errors import Temporary
from ...ipc.home import Home
from ...ipc.machine.lock import Lock
from ...ipc.model.event import MODEL
from ...ipc.store.interface import Store
from .notification_text import MAX_LENGTH, notification_text

#: The maximum number of batches that one notification covers.
MAX_BATCHES = 1000
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

    def unread(self, room: int = MAX_LENGTH) -> Unread | None:
        """Return the unread notifications of tasks that have ended by now, as at most `room` bytes of text, or None.

        Raises Temporary.
        """
        self._form_batches()
        batches = self._store.events.unread_batches(self.parent, MODEL, MAX_BATCHES)
        if not batches:
            return None
        return Unread(batches[-1][0], notification_text([batch for _, batch in batches], self.parent, room))

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
