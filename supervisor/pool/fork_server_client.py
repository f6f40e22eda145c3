"""The supervisor's client of the fork server. It finds or starts a fork server, and sends it orders."""

from __future__ import annotations

import itertools
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ...ipc import clock
from ...ipc.backoff import RestartTimer
from ...ipc.errors import Temporary
from ...ipc.home import Home
from ...ipc.machine.presence import Presence
from ...ipc.machine.shortage import is_shortage
from ...ipc.machine.watchdog import Watchdog
from ..execution.runner.marks import ROOM
from ..log import log, log_trouble
from ..role import TROUBLE_REST
from ..system.children import start_detached
from .control_line import ControlLine

#: Seconds that a fork server may take until it listens. It imports everything first.
START_TIMEOUT = 20.0

#: Seconds that a fork server may take to make room for its successor. A stopped fork server stays in use.
RETIRE_TIMEOUT = 5.0

#: Seconds that a fork server may take to exit after its line was closed.
REAP_TIMEOUT = 5.0

#: The size of the marks of an attempt in its environment, in bytes, without the path of the home.
MARKS_ROOM = 180

#: Handles a message, and the descriptors of a shared slot that came with it.
OnMessage = Callable[[dict[str, Any], list[int]], None]


class ForkServerClient:
    """Sends orders to the fork server, passes its messages on, and replaces it if it dies."""

    def __init__(self, home: Home, selector: selectors.BaseSelector, command: list[str], on_message: OnMessage) -> None:
        """Start fork servers with `command`. Call `on_message` with each of their messages."""
        self._home = home
        self._presence = Presence(home)
        self._selector = selector
        self._command = command
        self._on_message = on_message
        self._tickets = itertools.count(1)
        self._line: ControlLine | None = None
        self._started: subprocess.Popen[bytes] | None = None
        self._restart_timer = RestartTimer()
        self._watchdog = Watchdog()

    @property
    def lost(self) -> bool:
        """Return True if no fork server is connected."""
        return self._line is None or self._line.closed

    def connect(self) -> None:
        """Connect to the living fork server, or start it. Retry if it dies before it listens. Raises Temporary."""
        deadline, timer = clock.monotonic() + START_TIMEOUT, RestartTimer()
        while (connection := self._try_to_connect()) is None:
            if clock.monotonic() > deadline:
                raise Temporary(f"The fork server of {self._home.folder} does not answer; see {self._home.log}.")
            if timer.is_due() and not self._is_starting():
                timer.note_start()
                self._start()
            clock.nap(0.01)
        self._line = ControlLine(connection, self._selector, self._receive)

    def _start(self) -> None:
        """Start a fork server. If this is not possible now, the next try follows."""
        try:
            self._started = start_detached(self._command, self._environment())
        except OSError as error:
            if not is_shortage(error):
                raise
            log_trouble(TROUBLE_REST, f"No fork server can be started now: {error.strerror}.")

    def reconnect(self) -> bool:
        """Replace a lost fork server, if that is due. Return True if all orders must be repeated. Raises Temporary.

        Workers survive their fork server. Only the orders are lost that it has not reported as done.
        """
        if not self.lost or not self._restart_timer.is_due():
            return False
        self._restart_timer.note_start()
        log("fork_server_lost")
        self.connect()
        return True

    def check_stopped(self, is_needed: bool) -> None:
        """Continue a fork server that stays stopped while it is needed. Kill it if that does not help."""
        self._watchdog.check(self._presence.holder("forkserver") if is_needed else None)

    def rest(self) -> float:
        """Return the seconds until a lost fork server may be replaced, or infinity if it is not lost."""
        return self._restart_timer.rest() if self.lost else float("inf")

    def spawn(self, role: str, channel: socket.socket | None = None, slot: Sequence[int] = ()) -> int:
        """Order a process, with a channel and the descriptors of a shared slot. Return the ticket for its PID."""
        ticket = next(self._tickets)
        message = {"spawn": role, "ticket": ticket, "channel": channel is not None}
        if slot:
            message["slot"] = len(slot)
        self._send(message, [*([] if channel is None else [channel.fileno()]), *slot])
        return ticket

    def share_slot(self, pid: int, slot: Sequence[int]) -> None:
        """Have the fork server hold the shared slot of a worker that an earlier fork server has forked."""
        self._send({"hold": pid, "slot": len(slot)}, slot)

    def free_slot(self, pid: int) -> None:
        """Have the fork server close the shared slot of a dead worker, whose task is settled."""
        self._send({"settled": pid})

    def sweep(self) -> int:
        """Have the strays of dead workers killed. Return the ticket under which their end will be reported."""
        ticket = next(self._tickets)
        self._send({"sweep": ticket})
        return ticket

    def dismiss(self) -> None:
        """Have the fork server exit when its last child has exited."""
        self._send({"leave": True})

    def retire(self) -> None:
        """Have the fork server make room for its successor, and exit after its last child. Return when there is room.

        If it does not make room, for example because it is stopped, this is logged, and it stays in use.
        """
        self._send({"retire": True})
        deadline = clock.monotonic() + RETIRE_TIMEOUT
        while (pid := self._presence.holder("forkserver")) is not None:
            if clock.monotonic() >= deadline:
                log("not_retired", pid=pid, patience=RETIRE_TIMEOUT)
                return
            clock.nap(0.005)

    def kill_process(self) -> None:
        """Kill the fork server. It is replaced when its line is closed."""
        process = self._presence.process("forkserver")
        if process is not None:
            process.signal(signal.SIGKILL)

    def reap(self) -> None:
        """Reap the exited fork server if it was a child of this process. If it has not exited, init adopts it later."""
        if self._started is not None and self.lost:
            with suppress(subprocess.TimeoutExpired):
                self._started.wait(REAP_TIMEOUT)

    def _receive(self, message: dict[str, Any], _channel: socket.socket | None, slot: list[int]) -> None:
        self._on_message(message, slot)

    def _send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        if self._line is not None:
            self._line.send(message, descriptors)

    def _environment(self) -> dict[str, str]:
        """Return our environment with room at its end, into which a runner writes the marks of an attempt."""
        room = len(os.fsencode(self._home.folder)) + MARKS_ROOM
        return {**{name: value for name, value in os.environ.items() if name != ROOM}, ROOM: " " * room}

    def _is_starting(self) -> bool:
        """Return True if a fork server is alive but does not listen yet."""
        is_alive = self._started is not None and self._started.poll() is None
        return is_alive or self._presence.is_held("forkserver")

    def _try_to_connect(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self._home.short("fork_server.sock"))
        except OSError:
            connection.close()
            return None
        return connection
