"""Read the event log in order. The bus and the processes that read the store use the same rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..model.event import ALL_SESSIONS, DEFAULT_CONSUMER, Event, Line, log_truncated
from .values import PAGE_BYTES

if TYPE_CHECKING:
    from .interface import EventStore

#: The number of events that are read from the log at a time.
PAGE = 256


class LogPage(NamedTuple):
    """The next events of a reader."""

    #: The event that reports that events before this page were deleted, or None.
    truncation: Event | None
    lines: list[Line]
    #: True if no events follow.
    is_last: bool


class LogReader:
    """The position of a reader in the events of one session, or of all sessions (`*`)."""

    __slots__ = ("_is_of_other_log", "_log", "_parent", "seq")  # the bus may have thousands

    def __init__(self, log: EventStore, parent: str, after: int) -> None:
        """Begin after the event `after`, or at 0 if the log has not reached it: the number is from another log then."""
        self._log = log
        self._parent = None if parent == ALL_SESSIONS else parent
        self._is_of_other_log = after > log.last_seq()
        #: The number of the last event that was read.
        self.seq = 0 if self._is_of_other_log else after

    def page(self, limit: int = PAGE, room: int = PAGE_BYTES) -> LogPage:
        """Return up to `limit` events, or fewer if they exceed `room` bytes. The caller advances `seq`."""
        lines, is_last = self._log.page(self._parent, self.seq, limit, room)
        return LogPage(self._truncation(lines), lines, is_last)

    def events(self) -> Iterator[Event]:
        """Yield the events up to the end of the log, and `log_truncated` where some were deleted."""
        is_last = False
        while not is_last:
            truncation, lines, is_last = self.page()
            if truncation is not None:
                yield truncation
            for line in lines:
                self.seq = line.seq
                yield Event.from_json(json.loads(line.text))

    def _truncation(self, lines: list[Line]) -> Event | None:
        # This is read after the page, so that no event that was deleted while the page was read is missed.
        first = self._log.truncated(self._parent, self.seq)
        if first is None and self._is_of_other_log:
            first = 1
        self._is_of_other_log = False
        if first is None or (lines and lines[0].seq < first):
            return None
        self.seq = max(self.seq, first - 1)
        return log_truncated(self._parent, first)


def start_of(log: EventStore, parent: str, consumer: str | None, after: int | None) -> int:
    """Return the number of the event after which a reader begins.

    The default is the last event that the consumer has acknowledged, or the newest event for all sessions.
    """
    if after is not None:
        return after
    return log.last_seq() if parent == ALL_SESSIONS else log.cursor(parent, consumer or DEFAULT_CONSUMER)
