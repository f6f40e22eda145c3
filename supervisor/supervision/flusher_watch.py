"""Keep one flusher running."""

from __future__ import annotations

import selectors
import signal

from ...ipc.backoff import RestartTimer
from ...ipc.machine.identity import Identity
from ...ipc.machine.presence import Presence
from ...ipc.machine.proc import is_stopped
from ...ipc.machine.watchdog import Watchdog
from ..execution.process_tree import children_of
from ..pool.fork_server_client import ForkServerClient
from ..system.children import Watch, watch_identity


class FlusherWatch:
    """Adopts the flusher that is alive, or has the fork server spawn one, and watches it."""

    def __init__(self, presence: Presence, selector: selectors.BaseSelector, fork_server: ForkServerClient) -> None:
        self._presence = presence
        self._selector = selector
        self._fork_server = fork_server
        self._watch: Watch | None = None
        self._timer = RestartTimer()
        self._watchdog = Watchdog()

    @property
    def may_be_stopped(self) -> bool:
        """Return True if the flusher was stopped at the last check."""
        return self._watchdog.is_watching

    def process(self) -> Identity | None:
        """Return the flusher that is alive, or None."""
        return self._presence.process("flusher")

    def start(self) -> None:
        """Replace a flusher of an earlier fork server, and have one running."""
        self.replace_outdated()
        self.ensure_running()

    def replace_outdated(self) -> None:
        """Terminate a flusher of an earlier fork server, because it may run other code than this supervisor."""
        fork_server, flusher = self._presence.holder("forkserver"), self.process()
        if fork_server is not None and flusher is not None and flusher.pid not in children_of(fork_server):
            flusher.signal(signal.SIGTERM)

    def ensure_running(self) -> None:
        """Watch the flusher that is alive, or order a new flusher."""
        if self._watch is None and self._timer.is_due():
            self.watch(self.process())
            if self._watch is None:
                self._timer.note_start()
                self._fork_server.spawn("flusher")

    def check_stopped(self) -> None:
        """Continue a flusher that stays stopped, because it notifies no session. If that does not help, kill it."""
        pid = self._presence.holder("flusher")
        self._watchdog.check(pid if pid is not None and is_stopped(pid) else None)

    def watch(self, process: Identity | None) -> None:
        """Watch a flusher if it is alive and no flusher is watched yet."""
        descriptor = watch_identity(process) if process and self._watch is None else None
        if descriptor is not None:
            self._watch = descriptor
            self._selector.register(descriptor, selectors.EVENT_READ, lambda _mask: self._gone())

    def rest(self) -> float:
        """Return the seconds until the next flusher may be ordered, or infinity if there is nothing to wait for."""
        return self._timer.rest() if self._watch is None else float("inf")

    def _gone(self) -> None:
        if self._watch is not None:
            self._selector.unregister(self._watch)
            self._watch.close()
            self._watch = None
            self._fork_server.sweep()  # it may have left an on_batch command, which the next flusher starts again
