"""Tells a command of the user's of every batch, one after the other, each until it succeeds."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from selectors import EVENT_READ, BaseSelector

from ...ipc import clock
from ...ipc.backoff import Backoff
from ...ipc.config.environment import of_nobody
from ...ipc.config.settings import BATCH_PLACEHOLDERS, on_batch
from ...ipc.store.events import BATCH, EventLog, Line
from ..log import log
from ..system import children

#: Whose cursor says up to where it was told: of everybody's batches, so of no parent's.
EVERYONE, CONSUMER = "*", "on_batch"
#: Events read at a time.
PAGE = 256
#: Seconds that the command may take; and between two tries, doubled from the first to the last.
PATIENCE, FIRST_REST, LAST_REST = 60.0, 1.0, 300.0
#: Failures of one batch that the log tells of; after them it is silent until the batch is told.
TOLD = 10


class Herald:
    """Part of the flusher, which never waits for it. What was not told when it died, the next one tells."""

    def __init__(self, selector: BaseSelector, log: EventLog) -> None:
        """Go on from the cursor, where a command is configured."""
        self._selector, self._log = selector, log
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: children.Watch | None = None
        self._waiting: deque[Line] = deque()
        self._tries = 0
        self._due = 0.0
        self.configure()

    def configure(self) -> None:
        """Read the user's file; a command that is new there hears of what comes from now on, one that failed now."""
        self._command = on_batch()
        goes_on = bool(self._command) and CONSUMER in self._log.cursors(EVERYONE)
        if not self._command:
            self._log.dismiss(EVERYONE, CONSUMER)
        elif not goes_on:
            self._log.acknowledge(EVERYONE, CONSUMER, self._log.last_seq())
        if self._process is None:
            self._tries, self._due = 0, 0.0
        if self._process is None or not goes_on:  # what one comes to that was taken away concerns nobody
            self._waiting.clear()
            self._looked = self._log.cursor(EVERYONE, CONSUMER)
        self._more = bool(self._command)

    def stir(self) -> None:
        """There is something new in the log."""
        self._more = bool(self._command)

    def turn(self) -> float | None:
        """Do what is due; seconds until the next turn, None where something must happen first."""
        if self._process is not None:
            return self._wait()
        if not self._command:
            return None
        if not self._waiting and self._more:
            self._look()
        if not self._waiting:
            return 0.0 if self._more else None
        if (rest := self._due - clock.monotonic()) > 0:
            return rest
        self._start(self._waiting[0])
        return 0.0

    def leave(self) -> None:
        """End the command: its batch is told again by the next flusher."""
        if self._process is not None:
            children.end_group(self._process.pid)
            self._process.wait()
            self._let_go()

    def _look(self) -> None:
        lines, is_all = self._log.page(None, self._looked, PAGE)
        self._more = not is_all
        self._looked = lines[-1].seq if lines else self._looked
        self._waiting.extend(line for line in lines if line.type == BATCH)

    def _start(self, line: Line) -> None:
        home = self._log.database.home
        known = (line.parent or "", line.message, str(line.seq), str(home.folder))
        words = {f"{{{name}}}": word for name, word in zip(BATCH_PLACEHOLDERS, known, strict=True)}
        command = [filled(element, words) for element in self._command]
        environment = {**of_nobody(os.environ), "BACKBURNER_HOME": str(home.folder)}
        try:
            self._process = children.start_with_input(command, line.text.encode(), environment, str(home.folder.parent))
        except OSError as error:
            self._failed(line, error.strerror or str(error))
            return
        self._due = clock.monotonic() + PATIENCE
        self._watch = children.watch(self._process.pid)
        if self._watch is not None:
            self._selector.register(self._watch, EVENT_READ, lambda _mask: None)

    def _wait(self) -> float:
        """Seconds until the command has taken too long; when it has ended, what follows is done at once."""
        assert self._process is not None, "it was asked for"
        code = self._process.poll()
        rest = self._due - clock.monotonic()
        if code is None and rest > 0:
            return rest
        if code is None:
            children.end_group(self._process.pid)
            code = self._process.wait()
        self._let_go()
        self._judge(code)
        return 0.0

    def _judge(self, code: int) -> None:
        if not self._waiting:
            self._tries, self._due = 0, 0.0
        elif code:
            self._failed(self._waiting[0], f"exit code {code}" if code > 0 else children.signal_name(-code))
        else:
            self._done(self._waiting[0])

    def _failed(self, line: Line, how: str) -> None:
        self._tries += 1
        rest = rest_after(self._tries)
        if self._tries < TOLD:
            log("batch_failed", how=how, seq=line.seq, rest=rest)
        elif self._tries == TOLD:
            log("batch_blocked", how=how, seq=line.seq, tries=self._tries, rest=LAST_REST)
        self._due = clock.monotonic() + rest

    def _done(self, line: Line) -> None:
        if self._tries >= TOLD:
            log("batch_delivered", seq=line.seq, tries=self._tries)
        self._log.acknowledge(EVERYONE, CONSUMER, line.seq)
        self._waiting.popleft()
        self._tries, self._due = 0, 0.0

    def _let_go(self) -> None:
        if self._watch is not None:
            self._selector.unregister(self._watch)
            self._watch.close()
        self._process = self._watch = None


def rest_after(tries: int) -> float:
    """Seconds from a batch's failure number `tries` to its next try."""
    return Backoff(FIRST_REST, LAST_REST).delay(tries - 1)


def filled(template: str, words: dict[str, str]) -> str:
    """Put the words in place of their names, once: a message may itself contain `{home}`."""
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], template)
