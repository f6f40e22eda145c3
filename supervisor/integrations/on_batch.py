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
from ...ipc.store.interface import Store
from ...ipc.store.values import PAGE_BYTES
from ..log import log
from ..system import children

#: The name of the command's cursor, which covers all sessions.
CONSUMER = "on_batch"
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
        self._selector, self._home, self._log = selector, store.home, store.events
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: children.Watch | None = None
        self._waiting: deque[Line] = deque()
        #: The batch that the process delivers (the first waiting batch), or None if its command was removed.
        self._current: Line | None = None
        self._failures = 0
        self._due = 0.0
        self.configure()

    def configure(self) -> None:
        """Read the user's file. A new command gets only later batches. A failed batch is tried again at once."""
        self._command = on_batch()
        has_cursor = bool(self._command) and CONSUMER in self._log.cursors(ALL_SESSIONS)
        if not self._command:
            self._log.dismiss(ALL_SESSIONS, CONSUMER)
        elif not has_cursor:
            self._log.acknowledge(ALL_SESSIONS, CONSUMER, self._log.last_seq())
        if self._process is None:
            self._failures, self._due = 0, 0.0
        if self._process is None or not has_cursor:
            self._waiting.clear()
            self._current = None
            self._read_up_to = self._log.cursor(ALL_SESSIONS, CONSUMER)
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
        if not self._waiting and self._has_more:
            self._read()
        if not self._waiting:
            return 0.0 if self._has_more else None
        if (delay := self._due - clock.monotonic()) > 0:
            return delay
        self._start(self._waiting[0])
        return 0.0

    def stop(self) -> None:
        """Kill the command. The next flusher delivers its batch again."""
        if self._process is not None:
            children.end_group(self._process.pid)
            self._process.wait()
            self._release()

    def _read(self) -> None:
        lines, is_all = self._log.page(None, self._read_up_to, PAGE)
        self._has_more = not is_all
        self._take(lines)

    def _has_room_for(self, lines: Sequence[Line]) -> bool:
        batches = [*self._waiting, *(line for line in lines if line.type == BATCH)]
        return len(batches) <= PAGE and sum(len(line.frame) for line in batches) <= PAGE_BYTES

    def _take(self, lines: Sequence[Line]) -> None:
        """Queue the batches of a page that were not read before."""
        self._waiting.extend(line for line in lines if line.type == BATCH and line.seq > self._read_up_to)
        self._read_up_to = max(self._read_up_to, lines[-1].seq) if lines else self._read_up_to

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
        self._log.acknowledge(ALL_SESSIONS, CONSUMER, line.seq)
        self._waiting.popleft()
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
