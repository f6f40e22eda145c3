"""Run calls one after another in this process."""

from __future__ import annotations

import _thread
import contextvars
import importlib
import json
import os
import select
import socket
import sys
import traceback
from collections.abc import Coroutine
from contextlib import suppress
from functools import lru_cache
from typing import Any

from .children import end_child, exit_code, reap_children, stop_helpers
from .descriptors import Descriptors
from .environment import Environment
from .imports import Imports
from .journal import Journal, end_line, start_line
from .marks import Marks, marks_of
from .outputs import Outputs
from .process_state import ProcessState
from .streams import Streams
from .system import Failpoint, now_us
from .wire import ORDER_LIMIT, Order, decode_order

#: The maximum number of characters of a result that are passed on. One more character shows that the result was cut.
_RESULT_LIMIT = 64 * 1024

#: The maximum number of characters of an error. Only the last line of a longer error is passed on.
_ERROR_LIMIT = 4096

#: The duration in microseconds from which a call is long enough for costly checks.
_LONG_US = 5000

_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class _FolderError(Exception):
    """The folder of a call cannot be used, so the call does not begin."""


class CallRunner:
    """Runs calls one after another, and notes their starts and ends in the journal."""

    def __init__(self, channel: socket.socket, queue: socket.socket, worker: int, failpoint: Failpoint) -> None:
        self._channel, self._queue, self._failpoint = channel, queue, failpoint
        self._pid, self._parent = os.getpid(), worker
        self._threads = _thread._count()
        self._has_run = False
        self._is_clean = True
        #: True if an import has changed the state of the process, which then serves only one folder.
        self._is_bound = False
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._poll.register(queue, select.POLLIN)

    def prepare(self, hello: dict[str, Any], journal: int) -> None:
        """Open the outputs and remember the state of the process, to restore it after each call."""
        os.set_inheritable(journal, False)
        self._imports = Imports()
        self._marks = Marks()
        self._journal = Journal(journal, self._failpoint)
        self._outputs = Outputs(hello["outputs"], hello["claims"], self._failpoint)
        self._streams = Streams()
        self._home: tuple[str, str] = hello["home"], hello["homeId"]
        self._environment = Environment(hello)
        self._state = ProcessState()
        self._descriptors = Descriptors(journal, self._channel.fileno(), self._queue.fileno())

    def run(self) -> None:
        """Run calls until the worker closes the channel. Raises ConnectionError."""
        while (order := self._next()) is not None:
            if not self._run(order):
                self._retire()
                return

    def _next(self) -> Order | None:
        try:
            data = self._queue.recv(ORDER_LIMIT, socket.MSG_DONTWAIT)
        except BlockingIOError:
            data = self._wait()
        # without PR_SET_PDEATHSIG, the worker may be dead and another worker may have the order
        return decode_order(data) if data and os.getppid() == self._parent else None

    def _wait(self) -> bytes:
        """Wait for an order. Return an empty message if the worker has closed the channel."""
        if self._has_run:
            self._notify(b"i\n")
            self._has_run = False
        self._marks.clear()
        while True:
            ready = [descriptor for descriptor, _ in self._poll.poll()]
            if self._channel.fileno() in ready and not self._channel.recv(1):
                return b""
            if self._queue.fileno() in ready:
                with suppress(BlockingIOError):  # the worker has taken it back
                    return self._queue.recv(ORDER_LIMIT, socket.MSG_DONTWAIT)

    def _notify(self, line: bytes) -> None:
        """Send the worker a line. Raises ConnectionError."""
        if not self._descriptors.has(self._channel.fileno()):
            raise ConnectionAbortedError("The call has closed the channel.")
        failpoint = self._failpoint
        with failpoint("runner.notify"):
            self._channel.sendall(line)

    def _retire(self) -> None:
        """Take no more orders, and wait until the worker closes the channel."""
        self._marks.clear()
        self._notify(b"r\n")
        while self._channel.recv(1):
            pass

    def _run(self, order: Order) -> bool:
        """Run a call if this process can. Return False if this process must not run another call."""
        target = self._environment.target(order.launcher_env, order.env)
        prefix = _prefix_of(order.cwd, target.get("PYTHONPATH", ""))
        if not (self._imports.are_current() and self._imports.can_enter(prefix, is_bound=self._is_bound)):
            return False
        self._has_run = True
        self._begin(order.claim)
        document = self._outcome(order, target, prefix)
        has_children = self._has_children()
        is_alone = not has_children and _thread._count() <= self._threads
        is_intact = self._descriptors.are_intact(is_suspect=self._state.is_suspect)
        self._journal.is_suspect = not is_intact
        can_continue = self._is_clean and is_alone and is_intact
        if not can_continue:
            document["last"] = True
        self._end(order.claim, document, has_children=has_children, is_alone=is_alone)
        self._state.is_suspect = False
        return can_continue

    def _begin(self, claim: int) -> None:
        """Note the start. While the journal cannot be written, the call does not begin. Raises ConnectionError."""
        while True:
            try:
                self._began = now_us()
                return self._journal.append(start_line(claim, self._began))
            except OSError:
                self._notify(b"f\n")
            if not self._channel.recv(1):
                raise ConnectionAbortedError("The worker has closed the channel.")

    def _outcome(self, order: Order, target: dict[str, str], prefix: tuple[str, ...]) -> dict[str, Any]:
        """Run a call, restore the process and return the call's outcome."""
        text, error = "null", None
        try:
            self._enter(order, target, prefix)
            text = contextvars.copy_context().run(self._call, order)
        except BaseException as caught:  # the call has failed; the runner continues
            error = caught
        if os.getpid() != self._pid:
            end_child(error)
        failure = self._restore()
        error = failure if error is None or exit_code(error) == 0 else error
        if error is None:
            return {"result": text[: _RESULT_LIMIT + 1]}
        if isinstance(error, _FolderError):
            return {"error": str(error), "errorKind": "spawn", "exitCode": 1}
        self._outputs.recover()
        self._is_clean &= self._streams.print_error(error)
        return {"error": _sentence(error), "errorKind": "failed"}

    def _enter(self, order: Order, target: dict[str, str], prefix: tuple[str, ...]) -> None:
        marks = marks_of(order, self._home)
        self._marks.show(marks)
        self._environment.enter(target, marks)
        self._state.set_umask(order.umask)
        self._streams.begin(order.stdin)
        try:
            os.chdir(order.cwd)
        except OSError as error:
            raise _FolderError(f"The folder {order.cwd} cannot be used: {error.strerror}.") from error
        self._imports.enter(prefix)

    def _restore(self) -> Exception | None:
        """Undo the call's changes of the process. Return the error of writing its output, if there was one."""
        self._state.is_suspect |= now_us() - self._began >= _LONG_US
        is_restored = self._state.restore()
        failure = self._streams.flush()
        if self._state.is_suspect:
            self._outputs.recover()
        self._streams.restore(is_suspect=self._state.is_suspect)
        self._is_clean = is_restored and failure is None
        return failure

    def _call(self, order: Order) -> str:
        function = _resolve(order.call)
        if self._imports.note_new():
            self._adopt()
        args = _DECODER.decode(order.args) if order.args else ()
        kwargs = _DECODER.decode(order.kwargs) if order.kwargs else {}
        value = function(*args, **kwargs)
        if isinstance(value, Coroutine):
            import asyncio

            value = asyncio.run(value)
        return _text(value)

    def _adopt(self) -> None:
        """Keep the changes of an import when restoring the process, because the import is not repeated."""
        changed = self._environment.adopt(), self._imports.adopt(), self._state.adopt(), self._descriptors.adopt()
        self._is_bound = self._is_bound or any(changed)

    def _has_children(self) -> bool:
        if reap_children():
            stop_helpers()
            return reap_children()
        return False

    def _end(self, claim: int, document: dict[str, Any], *, has_children: bool, is_alone: bool) -> None:
        """Note the end. If the journal has no room for the line, send it to the worker. Raises ConnectionError."""
        document |= self._outputs.collect(claim, is_alone=is_alone)
        line = end_line("x" if has_children else "e", claim, now_us(), document)
        try:
            self._journal.append(line)
        except OSError:
            self._notify(line)
        self._outputs.recycle()
        self._imports.note_new()


@lru_cache(8)
def _prefix_of(cwd: str, python_path: str) -> tuple[str, ...]:
    """Return the folders that come first in `sys.path`: the current folder and the entries of `PYTHONPATH`."""
    entries = [os.path.join(cwd, entry) for entry in python_path.split(os.pathsep)] if python_path else []
    return tuple(entry.rstrip("/") or "/" for entry in (cwd, *entries))


def _resolve(name: str) -> Any:
    module, _, path = name.partition(":")
    target: Any = sys.modules.get(module)
    if target is None:
        importlib.invalidate_caches()
        target = importlib.import_module(module)
    for step in path.split("."):
        target = getattr(target, step)
    return target


def _text(value: Any) -> str:
    """Return a value as JSON. Half of a surrogate pair cannot be encoded and is written as an escape."""
    if value is None:
        return "null"
    text = _ENCODER.encode(value)
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _sentence(error: BaseException) -> str:
    text = "".join(traceback.format_exception_only(error)).strip()
    return text.rpartition("\n")[2] if len(text) > _ERROR_LIMIT else text
