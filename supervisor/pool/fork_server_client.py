"""The supervisor's line to the fork server: find or start one, order processes, have strays ended."""

from __future__ import annotations

import itertools
import os
import selectors
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ...ipc import clock
from ...ipc.backoff import RestartTimer
from ...ipc.errors import Temporary
from ...ipc.home import Home
from ...ipc.machine.presence import Presence
from ..execution.runner.marks import ROOM
from ..log import say
from ..system.children import start_detached
from .control_line import ControlLine

#: Seconds that a fork server may take from its start until it listens; it imports everything first.
START_PATIENCE = 20.0

#: Seconds that it may take to make room for its successor; one that is stopped stays in office.
RETIRE_PATIENCE = 5.0

#: Seconds that one whose line is closed may take to end.
REAP_PATIENCE = 5.0

#: Bytes that the marks of a try take beside the path of the home.
MARKS_ROOM = 100

Heard = Callable[[dict[str, Any]], None]


class ForkServerClient:
    """Orders to the fork server, and what comes back."""

    def __init__(self, home: Home, selector: selectors.BaseSelector, command: list[str], heard: Heard) -> None:
        """`command` starts a fork server; `heard` is called with each of its messages."""
        self._home = home
        self._presence = Presence(home)
        self._selector = selector
        self._command = command
        self._heard = heard
        self._tickets = itertools.count(1)
        self._line: ControlLine | None = None
        self._started: subprocess.Popen[bytes] | None = None

    @property
    def lost(self) -> bool:
        """Whether the fork server went away."""
        return self._line is None or self._line.closed

    def connect(self) -> None:
        """Reach the fork server that lives, or start one: again, if it dies before it listens. Raises Temporary."""
        deadline, timer = clock.monotonic() + START_PATIENCE, RestartTimer()
        while (connection := self._try()) is None:
            if clock.monotonic() > deadline:
                raise Temporary(f"The fork server of {self._home.folder} does not answer; see {self._home.log}.")
            if timer.is_due() and not self._is_coming():
                timer.note_start()
                self._started = start_detached(self._command, self._roomy_environment())
            clock.nap(0.01)
        self._line = ControlLine(connection, self._selector, lambda message, _channel: self._heard(message))

    def spawn(self, role: str, channel: socket.socket | None = None) -> int:
        """Order a process; the ticket under which its birth will be told."""
        ticket = next(self._tickets)
        self._send({"spawn": role, "ticket": ticket, "channel": channel is not None}, channel)
        return ticket

    def sweep(self) -> int:
        """Have the strays of dead workers ended; the ticket under which it will be told that they are gone."""
        ticket = next(self._tickets)
        self._send({"sweep": ticket})
        return ticket

    def dismiss(self) -> None:
        """Have it leave when its last child has."""
        self._send({"leave": True})

    def retire(self) -> None:
        """Have it look after its children until the last has left, and make room for another; returns when there is.

        One that does not (it is stopped, say) is used on, and that is said.
        """
        self._send({"retire": True})
        deadline = clock.monotonic() + RETIRE_PATIENCE
        while (pid := self._presence.holder("forkserver")) is not None:
            if clock.monotonic() >= deadline:
                say("unretired", pid=pid, patience=RETIRE_PATIENCE)
                return
            clock.nap(0.005)

    def reap(self) -> None:
        """Of a fork server that has left and was this process's child, leave no zombie; one that stays is init's."""
        if self._started is not None and self.lost:
            with suppress(subprocess.TimeoutExpired):
                self._started.wait(REAP_PATIENCE)

    def _send(self, message: dict[str, Any], channel: socket.socket | None = None) -> None:
        if self._line is not None:
            self._line.send(message, channel)

    def _roomy_environment(self) -> dict[str, str]:
        """Ours, and at its end, where it counts, room for the marks of a try; a runner writes them there."""
        room = len(os.fsencode(self._home.folder)) + MARKS_ROOM
        return {**{name: value for name, value in os.environ.items() if name != ROOM}, ROOM: " " * room}

    def _is_coming(self) -> bool:
        """Whether a fork server lives that does not listen yet."""
        started = self._started is not None and self._started.poll() is None
        return started or self._presence.is_held("forkserver")

    def _try(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self._home.short("fork_server.sock"))
        except OSError:
            connection.close()
            return None
        return connection
