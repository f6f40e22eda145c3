"""Watch the write-ahead log, so that an idle role need not poll the database for missed notifications."""

from __future__ import annotations

import ctypes
import os
import select
import selectors
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...ipc import clock
from ...ipc.home import Home

#: Seconds between two looks at the database without an armed watch. Notifications can be lost, but rows cannot.
FALLBACK_POLL = 2.0

#: Seconds between two looks with an armed watch. The kernel does not report a renamed parent directory, for example.
WATCHED_POLL = 60.0

# inotify(7)
_MODIFY, _ATTRIB, _MOVED_FROM, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x2, 0x4, 0x40, 0x200, 0x400, 0x800
_ONESHOT = 0x80000000

#: The events of the log, which is written to or replaced by another file.
_FILE_EVENTS = _MODIFY | _ATTRIB | _DELETE_SELF | _MOVE_SELF | _ONESHOT

#: The events of the state directory, when it or a file in it is deleted or renamed.
_FOLDER_EVENTS = _DELETE | _MOVED_FROM | _DELETE_SELF | _MOVE_SELF | _ONESHOT


class FileWatch:
    """Decides how long a role may rest before it looks at the database again.

    The watch is armed after `FALLBACK_POLL` seconds without activity and reports one event, so a busy role pays nothing
    for it. A commit changes the file first and becomes visible later. So the first look after arming, and the first
    look after an event, also come after `FALLBACK_POLL` seconds. Only then is `WATCHED_POLL` enough.
    """

    def __init__(self, selector: selectors.BaseSelector, home: Home, on_change: Callable[[], None]) -> None:
        """Prepare to call `on_change` from the loop of `selector`. Nothing is opened yet."""
        self._selector = selector
        self._events = {Path(f"{home.database}-wal"): _FILE_EVENTS, home.folder: _FOLDER_EVENTS}
        self._on_change = on_change
        self._source: _Inotify | _Kqueue | None = None
        self._active_at = clock.monotonic()
        self._armed_at: float | None = None

    def note_activity(self) -> None:
        """Delay arming the watch, because the role is in use."""
        self._active_at = clock.monotonic()

    def rest(self) -> float:
        """Return the seconds until the next look at the database. Call this once after each look."""
        now = clock.monotonic()
        if self._armed_at is not None and now - self._armed_at >= FALLBACK_POLL:
            return WATCHED_POLL
        if self._armed_at is None and now - self._active_at >= FALLBACK_POLL:
            self._armed_at = now if self._arm() else None
        return FALLBACK_POLL

    def _arm(self) -> bool:
        """Arm the watch. Return False if there is no log yet, no free watch, or no support by the system."""
        try:
            if self._source is None:
                self._source = _Kqueue() if hasattr(select, "kqueue") else _Inotify()
                self._selector.register(self._source, selectors.EVENT_READ, self._changed)
            self._source.arm(self._events)
        except OSError:
            return False
        return True

    def _changed(self, _mask: int) -> None:
        assert self._source is not None, "it is registered"
        self._source.drain()
        self._armed_at = None
        self.note_activity()
        self._on_change()


class _Inotify:
    """Linux: inotify(7)."""

    def __init__(self) -> None:
        """Open the descriptor. Raises OSError (EMFILE if the user has too many, or ENOSYS)."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._descriptor

    def arm(self, events: Mapping[Path, int]) -> None:
        """Report the next of these events of each path. Raises OSError (ENOENT, ENOSPC, …)."""
        for path, mask in events.items():
            self._call("inotify_add_watch", self._descriptor, os.fsencode(path), ctypes.c_uint32(mask))

    def drain(self) -> None:
        """Drop the reported events. A path without an event stays watched, and arming it again changes nothing."""
        os.read(self._descriptor, 65536)

    def _call(self, name: str, *arguments: object) -> int:
        result = int(getattr(self._libc, name)(*arguments))
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"{name}: {os.strerror(error)}")
        return result


class _Kqueue:
    """macOS and the BSDs: kqueue(2). All changes are reported. A directory changes if an entry is added or removed."""

    def __init__(self) -> None:
        """Open the descriptor. Raises OSError."""
        self._kqueue: Any = select
        self._queue = self._kqueue.kqueue()
        self._files: list[int] = []

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return int(self._queue.fileno())

    def arm(self, events: Mapping[Path, int]) -> None:
        """Report the next change of each path. Raises OSError."""
        self._release()
        for path in events:
            self._files.append(os.open(path, getattr(os, "O_EVTONLY", os.O_RDONLY) | os.O_CLOEXEC))
        self._queue.control([self._event(file) for file in self._files], 0)

    def drain(self) -> None:
        """Drop the reported events, and stop watching."""
        self._queue.control(None, 2 * len(self._files) + 1, 0)
        self._release()

    def _event(self, file: int) -> object:
        q = self._kqueue
        changes = q.KQ_NOTE_WRITE | q.KQ_NOTE_EXTEND | q.KQ_NOTE_DELETE | q.KQ_NOTE_RENAME
        return q.kevent(file, q.KQ_FILTER_VNODE, q.KQ_EV_ADD | q.KQ_EV_ONESHOT, changes)

    def _release(self) -> None:
        """Close the files. The log itself has no lock that this could drop."""
        while self._files:
            os.close(self._files.pop())
