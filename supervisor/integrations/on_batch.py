"""Run the user's `on_batch` command for one batch after another, each until it succeeds."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Sequence
from selectors import EVENT_READ, BaseSelector

from ...ipc import clock
from ...ipc.backoff import Backoff
from ...ipc.config.agents import BATCH_PLACEHOLDERS
from ...ipc.config.environment import without_our_variables
from ...ipc.config.files import on_batch
from ...ipc.model.cause import signal_name
from ...ipc.model.event import ALL_SESSIONS, BATCH, Line
from ...ipc.store.applied_config import applied_configuration
from ...ipc.store.interface import Store
from ...ipc.store.values import PAGE_BYTES
from ..log import log
from ..system import children
from .people import CONSUMER, People, prepare_cursors

#: The maximum number of events read from the log at a time, and of batches that wait in memory.
PAGE = 256
#: The time in seconds after which the command is killed.
TIMEOUT = 60.0
#: The first and the maximum delay between two tries for a batch, in seconds.
FIRST_DELAY, LAST_DELAY = 1.0, 300.0
#: The maximum number of failures that are logged for one batch.
MAX_LOGGED = 10


class BatchCommand:
    """Runs the command as a part of the flusher, which never waits for it.

    The batches in memory always follow the cursor, which moves when a batch is delivered. So the next flusher delivers
    the batches that a dead flusher has not delivered. If the flusher dies after the command has ended and before the
    cursor has moved, the next flusher delivers that batch again.
    """

    def __init__(self, selector: BaseSelector, store: Store) -> None:
        """Continue from the cursor, if a command is configured."""
        self._selector, self._home, self._log, self._store = selector, store.home, store.events, store
        self._people = People(store)
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: children.Watch | None = None
        self._waiting: deque[Line] = deque()
        #: The batch that the process delivers (the first waiting batch), or None if its command was removed.
        self._current: Line | None = None
        #: The batch that has failed, and comes before all others.
        self._failed_line: Line | None = None
        self._failures = 0
        self._due = 0.0
        self.configure()

    def configure(self) -> None:
        """Read the user's file. A new command gets only later batches. A failed batch is tried again at once."""
        self._command = on_batch()
        self._people.configure(applied_configuration(self._store))
        has_cursor = prepare_cursors(self._store)
        if self._process is None:
            self._failures, self._due = 0, 0.0
        if self._process is None or not has_cursor:
            self._waiting.clear()
            self._current = self._failed_line = None
            self._delivered_up_to = self._log.cursor(ALL_SESSIONS, CONSUMER)
            self._read_up_to = min(self._delivered_up_to, self._people.restart())
        self._has_more = bool(self._command)

    def observe(self, lines: Sequence[Line], after: int) -> None:
        """Take the batches from the page of the log that follows number `after`, or leave them to be read later.

        They are left if many batches wait, or if an earlier page was not read.
        """
        if not self._command:
            return
        if self._has_more or after > self._read_up_to or not self._has_room_for(lines):
            self._has_more = True
        else:
            self._take(lines)

    def turn(self) -> float | None:
        """Do what is due. Return the seconds until the next turn, or None to wait for an event."""
        if self._process is not None:
            return self._check_process()
        if not self._command:
            return None
        if self._may_read():
            self._read()
        if (delay := self._due - clock.monotonic()) > 0:
            return delay
        line = self._failed_line or self._people.next() or next(iter(self._waiting), None)
        if line is None:
            return 0.0 if self._may_read() else self._people.due()
        self._start(line)
        return 0.0

    def flush(self) -> None:
        """Deliver what waits for its window now."""
        self._people.flush()

    def stop(self) -> None:
        """Kill the command. The next flusher delivers its batch again."""
        if self._process is not None:
            children.end_group(self._process.pid)
            self._process.wait()
            self._release()

    def _may_read(self) -> bool:
        return self._has_more and not self._waiting and self._people.count() <= PAGE

    def _read(self) -> None:
        lines, is_all = self._log.page(None, self._read_up_to, PAGE)
        self._has_more = not is_all
        self._take(lines)

    def _has_room_for(self, lines: Sequence[Line]) -> bool:
        batches = [*self._waiting, *(line for line in lines if line.type == BATCH)]
        size = sum(len(line.frame) for line in batches)
        return max(len(batches), self._people.count()) <= PAGE and size <= PAGE_BYTES

    def _take(self, lines: Sequence[Line]) -> None:
        """Queue the batches and the ends of a page that were not read before."""
        new = [line for line in lines if line.seq > self._read_up_to]
        if not new:
            return
        self._people.take(new)
        self._waiting.extend(line for line in new if line.type == BATCH and line.seq > self._delivered_up_to)
        self._read_up_to = new[-1].seq
        self._people.advance(self._read_up_to)

    def _start(self, line: Line) -> None:
        home = self._home
        values = (line.parent or "", line.message, str(line.seq), str(home.folder))
        placeholders = {f"{{{name}}}": value for name, value in zip(BATCH_PLACEHOLDERS, values, strict=True)}
        command = [filled(element, placeholders) for element in self._command]
        environment = {**without_our_variables(os.environ), "BACKBURNER_HOME": str(home.folder)}
        try:
            self._process = children.start_with_input(command, line.text.encode(), environment, str(home.folder.parent))
        except OSError as error:
            self._failed(line, error.strerror or str(error))
            return
        self._current = line
        self._due = clock.monotonic() + TIMEOUT
        self._watch = children.watch(self._process.pid)
        if self._watch is not None:
            self._selector.register(self._watch, EVENT_READ, lambda _mask: None)

    def _check_process(self) -> float:
        """Return the seconds until the command's timeout, or 0 if it has ended or was killed."""
        assert self._process is not None, "the caller has checked it"
        code = self._process.poll()
        seconds = self._due - clock.monotonic()
        if code is None and seconds > 0:
            return seconds
        if code is None:
            children.end_group(self._process.pid)
            code = self._process.wait()
        self._release()
        self._ended(code)
        return 0.0

    def _ended(self, code: int) -> None:
        line, self._current = self._current, None
        if line is None:
            self._failures, self._due = 0, 0.0
        elif code:
            self._failed(line, f"exit code {code}" if code > 0 else signal_name(-code))
        else:
            self._succeeded(line)

    def _failed(self, line: Line, reason: str) -> None:
        self._failed_line = line
        self._failures += 1
        delay = delay_after(self._failures)
        if self._failures < MAX_LOGGED:
            log("batch_failed", how=reason, seq=line.seq, rest=delay)
        elif self._failures == MAX_LOGGED:
            log("batch_blocked", how=reason, seq=line.seq, tries=self._failures, rest=LAST_DELAY)
        self._due = clock.monotonic() + delay

    def _succeeded(self, line: Line) -> None:
        if self._failures >= MAX_LOGGED:
            log("batch_delivered", seq=line.seq, tries=self._failures)
        if self._people.is_next(line):
            self._people.delivered()
        else:
            self._log.acknowledge(ALL_SESSIONS, CONSUMER, line.seq)
            self._waiting.popleft()
        self._failed_line = None
        self._failures, self._due = 0, 0.0

    def _release(self) -> None:
        if self._watch is not None:
            self._selector.unregister(self._watch)
            self._watch.close()
        self._process = self._watch = None


def delay_after(failures: int) -> float:
    """Return the seconds from a batch's failure number `failures` to its next try."""
    return Backoff(FIRST_DELAY, LAST_DELAY).delay(failures - 1)


def filled(template: str, placeholders: dict[str, str]) -> str:
    """Replace placeholders by their values in one pass, because a message may contain a text such as `{home}`."""
    return re.sub("|".join(map(re.escape, placeholders)), lambda match: placeholders[match[0]], template)
