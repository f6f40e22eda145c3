"""The supervisor's records of its workers: their processes, the lines to them, and their slots."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...ipc import clock
from ...ipc.failpoints import failpoint
from ...ipc.lines import LineReader
from ...ipc.machine.identity import Identity
from ...ipc.machine.shared_slots import SharedSlot
from ...ipc.model.claim import Slot
from ...ipc.store.values import Process, Running
from ..log import log
from ..system.children import Watch, watch, watch_identity

OnMessage = Callable[["WorkerHandle", dict[str, Any]], None]
OnGone = Callable[["WorkerHandle"], None]


@dataclass(eq=False)
class WorkerHandle:
    """One worker.

    `owner` is its number in the process table. `assigned` is True from the assignment of a slot until the worker
    reports whether it found a task there. `shared` can hold one of the slots of the shared limits.
    """

    pid: int | None = None
    owner: int | None = None
    channel: socket.socket | None = None
    watch: Watch | None = None
    slot: Slot | None = None
    assigned: bool = False
    leaving: bool = False
    shared: SharedSlot | None = None
    reader: LineReader = field(default_factory=LineReader)
    idle_since: float = field(default_factory=clock.monotonic)

    @property
    def adopted(self) -> bool:
        """Return True if an earlier supervisor ordered it. Such a worker has no line to this supervisor."""
        return self.channel is None

    @property
    def idle(self) -> bool:
        """Return True if a slot can be assigned to it."""
        return self.slot is None and not self.leaving and not self.adopted

    def become_idle(self) -> None:
        """Record that it no longer has a slot."""
        self.slot, self.assigned, self.idle_since = None, False, clock.monotonic()

    def may_be(self, process: Process) -> bool:
        """Return True if it may be this process. It can claim a task before its first message or its PID arrives."""
        return self.owner is None and self.pid in (None, process.identity.pid)

    def dismiss(self) -> None:
        """Have the worker exit after its task."""
        self.leaving = True
        self.order({"leave": True})

    def order(self, order: dict[str, Any]) -> None:
        """Send an order. If the worker is dead, its watch reports that."""
        if self.channel is None:
            return
        try:
            with failpoint("worker.tell"):
                self.channel.send(json.dumps(order).encode() + b"\n")
        except OSError:
            return


class Workers:
    """All workers of the home, including those being spawned."""

    def __init__(self, selector: selectors.BaseSelector, on_message: OnMessage, on_gone: OnGone) -> None:
        """Call `on_message` with each message of a worker, and `on_gone` once when it has exited or died."""
        self._selector = selector
        self._on_message = on_message
        self._on_gone = on_gone
        self._all: list[WorkerHandle] = []

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(list(self._all))

    def __len__(self) -> int:
        return len(self._all)

    def idle(self) -> WorkerHandle | None:
        """Return the idle worker that became idle last, or None, so that the others reach their idle timeout."""
        return max((worker for worker in self._all if worker.idle), key=lambda idle: idle.idle_since, default=None)

    def in_group(self, group: str) -> list[WorkerHandle]:
        """Return the workers that have a slot of a limit group."""
        return [worker for worker in self._all if worker.slot is not None and worker.slot.group == group]

    def count_assigned(self, group: str) -> int:
        """Count the workers that were assigned a slot of a limit group and have not answered yet."""
        return sum(worker.assigned for worker in self.in_group(group))

    def of_owner(self, owner: int) -> WorkerHandle | None:
        """Return the worker with that number in the process table, or None."""
        return next((worker for worker in self._all if worker.owner == owner), None)

    def dismiss_idle(self, seconds: float) -> None:
        """Have the workers exit that have been idle for this number of seconds."""
        now = clock.monotonic()
        for worker in self._all:
            if worker.idle and now - worker.idle_since >= seconds:
                worker.dismiss()

    def of_pid(self, pid: int) -> WorkerHandle | None:
        """Return the worker with this PID, or None."""
        return next((worker for worker in self._all if worker.pid == pid), None)

    def add(self, channel: socket.socket) -> WorkerHandle:
        """Add a worker that is being spawned with the other end of `channel`."""
        worker = WorkerHandle(channel=channel)
        channel.setblocking(False)
        self._all.append(worker)
        self._selector.register(channel, selectors.EVENT_READ, lambda _mask: self._read(worker))
        return worker

    def adopt(self, identity: Identity, owner: int, slot: Slot) -> WorkerHandle | None:
        """Add a worker of an earlier supervisor, or return None if it is dead."""
        descriptor = watch_identity(identity)
        if descriptor is None:
            return None
        worker = WorkerHandle(pid=identity.pid, owner=owner, watch=descriptor, slot=slot)
        self._all.append(worker)
        self._watch(worker, descriptor)
        return worker

    def adopt_owner(self, running: Running) -> bool:
        """Adopt the worker of a running task. Return False if it is dead or the task has none."""
        owner = running.owner
        if owner is None or self.adopt(owner.identity, owner.number, running.slot) is None:
            return False
        log("adopted", pid=owner.identity.pid)
        return True

    def spawned(self, worker: WorkerHandle, pid: int) -> None:
        """Record the PID of a worker. While its channel is open, no other process can have this PID."""
        if worker not in self._all:  # it died before its PID arrived
            return
        descriptor = watch(pid)
        worker.pid = pid
        if descriptor is None:
            self._remove(worker)
            return
        worker.watch = descriptor
        self._watch(worker, descriptor)

    def _watch(self, worker: WorkerHandle, descriptor: Watch) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, lambda _mask: self._remove(worker))

    def _read(self, worker: WorkerHandle) -> None:
        if worker.channel is None or worker.channel.fileno() < 0:  # an earlier callback of the same wait removed it
            return
        try:
            data = worker.channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close_channel(worker)
            return
        worker.reader.feed(data)
        for line in worker.reader.lines():
            self._on_message(worker, json.loads(line))

    def _close_channel(self, worker: WorkerHandle) -> None:
        assert worker.channel is not None, "it was just read from"
        self._selector.unregister(worker.channel)
        worker.channel.close()
        worker.leaving = True
        if worker.pid is None:  # it died, or the fork server did, before its PID arrived
            self._remove(worker)

    def _remove(self, worker: WorkerHandle) -> None:
        if worker not in self._all:
            return
        self._read(worker)  # its only message, with its number in the process table, may still be unread
        if worker not in self._all:
            return
        self._all.remove(worker)
        if worker.watch is not None:
            self._selector.unregister(worker.watch)
            worker.watch.close()
        if worker.channel is not None and worker.channel.fileno() >= 0:
            self._selector.unregister(worker.channel)
            worker.channel.close()
        self._on_gone(worker)
