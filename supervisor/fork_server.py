"""The fork server forks workers and flushers, which inherit its imported modules. It has no database and no threads.

It outlives the supervisor, and the next supervisor connects to it. So workers keep their parent, and strays, which are
the remaining processes of dead workers, keep the process that reaps them.
"""

from __future__ import annotations

import errno
import gc
import os
import selectors
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..ipc.failpoints import failpoint
from ..ipc.home import Home
from ..ipc.machine.lock import Lock
from ..ipc.machine.presence import take_role
from ..ipc.machine.shared_slots import SharedSlot, wake_waiting
from .execution.process_tree import children_of, is_spared, kill_all, take_statuses, take_stopped
from .pool.control_line import ControlLine
from .role import Role, become_subreaper, do_nothing
from .system.children import fork
from .system.file_watch import WATCHED_POLL
from .system.signals import restore_default

#: Creates a role in a forked child, with the channel and the shared slot that came with the order, or None.
Builder = Callable[[Home, socket.socket | None, SharedSlot | None], Role]


class ForkServer(Role):
    """Forks roles on the supervisor's orders, reports when they die, and kills the strays of dead workers."""

    name = "bb-forkserver"

    def __init__(self, home: Home, builders: Mapping[str, Builder]) -> None:
        """Fork the roles in `builders`, which maps each role to the function that creates it."""
        super().__init__(home)
        self._builders = builders
        self._lock = Lock(home.lock("forkserver"))
        self._children: set[int] = set()
        #: The shared slots of workers, by PID. That of a killed worker stays taken until its task is settled.
        self._slots: dict[int, SharedSlot] = {}
        self._killed: set[int] = set()
        self._control: ControlLine | None = None
        self._leaving = False
        self._retired: Path | None = None

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """Exit after the last child on SIGTERM. Ignore the signals of a terminal, which are for the supervisor."""
        return {
            signal.SIGCHLD: self._reap,
            signal.SIGTERM: self._leave,
            signal.SIGINT: do_nothing,
            signal.SIGHUP: do_nothing,
        }

    def boot(self) -> None:
        """Take the lock and listen. Garbage collection skips the loaded modules, so that forks share their memory."""
        if not take_role(self.home, self._lock):
            self.finish()
            return
        become_subreaper()
        self._listener = listen(self.home, "fork_server.sock")
        self.selector.register(self._listener, selectors.EVENT_READ, self._accept)
        gc.collect()
        gc.freeze()

    def turn(self) -> float:
        """Finish if an exit was ordered and no child remains."""
        if self._retired is None and not self._lock.held:  # the home was deleted and created again
            self._leave()
        self._free_abandoned_slots()
        if self._leaving and not self._children:
            self.finish()
        return WATCHED_POLL

    def abandon(self) -> None:
        """Exit after the last child."""
        self._leave()

    def shutdown(self) -> None:
        """Delete the lock file of a retired fork server."""
        if self._retired is not None:
            with failpoint("fork_server.retired.unlink"):
                self._retired.unlink(missing_ok=True)

    def _accept(self, _mask: int) -> None:
        connection, _ = self._listener.accept()
        if self._control is not None:  # there is a new supervisor
            self._control.close()
        self._leaving = False
        self._control = ControlLine(connection, self.selector, self._execute)
        for pid, slot in self._slots.items():
            self._report({"holds": pid, "slot": len(slot.descriptors)}, slot.descriptors)

    def _execute(self, order: dict[str, Any], channel: socket.socket | None, descriptors: list[int]) -> None:
        if "spawn" in order:
            if self._received_all(order, channel, descriptors):
                self._spawn(order, channel, SharedSlot(descriptors) if descriptors else None)
        elif "hold" in order:
            self._hold_slot(order["hold"], SharedSlot(descriptors))
        else:
            self._obey(order)

    def _received_all(self, order: dict[str, Any], channel: socket.socket | None, descriptors: list[int]) -> bool:
        """Refuse an order if descriptors are missing. The kernel drops them if this process has no free ones."""
        if (channel is not None or not order["channel"]) and len(descriptors) == order.get("slot", 0):
            return True
        self._report({"refused": order["ticket"], "why": os.strerror(errno.EMFILE)})
        if channel is not None:
            channel.close()
        SharedSlot(descriptors).close()
        return False

    def _obey(self, order: dict[str, Any]) -> None:
        """Execute an order without descriptors."""
        if "settled" in order:
            self._free_slot(order["settled"])
        elif "sweep" in order:
            self._sweep()
            self._report({"swept": order["sweep"]})
        elif "leave" in order:
            self._leave()
        elif "retire" in order:
            self._retire()

    def _spawn(self, order: dict[str, Any], channel: socket.socket | None, slot: SharedSlot | None) -> None:
        """Fork a role, or report that this is not possible now. The supervisor orders it again."""
        role, ticket = order["spawn"], order["ticket"]
        try:
            pid = fork(lambda: self._run_role(role, channel, slot))
        except OSError as error:
            self._report({"refused": ticket, "why": error.strerror})
            if slot is not None:
                slot.close()
        else:
            self._children.add(pid)
            if slot is not None:
                self._slots[pid] = slot
            self._report({"spawned": ticket, "role": role, "pid": pid})
        if channel is not None:
            channel.close()

    def _run_role(self, role: str, channel: socket.socket | None, slot: SharedSlot | None) -> None:
        """Run a role in the forked child, after closing the descriptors of the fork server."""
        os.setsid()
        restore_default(signal.SIGCHLD, signal.SIGHUP)
        if self._control is not None:
            self._control.drop()
        self._listener.close()
        self.selector.close()
        for other in self._slots.values():
            other.close()
        self._builders[role](self.home, channel, slot).run()

    def _reap(self) -> None:
        for pid, status in take_statuses().items():
            if pid in self._children:
                self._children.discard(pid)
                self._report({"died": pid, "status": status})
                self._sweep_if_retired()
                self._note_end(pid, status)
        for pid in take_stopped() & self._children:
            self._report({"stopped": pid})

    def _hold_slot(self, pid: int, slot: SharedSlot) -> None:
        """Hold the slot of a worker that an earlier fork server has forked."""
        if pid in self._slots:
            slot.close()
        else:
            self._slots[pid] = slot

    def _note_end(self, pid: int, status: int) -> None:
        """Keep the shared slot of a worker that was killed. One that has exited without an error has freed it."""
        if pid in self._slots and status:
            self._killed.add(pid)
        elif pid in self._slots:
            self._slots.pop(pid).close()

    def _free_abandoned_slots(self) -> None:
        """Free the slots of killed workers whose trees are gone, if no supervisor is there to do so."""
        is_supervised = self._control is not None and not self._control.closed and self._retired is None
        if self._killed and not is_supervised and not self._strays():
            for pid in [*self._killed]:
                self._free_slot(pid)

    def _free_slot(self, pid: int) -> None:
        self._killed.discard(pid)
        if pid in self._slots:
            slot = self._slots.pop(pid)
            slot.free()
            slot.close()
            wake_waiting()

    def _sweep(self) -> None:
        """Kill the strays. Children that are neither workers nor flushers are descendants of dead workers."""
        kill_all(self._strays)
        self._reap()

    def _sweep_if_retired(self) -> None:
        """Kill the strays at once, because no supervisor remains to order it."""
        if self._retired is not None:
            kill_all(self._strays)

    def _strays(self) -> set[int]:
        return {pid for pid in children_of(os.getpid()) if pid not in self._children and not is_spared(pid)}

    def _leave(self) -> None:
        self._leaving = True

    def _retire(self) -> None:
        """Make room for another fork server by renaming the lock file and deleting the socket."""
        if self._retired is None:
            self.selector.unregister(self._listener)
            self._listener.close()
            with failpoint("fork_server.retire.unlink"):
                (self.home.folder / "fork_server.sock").unlink(missing_ok=True)
            self._retired = retired_lock(self.home, os.getpid())
            with failpoint("fork_server.retire.rename"):
                self._lock.path.rename(self._retired)
            self._leave()

    def _report(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        if self._control is not None:
            self._control.send(message, descriptors)


def retired_lock(home: Home, pid: int) -> Path:
    """Return the lock file of a retired fork server."""
    return home.lock(f"forkserver-{pid}")


def listen(home: Home, name: str) -> socket.socket:
    """Create a listening socket in the home. It replaces the socket of a dead predecessor."""
    listener = socket.socket(socket.AF_UNIX)
    own = f"b{os.getpid()}"
    listener.bind(home.short(own))
    os.chmod(home.folder / own, 0o600)
    listener.listen(8)
    listener.setblocking(False)
    with failpoint("fork_server.rename"):
        os.rename(home.folder / own, home.folder / name)
    return listener
