"""The fork server: a fork server. It has everything a worker needs already imported, no database, and no thread.

It outlives the supervisor and is found again by the next one: the workers keep a parent, and their strays a reaper.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..ipc.failpoints import failpoint
from ..ipc.home import Home
from ..ipc.machine.lock import Lock
from .execution.process_tree import children_of, is_spared, kill_all, take_statuses, take_stopped
from .pool.control_line import ControlLine
from .role import Role, become_subreaper, nothing
from .system.children import fork
from .system.file_watch import WATCHED_POLL
from .system.signals import restore_default

#: Builds a role in a fresh child: the channel is what came with the order, or None.
Builder = Callable[[Home, socket.socket | None], Role]


class ForkServer(Role):
    """Forks workers and flushers on the supervisor's order, and ends the strays of those that died."""

    name = "bb-forkserver"

    def __init__(self, home: Home, builders: Mapping[str, Builder]) -> None:
        """Serve that home; `builders` says how each role is made."""
        super().__init__(home)
        self._builders = builders
        self._lock = Lock(home.lock("forkserver"))
        self._children: set[int] = set()
        self._control: ControlLine | None = None
        self._leaving = False
        self._retired: Path | None = None

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """The terminal's signals are for the supervisor."""
        return {signal.SIGCHLD: self._bury, signal.SIGTERM: self._leave, signal.SIGINT: nothing, signal.SIGHUP: nothing}

    def boot(self) -> None:
        """Take the lock, listen, and move what is loaded out of the garbage collector's way, so that forks share it."""
        if not self._lock.acquire():
            self.finish()
            return
        become_subreaper()
        self._listener = listen(self.home, "fork_server.sock")
        self.selector.register(self._listener, selectors.EVENT_READ, self._accept)
        gc.collect()
        gc.freeze()

    def turn(self) -> float:
        """Leave when told to, once nobody is left to look after."""
        if self._retired is None and not self._lock.held:  # the home was deleted and made anew
            self._leave()
        if self._leaving and not self._children:
            self.finish()
        return WATCHED_POLL

    def abandon(self) -> None:
        """Leave when the last child has."""
        self._leave()

    def farewell(self) -> None:
        """Nothing to close that the kernel does not close."""
        if self._retired is not None:
            with failpoint("fork_server.retired.unlink"):
                self._retired.unlink(missing_ok=True)

    def _accept(self, _mask: int) -> None:
        connection, _ = self._listener.accept()
        if self._control is not None:  # a new supervisor took over
            self._control.close()
        self._leaving = False
        self._control = ControlLine(connection, self.selector, self._obey)

    def _obey(self, order: dict[str, Any], channel: socket.socket | None) -> None:
        if "spawn" in order:
            self._spawn(order["spawn"], order["ticket"], channel)
        elif "sweep" in order:
            self._sweep()
            self._tell({"swept": order["sweep"]})
        elif "leave" in order:
            self._leave()
        elif "retire" in order:
            self._retire()

    def _spawn(self, role: str, ticket: int, channel: socket.socket | None) -> None:
        pid = fork(lambda: self._become(role, channel))
        self._children.add(pid)
        if channel is not None:
            channel.close()
        self._tell({"spawned": ticket, "role": role, "pid": pid})

    def _become(self, role: str, channel: socket.socket | None) -> None:
        """In the child: forget the fork server, be that role."""
        os.setsid()
        restore_default(signal.SIGCHLD, signal.SIGHUP)
        if self._control is not None:
            self._control.drop()
        self._listener.close()
        self.selector.close()
        self._builders[role](self.home, channel).run()

    def _bury(self) -> None:
        for pid, status in take_statuses().items():
            if pid in self._children:
                self._children.discard(pid)
                self._tell({"died": pid, "status": status})
                self._sweep_unasked()
        for pid in take_stopped() & self._children:
            self._tell({"stopped": pid})

    def _sweep(self) -> None:
        """A child that is neither worker nor flusher is a stray of a worker that died."""
        kill_all(self._strays)
        self._bury()

    def _sweep_unasked(self) -> None:
        """Nobody can order it any more: what a worker left behind goes at once."""
        if self._retired is not None:
            kill_all(self._strays)

    def _strays(self) -> set[int]:
        return {pid for pid in children_of(os.getpid()) if pid not in self._children and not is_spared(pid)}

    def _leave(self) -> None:
        self._leaving = True

    def _retire(self) -> None:
        """Make room for another: the lock that tells of this one gets another name, and nobody reaches it any more."""
        if self._retired is None:
            self.selector.unregister(self._listener)
            self._listener.close()
            with failpoint("fork_server.retire.unlink"):
                (self.home.folder / "fork_server.sock").unlink(missing_ok=True)
            self._retired = retired_lock(self.home, os.getpid())
            with failpoint("fork_server.retire.rename"):
                self._lock.path.rename(self._retired)
            self._leave()

    def _tell(self, message: dict[str, Any]) -> None:
        if self._control is not None:
            self._control.send(message)


def retired_lock(home: Home, pid: int) -> Path:
    """What a fork server holds that was replaced."""
    return home.lock(f"forkserver-{pid}")


def listen(home: Home, name: str) -> socket.socket:
    """A listening socket in the home, in place of the one of a dead predecessor."""
    listener = socket.socket(socket.AF_UNIX)
    own = f"b{os.getpid()}"
    listener.bind(home.short(own))
    os.chmod(home.folder / own, 0o600)
    listener.listen(8)
    listener.setblocking(False)
    with failpoint("fork_server.rename"):
        os.rename(home.folder / own, home.folder / name)
    return listener
