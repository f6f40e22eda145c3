"""The lines of a supervisor in the foreground: each start and end of a task."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import termios
import threading
from contextlib import suppress
from typing import Any

from ....ipc import clock
from ....ipc.bus.client import Client
from ....ipc.errors import BackburnerError, NotFound
from ....ipc.home import Home
from ....ipc.model.cause import cause_in
from ....ipc.model.event import ALL_SESSIONS, ENDED, STARTED, Event
from ....ipc.model.task import command_line
from ..tables import COLOURS, FAINT, Cell, paint, sanitize, terminal_width, truncate, uses_colours
from ..text import format_duration, local_time, short_id

#: The maximum number of lines in a second. The events beyond that are counted.
MAX_LINES = 20

#: The maximum number of bytes in a pipe that wait for its reader.
MAX_UNREAD = 16 * 1024

RETRYING = "background_task_retrying"


class TaskLines:
    """Prints lines on stderr, in a thread that reads the events from the bus."""

    def __init__(self, home: Home, after: int) -> None:
        """Print the events of a state directory after this number."""
        self._client = Client(home)
        self._after = after
        self._second = 0
        self._printed = self._skipped = 0
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)

    def start(self) -> None:
        """Begin to wait for the bus."""
        self._thread.start()

    def _run(self) -> None:
        with suppress(BackburnerError, OSError, ValueError):  # the terminal is gone, or the command has ended
            for event in self._client.events(ALL_SESSIONS, self._after, [STARTED, ENDED, RETRYING]):
                self._print(event)

    def _print(self, event: Event) -> None:
        second = int(clock.monotonic())
        if second != self._second:
            self._report_skipped()
            self._second, self._printed = second, 0
        self._printed += 1
        if self._printed > MAX_LINES:
            self._skipped += 1
            return
        colours = uses_colours(sys.stderr)
        text = truncate(sanitize(self._describe(event)), (terminal_width(sys.stderr) or 1000) - len("00:00:00  "))
        time = paint(Cell(local_time(event.at.timestamp()), FAINT), colours)
        self._write(f"{time}  {paint(Cell(text, COLOURS.get(event.data.get('status', ''), '')), colours)}")

    def _report_skipped(self) -> None:
        if self._skipped:
            self._write(f"          … and {self._skipped} more starts and ends")
            self._skipped = 0

    def _describe(self, event: Event) -> str:
        task, data = self._task(event.data["taskId"]), event.data
        name = f"{short_id(data['taskId'])} "
        if event.type == STARTED:
            again = f", attempt {data['attempt']}" if data["attempt"] > 1 else ""
            return f"{name}started{again}  {_title(task)}"
        why = cause_in({**task, **data, "exitCode": task.get("exitCode"), "signal": task.get("signal")})
        if event.type == RETRYING:
            return f"{name}failed, to be retried: {why}  {_title(task)}"
        words = "failed" if data["status"] == "error" else data["status"]
        return f"{name}{words}{_duration(task)}{f': {why}' if why else ''}  {_title(task)}"

    def _task(self, id: str) -> dict[str, Any]:
        try:
            return dict(self._client.call("get", id=id))
        except NotFound:
            return {}

    def _write(self, line: str) -> None:
        if not _is_full():
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def wants_lines() -> bool:
    """Return True if stderr is a terminal or a pipe. A log file gets only the messages of the supervisor."""
    try:
        return sys.stderr.isatty() or stat.S_ISFIFO(os.fstat(sys.stderr.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _is_full() -> bool:
    """Return True if stderr is a pipe that is not being read, so that a write could block the supervisor."""
    descriptor = sys.stderr.fileno()
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return False
    unread = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
    return int.from_bytes(unread, sys.byteorder) > MAX_UNREAD


def _title(task: dict[str, Any]) -> str:
    command = task.get("command")
    return task.get("description") or (command_line(command) if command else task.get("call") or task.get("agent", ""))


def _duration(task: dict[str, Any]) -> str:
    started, ended = task.get("startedAt"), task.get("completedAt")
    return f" in {format_duration(clock.parse(ended) - clock.parse(started))}" if started and ended else ""
