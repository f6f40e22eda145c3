"""The worker's side of a runner. It is a process that runs Python functions one after another until it retires."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...ipc.errors import Temporary
from ...ipc.failpoints import failpoint
from ...ipc.machine.shortage import is_shortage
from ...ipc.store.interface import Store
from ..role import name_process, reuse_large_blocks
from ..system.children import close_descriptors, fork
from ..system.signals import let_through, restore_default
from ..system.title import show_title
from .plan import CannotStart
from .process_tree import forget_status, take_status
from .runner.main import serve
from .runner.system import die_with_parent
from .runner.wire import ORDER_LIMIT, Order, decode_order, encode_order, encode_path, send_hello
from .spawn import DEFAULT_SIGNALS

#: The size of one read from the channel, in bytes.
_PIECE = 64 * 1024

#: The file that another interpreter runs.
_PROGRAM = str(Path(__file__).with_name("runner") / "__main__.py")


class Runner:
    """A process that runs calls. It is a fork of its worker without the worker's files, or another interpreter.

    It is `retired` when it takes no more orders, `hung_up` when it has closed the channel, and `blocked` while it waits
    for `resume` because the journal cannot be written.
    """

    def __init__(self, pid: int, channel: socket.socket, queue: tuple[socket.socket, socket.socket]) -> None:
        """Use `forked` or `of` instead. `queue` is the sending and the receiving end. The runner shares the latter."""
        forget_status(pid)
        self.pid = pid
        self.channel = channel
        self.outputs = ""
        self.retired = False
        #: True if the journal has the start of a call.
        self.has_begun = False
        #: True if the runner begins no further order. It has reported that, or is dead.
        self.refuses = False
        self.hung_up = False
        self.blocked = False
        #: End lines for which the journal had no room.
        self.lines: list[bytes] = []
        self._sender, self._receiver = queue
        self._unread = b""
        self._status: int | None = None

    @classmethod
    def forked(cls) -> Runner:
        """Fork this process, which must have no database open. Raises OSError."""
        worker = os.getpid()
        return cls._connected(lambda channel, orders: fork(lambda: _run_forked(worker, channel, orders)))

    @classmethod
    def of(cls, interpreter: str) -> Runner:
        """Start a runner under another interpreter. Raises CannotStart, OSError."""
        return cls._connected(lambda channel, orders: _spawn(interpreter, channel, orders))

    @classmethod
    def _connected(cls, start: Callable[[socket.socket, socket.socket], int]) -> Runner:
        """Start a process with its ends of the channel and the queue. `start` returns the process ID."""
        ours, theirs = socket.socketpair()
        queue = _queue()
        try:
            pid = start(theirs, queue[1])
        except BaseException:
            for connection in (ours, *queue):
                connection.close()
            raise
        finally:
            theirs.close()
        return cls(pid, ours, queue)

    def start(self, hello: dict[str, Any], journal: int) -> None:
        """Send the settings of all calls, and the journal's descriptor. If the runner is dead, `read` notices."""
        self.outputs = hello["outputs"]
        try:
            with failpoint("runner.hello"):
                send_hello(self.channel, hello, journal)
        except ConnectionError:
            self._lose()

    def send(self, order: Order, fallback: Callable[[bytes], str]) -> bool:
        """Put an order into the queue. Return False if the queue is full.

        An order that is too long for a datagram is passed to `fallback`, which writes it to a file and returns the
        path. The caller removes that file when the call has ended or the order was taken back. Raises OSError.
        """
        data = encode_order(order)
        if len(data) <= ORDER_LIMIT:
            try:
                return self._put(data)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
        return self._put(encode_path(fallback(data)))

    def take_back(self) -> list[int]:
        """Take back the orders that the runner has not received. Return their claims, in order. Raises OSError."""
        claims: list[int] = []
        while True:
            try:
                data = self._receiver.recv(ORDER_LIMIT, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return claims
            claims.append(decode_order(data).claim)

    def read(self) -> None:
        """Handle the notices on the channel."""
        while not self.hung_up:
            try:
                data = self.channel.recv(_PIECE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if data:
                *lines, self._unread = (self._unread + data).split(b"\n")
                for line in lines:
                    self._handle(line)
            else:
                self._lose()

    def note_end(self, document: Mapping[str, Any]) -> None:
        """Mark the runner as retired if this is the end of its last call."""
        self.retired |= document.get("last", False)

    def take_lines(self) -> bytes:
        """Return the end lines that were received over the channel since the last call."""
        lines, self.lines = self.lines, []
        return b"".join(lines)

    def resume(self) -> None:
        """Let a blocked runner try again to write to the journal."""
        self.blocked = False
        try:
            with failpoint("runner.resume"):
                self.channel.send(b"\n")
        except ConnectionError:
            self._lose()

    def status(self) -> int | None:
        """Return the wait status of the runner, or None while it lives."""
        if self._status is None:
            self._status = take_status(self.pid)
        return self._status

    def end(self) -> int:
        """Kill the runner if it is alive, and reap it. Return its wait status."""
        if (status := self.status()) is None:
            with failpoint("runner.kill"):
                os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
            self._status = status
        return status

    def close(self) -> None:
        """Close the connection. A living runner then exits."""
        for connection in (self.channel, self._sender, self._receiver):
            connection.close()

    def _put(self, data: bytes) -> bool:
        try:
            with failpoint("runner.order"):
                self._sender.send(data, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS):  # the latter on macOS
                return False
            raise
        return True

    def _handle(self, line: bytes) -> None:
        if line == b"r":
            self.retired = self.refuses = True
        elif line == b"f":
            self.blocked = True
        elif line != b"i":
            self.lines.append(line + b"\n")

    def _lose(self) -> None:
        self.hung_up = self.retired = self.refuses = True
        self.blocked = False


class LazyRunner:
    """The runner of a worker. It is started for the first call, because most workers run only commands.

    A worker has only one runner. When the runner can no longer be used, the worker is replaced. A runner that waits for
    calls is replaced if a call needs another interpreter.
    """

    def __init__(self, store: Store, start: Callable[[Runner], object], stop: Callable[[Runner], object]) -> None:
        """Start no runner yet. Call `start` with the runner once it exists, and `stop` before it is replaced.

        A fork must not inherit `store`. It is closed before the fork, and its next transaction opens it again.
        """
        self._store, self._start, self._stop = store, start, stop
        self._runner: Runner | None = None
        self._interpreter = ""
        self._is_outdated = False

    def get(self, interpreter: str) -> Runner:
        """Return the runner. The first call starts it. Raises CannotStart, Temporary.

        The runner uses `interpreter`, or this process's interpreter if that is empty. At the first call, the worker
        must have no transaction and no other database open, and no call must be running. A call that was assigned just
        before the runner became outdated still runs there, but never under another interpreter.
        """
        if self._runner is not None and self._interpreter != interpreter and not self._runner.retired:
            self._stop(self._runner)
            self._runner.close()
            self._runner.end()
            self._runner = None
        if self._runner is None:
            self._runner, self._interpreter = self._make(interpreter), interpreter
        return self._runner

    def is_fresh(self) -> bool:
        """Return True if this worker can still run any task, because no call has left anything behind."""
        return self._runner is None or not (self._runner.retired or self._is_outdated)

    def has_failed(self) -> bool:
        """Return True if the runner has ended before it began its first call."""
        return self._runner is not None and self._runner.hung_up and not self._runner.has_begun

    def mark_outdated(self) -> None:
        """Record that the settings of calls have changed, so that a runner started earlier is outdated."""
        self._is_outdated = self._runner is not None

    def pids(self) -> set[int]:
        """Return the process ID of the runner, if it is kept for further calls."""
        return set() if self._runner is None or self._runner.retired else {self._runner.pid}

    def _make(self, interpreter: str) -> Runner:
        try:
            runner = Runner.of(interpreter) if interpreter else self._fork()
            try:
                self._start(runner)
            except OSError:
                runner.close()
                runner.end()
                raise
        except OSError as error:
            raise Temporary(f"A process for calls cannot be started now: {error.strerror}.") from error
        return runner

    def _fork(self) -> Runner:
        self._store.release()
        return Runner.forked()


def _queue() -> tuple[socket.socket, socket.socket]:
    """Return the sending and the receiving end of a queue that keeps message boundaries."""
    return socket.socketpair(socket.AF_UNIX, getattr(socket, "SOCK_SEQPACKET", None) or socket.SOCK_DGRAM)


def _run_forked(worker: int, channel: socket.socket, orders: socket.socket) -> None:
    """Run calls in a fork of the worker, without its open files and its settings."""
    die_with_parent(worker)
    gc.freeze()  # a collected object of the worker could close a descriptor of a call
    close_descriptors(channel.fileno(), orders.fileno())
    reuse_large_blocks()
    os.setsid()
    restore_default(*DEFAULT_SIGNALS, signal.SIGUSR1)
    signal.set_wakeup_fd(-1)
    let_through()
    name_process("bb-runner")
    show_title(f"bb-runner of worker {worker}")
    serve(channel, orders, worker, failpoint)


def _spawn(interpreter: str, channel: socket.socket, queue: socket.socket) -> int:
    """Start the runner under another interpreter. Raises CannotStart, OSError."""
    numbers = [str(channel.fileno()), str(queue.fileno())]
    for connection in (channel, queue):
        connection.set_inheritable(True)
    try:
        with failpoint("runner.spawn"):
            return os.posix_spawnp(
                interpreter,
                [interpreter, _PROGRAM, *numbers, str(os.getpid())],
                dict(os.environ),
                setsid=True,
                setsigmask=(),
                setsigdef=DEFAULT_SIGNALS,
            )
    except OSError as error:
        if is_shortage(error):
            raise
        raise CannotStart(f"The interpreter {interpreter} cannot be started: {error.strerror}.") from error
    finally:
        queue.set_inheritable(False)
