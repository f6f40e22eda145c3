"""The process that runs Python callables: `pkg.mod:func` with JSON arguments and a JSON result.

This file stands alone (standard library only), so that another interpreter can run it:
`python runner.py CHANNEL_FD QUEUE_FD PARENT_PID`. Three descriptors connect a runner with its worker:

- the queue brings orders, one datagram each; what the runner has not received the worker can take back;
- the journal is a file to which the runner appends what began (`s`) and what ended (`e`, `x`);
- the channel brings the hello and carries notices to the worker: `i` (the queue is empty), `r` (retired: the runner
  takes no more orders), `f` (the journal cannot be written) and end lines that did not fit into the journal.

One runner serves many calls. After each of them it restores the state of the process, or retires.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import contextlib
import contextvars
import errno
import faulthandler
import gc
import importlib
import json
import locale
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial, wraps
from importlib.machinery import EXTENSION_SUFFIXES, SourceFileLoader
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn

#: Names a place at which a test can kill the process; see ipc/failpoints.py
Failpoint = Callable[[str], AbstractContextManager[object]]

#: Bytes of the longest order that is sent as a datagram; a longer one is sent as the path of a file.
ORDER_LIMIT = 64 * 1024

#: Bytes of a stream that an end line holds; a longer output stays in a file of its own.
OUTPUT_LIMIT = 32 * 1024

#: Characters of a result that are passed on. The one beyond shows that the result was cut.
_RESULT_LIMIT = 64 * 1024

#: Characters of an error of several lines beyond which only its last line is passed on.
_ERROR_LIMIT = 4096

#: A variable that reserves room in the environment block of this process for the marks of the current call.
ROOM = "BACKBURNER_ROOM"

#: Marks of a call, in its environment: the claim, the state directory, and whether its children may outlive it.
_SHOWN = _CLAIM, _HOME, _LEAVE_CHILDREN = "BACKBURNER_CLAIM", "BACKBURNER_HOME", "BACKBURNER_LEAVE_CHILDREN"

#: Nanoseconds for which installed packages (not the user's own modules) are taken to be unchanged on disk.
_INSTALLED_CHECK_NS = 250_000_000

#: Microseconds after which a call is long enough for costly checks.
_LONG_US = 5000

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

_LINUX = sys.platform == "linux"
_LENGTH = struct.Struct("!I")
_STREAMS = ("stdin", "stdout", "stderr")


class Order(NamedTuple):
    """One attempt at a call.

    `args`, `kwargs`, `env` are JSON texts, empty or None for none; null in `env` stands for the inherited value.
    """

    claim: int
    attempt: int
    id: str
    parent: str | None
    call: str
    args: str | None
    kwargs: str | None
    cwd: str
    env: str | None
    stdin: str | None
    leave_children: bool


#: Separates the parts of an encoded order: no JSON text contains it.
_SEPARATOR = "\0"


def encode_order(order: Order) -> bytes:
    """Return an order as it is sent or stored: what is JSON already is not encoded again."""
    claim, attempt, id, parent, call, args, kwargs, cwd, env, stdin, leave_children = order
    rest = json.dumps((claim, attempt, id, parent, call, cwd, stdin, leave_children))
    return _SEPARATOR.join((rest, args or "", kwargs or "", env or "")).encode()


def encode_path(path: str) -> bytes:
    """Return an order as it is sent if it lies in a file."""
    return json.dumps(path).encode()


def decode_order(data: bytes) -> Order:
    """Return a received order; one that is only the path of a file is read from there. Raises OSError."""
    if data.startswith(b'"'):
        with open(json.loads(data), "rb") as file:
            data = file.read()
    rest, args, kwargs, env = data.decode().split(_SEPARATOR)
    claim, attempt, id, parent, call, cwd, stdin, leave_children = _DECODER.decode(rest)
    return Order(claim, attempt, id, parent, call, args, kwargs, cwd, env, stdin, leave_children)


def start_line(claim: int, us: int) -> bytes:
    """Return the journal line of an attempt that begins at `us` (microseconds since the epoch)."""
    return b"s %d %d\n" % (claim, us)


def end_line(kind: str, claim: int, us: int, document: dict[str, Any]) -> bytes:
    """Return the journal line of an attempt that ended: `e` if nothing of it is left, `x` if children are."""
    line = f"{kind} {claim} {us} {json.dumps(document)}".encode()
    return b"%s %08x\n" % (line, zlib.crc32(line))


def send_hello(channel: socket.socket, hello: dict[str, Any], journal: int) -> None:
    """Send a runner the settings for all of its calls, and its journal. Raises OSError."""
    data = json.dumps(hello).encode()
    message = _LENGTH.pack(len(data)) + data
    sent = socket.send_fds(channel, [message], [journal])
    channel.sendall(message[sent:])


def receive_hello(channel: socket.socket) -> tuple[dict[str, Any], int] | None:
    """Return the settings and the journal's descriptor, or None if the channel ends first. Raises OSError."""
    data, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 1)
    size = _LENGTH.unpack(data)[0] if len(data) == _LENGTH.size else -1
    document = bytearray()
    while len(document) < size and (piece := channel.recv(size - len(document))):
        document += piece
    return (json.loads(document), descriptors[0]) if len(document) == size else None


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (PR_SET_PDEATHSIG, Linux only)."""
    _set_process_control(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _set_process_control(option: int, value: int) -> None:
    """Call prctl(2), on Linux and where this interpreter has ctypes."""
    if _LINUX and (libc := _libc()) is not None:
        libc.prctl(option, value, 0, 0, 0)


def _libc() -> Any:
    try:
        import ctypes
    except ImportError:
        return None
    return ctypes.CDLL(None)


class Marks:
    """The marks of the current call, in the environment block that the kernel shows of this process.

    A child that is forked and executes nothing shows its ancestor's block. Without the marks, no process could tell
    which task such a child belongs to once the worker is dead.
    """

    def __init__(self) -> None:
        """Find the reserved room. Where there is none (not Linux), nothing is shown."""
        place, size = _room()
        self._block: Any = None
        if size > 0:
            import ctypes

            self._block = (ctypes.c_char * size).from_address(place)
            self._size = size

    def show(self, text: bytes) -> None:
        """Replace what is shown by `text`: NAME=VALUE, separated by NUL."""
        if self._block is not None:
            self._block.raw = text[: self._size].ljust(self._size, b"\0")


#: Where /proc/self/stat has the address of the environment block, counted from behind the name (proc_pid_stat(5)).
_ENV_START = 47


def _room() -> tuple[int, int]:
    """Return address and size of the room for marks in this process's memory; the size is -1 where there is none."""
    try:
        import ctypes  # noqa: F401 (not every interpreter has it)

        with open("/proc/self/environ", "rb") as file:
            environment = b"\0" + file.read()
        with open("/proc/self/stat", "rb") as file:
            start = int(file.read().rpartition(b")")[2].split()[_ENV_START])
    except (ImportError, OSError, IndexError):  # or the system shows it differently
        return 0, -1
    at = environment.find(b"\0" + ROOM.encode() + b"=")
    return start + at, environment.find(b"\0", at + 1) - at - 1 if start and at >= 0 else -1


class Journal:
    """The worker's journal: lines are appended whole or not at all."""

    def __init__(self, descriptor: int, failpoint: Failpoint) -> None:
        self.descriptor = descriptor
        self._failpoint = failpoint
        self._file = _file_of(descriptor)
        self._path = os.path.realpath(f"/proc/self/fd/{descriptor}")
        self.is_suspect = False

    def append(self, line: bytes) -> None:
        """Append a line with one write. Raises OSError."""
        if self.is_suspect:
            self._recover()
        failpoint = self._failpoint
        with failpoint("runner.journal"):
            written = os.write(self.descriptor, line)
        if written < len(line):
            self._cut_off(written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _recover(self) -> None:
        """Open the journal again if a call has closed or replaced the descriptor."""
        if _file_of(self.descriptor) != self._file:
            self.descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            if _file_of(self.descriptor) != self._file:
                raise FileNotFoundError(errno.ENOENT, "The journal is not there any more.", self._path)

    def _cut_off(self, written: int) -> None:
        failpoint = self._failpoint
        size = os.fstat(self.descriptor).st_size - written
        with failpoint("runner.journal.cut"):
            os.ftruncate(self.descriptor, size)


def _file_of(descriptor: int) -> tuple[int, int] | None:
    """Return what identifies the open file behind a descriptor, or None if it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Descriptors:
    """The runner's own descriptors. Lost and leaked ones are noticed, and a forked child closes its copies."""

    def __init__(self, *descriptors: int) -> None:
        """Remember the descriptors, and that no others (but the streams) are open now."""
        self._own = {descriptor: _file_of(descriptor) for descriptor in descriptors}
        self._folder = os.open("/proc/self/fd", os.O_RDONLY | os.O_CLOEXEC) if _LINUX else -1
        self._has_size = _LINUX and os.fstat(self._folder).st_size > 0  # since Linux 6.2 it is the number of entries
        self._count = self._open_count()
        os.register_at_fork(after_in_child=self._close)

    def are_intact(self, *, is_suspect: bool) -> bool:
        """Return True if the call has neither lost nor leaked a descriptor."""
        if is_suspect and not all(map(self.has, self._own)):
            return False
        if self._open_count() == self._count:
            return True
        gc.collect()  # files in reference cycles
        return self._open_count() == self._count

    def adopt(self) -> bool:
        """Keep descriptors that an import has opened. Return True if there are any."""
        before, self._count = self._count, self._open_count()
        return before != self._count

    def has(self, descriptor: int) -> bool:
        """Return True if one of the runner's own descriptors is still open."""
        return _file_of(descriptor) == self._own[descriptor]

    def _open_count(self) -> int:
        if not _LINUX:
            return len(os.listdir("/dev/fd"))
        if self._has_size:
            return _size_of(self._folder)
        return len(os.listdir("/proc/self/fd"))

    def _close(self) -> None:
        """Keep the worker's connections out of a child: it must neither use them nor delay their end."""
        for descriptor in [found for found in self._own if self.has(found)]:
            os.close(descriptor)


def _size_of(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_size
    except OSError:  # the call has closed it
        return -1


class Outputs:
    """The files behind descriptors 1 and 2. They are used again as long as what a call writes is short."""

    def __init__(self, prefix: str, claims: str, failpoint: Failpoint) -> None:
        """Open the files `prefix`.stdout and `prefix`.stderr; `claims` is the folder for files that are kept."""
        self._paths = {1: f"{prefix}.stdout", 2: f"{prefix}.stderr"}
        self._claims = claims
        self._failpoint = failpoint
        self._files: dict[int, tuple[int, int] | None] = {}
        self._used: list[int] = []
        self._kept: list[int] = []
        for target in self._paths:
            self._open(target)

    def collect(self, claim: int, *, is_alone: bool) -> dict[str, Any]:
        """Return what a call has written. What is long, or can still be written to, is kept in files of the claim."""
        found: dict[str, Any] = {}
        for target in (1, 2):
            status = self._status(target)
            if status.st_nlink != 1 or status.st_size > OUTPUT_LIMIT or not is_alone:
                self._keep(target, claim)
                found.setdefault("kept", []).append(_STREAMS[target])
            elif status.st_size:
                found[_STREAMS[target]] = os.pread(target, status.st_size, 0).decode("latin-1")
                self._used.append(target)
        return found

    def recover(self) -> None:
        """Open the files again if the call has closed or replaced their descriptors. Raises OSError."""
        for target in self._paths:
            self._status(target)

    def recycle(self) -> None:
        """Empty the files for the next call, once the journal has what they held. Raises OSError."""
        failpoint = self._failpoint
        for target in self._used:
            with failpoint("runner.output.truncate"):
                os.ftruncate(target, 0)
        for target in self._kept:
            self._begin(target)
        self._used, self._kept = [], []

    def _status(self, target: int) -> os.stat_result:
        """Return the file's status; open it again if the call has closed or replaced the descriptor."""
        try:
            found = os.fstat(target)
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._files[target]:
            self._open(target)
            found = os.fstat(target)
        return found

    def _keep(self, target: int, claim: int) -> None:
        """Give a file its claim's name. The worker may have linked it there already; then rename(2) does nothing."""
        failpoint = self._failpoint
        with failpoint("runner.output.rename"):
            os.rename(self._paths[target], f"{self._claims}/{claim}.{_STREAMS[target]}")
        self._kept.append(target)

    def _begin(self, target: int) -> None:
        """Open a new file. The old one may have a claim's name as well, and must not be truncated."""
        failpoint = self._failpoint
        with contextlib.suppress(FileNotFoundError), failpoint("runner.output.unlink"):
            os.unlink(self._paths[target])
        self._open(target)

    def _open(self, target: int) -> None:
        opened = os.open(self._paths[target], os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _move_descriptor(opened, target)
        self._files[target] = _file_of(target)


def _move_descriptor(descriptor: int, target: int) -> None:
    """Make `target` a descriptor that children inherit, in place of `descriptor`."""
    if descriptor == target:
        os.set_inheritable(target, True)
    else:
        os.dup2(descriptor, target)
        os.close(descriptor)


class Streams:
    """`sys.stdin`, `sys.stdout` and `sys.stderr`, and what descriptor 0 reads."""

    def __init__(self) -> None:
        """Start with an empty stdin; output is line-buffered, so that it can be followed while a call runs."""
        plain = ("utf-8", "strict"), ("utf-8", "strict"), ("utf-8", "backslashreplace")
        found = (getattr(sys, name) for name in _STREAMS)
        self._codecs = [(one.encoding, one.errors) if one else codec for one, codec in zip(found, plain, strict=True)]
        self._ours: dict[str, Any] = {}
        self._made: dict[str, tuple[object, ...]] = {}
        self._null: tuple[int, int] | None = None
        self._has_input = False
        self._read_from(os.devnull)
        for name in _STREAMS:
            self._replace(name)

    def begin(self, stdin: str | None) -> None:
        """Have the call read that file. Raises OSError."""
        if stdin is not None:
            self._has_input = True
            self._read_from(stdin)
            self._replace("stdin")

    def flush(self) -> Exception | None:
        """Write out what the call has printed; return the first error."""
        failure = None
        for name in ("stdout", "stderr"):
            ours, current = self._ours[name], getattr(sys, name, None)
            for stream in (ours,) if current is ours else (current, ours):
                try:
                    if stream is not None and _is_open(stream):
                        stream.flush()
                except Exception as error:  # the call may have put any object there
                    failure = failure or error
        return failure

    def print_error(self, error: BaseException) -> bool:
        """Print a traceback without the frames of this file; return False if it could not be written."""
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        try:
            sys.stderr.write("".join(traceback.format_exception(type(error), error, trace)))
            sys.stderr.flush()
        except OSError:  # the journal has the error, too
            return False
        return True

    def restore(self, *, is_suspect: bool) -> None:
        """Put back the streams; nothing that one call could read is left for the next."""
        if self._has_input or (is_suspect and _file_of(0) != self._null):
            self._read_from(os.devnull)
            self._replace("stdin")
            self._has_input = False
        for name, ours in self._ours.items():
            if getattr(sys, name, None) is not ours or not self._is_as_made(name, ours):
                self._replace(name)

    def _is_as_made(self, name: str, stream: Any) -> bool:
        try:
            return bool(_state_of(stream) == self._made[name])
        except ValueError:  # detached from its buffer
            return False

    def _read_from(self, path: str) -> None:
        _move_descriptor(os.open(path, os.O_RDONLY | os.O_CLOEXEC), 0)
        self._null = _file_of(0) if path == os.devnull else self._null

    def _replace(self, name: str) -> None:
        target = _STREAMS.index(name)
        encoding, errors = self._codecs[target]
        mode = "w" if target else "r"
        # the descriptor outlives the stream: closing one must not free the number
        made = open(target, mode, buffering=1, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
        self._ours[name] = made
        self._made[name] = _state_of(made)
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)


#: What a call may change of a text stream.
_state_of = attrgetter("closed", "encoding", "errors", "line_buffering")


def _is_open(stream: Any) -> bool:
    try:
        return not stream.closed
    except AttributeError:  # any object
        return hasattr(stream, "flush")
    except ValueError:  # detached from its buffer
        return False


class Environment:
    """The environment variables and the time zone of the current call."""

    def __init__(self, hello: dict[str, Any]) -> None:
        """Take from the hello what every call's environment begins with."""
        self._base: dict[str, str] = hello["environment"]
        self._inherited: dict[str, str] = hello["inherited"]
        self._environ = os.environ
        self._targets: dict[str | None, dict[str, str]] = {}
        self._native = _NativeEnvironment()
        self._effects: dict[str, tuple[str | None, str | None]] = {}
        self._target: dict[str, str] | None = None
        self._marks: dict[str, str] = {}
        self._current: dict[str, str] = {}
        self._known: dict[bytes, bytes] = {}
        self._reset()

    def target(self, env: str | None) -> dict[str, str]:
        """Return the environment that a launch asks for, without the marks."""
        found = self._targets.get(env)
        if found is None:
            named = json.loads(env or "{}")
            values = {name: self._inherited.get(name) if value is None else value for name, value in named.items()}
            found = self._base | {name: value for name, value in values.items() if value is not None}
            if len(self._targets) >= 8:
                self._targets.clear()
            self._targets[env] = found
        return found

    def enter(self, target: dict[str, str], marks: dict[str, str]) -> None:
        """Make an environment the current one, whatever the last call did to it."""
        if os.environ is not self._environ or not self._is_unchanged():
            self._reset()
        if target is self._target and marks.keys() == self._marks.keys():
            self._change(self._marks, marks)
        else:
            self._change(self._current, self._with_effects(target | marks))
        self._target, self._marks = target, marks
        if self._zone != _zone():
            time.tzset()
        self._remember()

    def adopt(self) -> bool:
        """Keep for later calls what an import has changed: the module is not loaded again. Return True if it has."""
        if self._is_unchanged():
            return False
        found = dict(os.environ)
        for name in found.keys() | self._current.keys():
            if (before := self._current.get(name)) != (after := found.get(name)):
                self._effects[name] = (before, after)
        self._current = found
        self._known = dict(os.environ._data)  # type: ignore[attr-defined]
        self._native.forget()
        self._remember()
        return True

    def _with_effects(self, values: dict[str, str]) -> dict[str, str]:
        for name, (before, after) in self._effects.items():
            if values.get(name) == before and after is not None:
                values[name] = after
            elif values.get(name) == before:
                values.pop(name, None)
        return values

    def _change(self, before: dict[str, str], after: dict[str, str]) -> None:
        variables = self._environ._data  # type: ignore[attr-defined]
        is_zone_changed = before.get("TZ") != after.get("TZ")
        for name in before.keys() - after.keys():
            key = os.fsencode(name)
            self._native.unset(key)
            del variables[key], self._known[key], self._current[name]
        for name, value in after.items() - before.items():
            key, data = os.fsencode(name), os.fsencode(value)
            self._native.put(key, data)
            variables[key] = self._known[key] = data
            self._current[name] = value
        if is_zone_changed:
            time.tzset()

    def _is_unchanged(self) -> bool:
        return bool(self._known == os.environ._data and self._native.is_unchanged())  # type: ignore[attr-defined]

    def _remember(self) -> None:
        self._native.remember(len(self._current))
        self._zone = _zone()

    def _reset(self) -> None:
        os.environ = self._environ  # noqa: B003 (the object that the interpreter made)
        os.environ.clear()
        self._native.clear()
        time.tzset()
        self._current, self._known = {}, {}
        self._target, self._marks = None, {}
        self._remember()


def _zone() -> tuple[Any, ...]:
    return time.tzname, time.timezone, time.altzone


class _NativeEnvironment:
    """The C library's `environ`, to notice what was changed without `os.environ` (Linux with ctypes only)."""

    def __init__(self) -> None:
        self._libc = _libc() if _LINUX else None
        self._place: int | None = None
        self._is_moved = True
        self._buffers: dict[bytes, Any] = {}
        self._retained: list[dict[bytes, Any]] = []
        if self._libc is not None:
            import ctypes

            self._pointer = ctypes.c_void_p
            self._new_buffer = ctypes.create_string_buffer
            self._environ = self._pointer.in_dll(self._libc, "environ")

    def put(self, name: bytes, value: bytes) -> None:
        """Set a variable in memory that is used again: setenv(3) never frees a value, which is a leak for each call."""
        if self._libc is None:
            os.putenv(name, value)
            return
        text = b"%b=%b" % (name, value)
        buffer = self._buffers.get(name)
        if buffer is None or len(text) >= len(buffer):
            buffer = self._new_buffer(max(256, 2 * len(text)))
            buffer.value = text
            self._libc.putenv(buffer)
            self._buffers[name] = buffer  # not before: this frees the old one
            self._is_moved = True
        else:
            buffer.value = text

    def unset(self, name: bytes) -> None:
        """Remove a variable."""
        os.unsetenv(name)
        self._buffers.pop(name, None)
        self._is_moved = True

    def remember(self, count: int) -> None:
        """Remember the array of pointers, which has `count` entries and a null behind them."""
        if self._libc is not None and self._is_moved:
            self._is_moved = False
            self._place = self._environ.value
            array: Any = self._pointer * (count + 1)
            self._array = memoryview(array.from_address(self._place)) if self._place is not None else memoryview(b"")
            self._seen = self._array.tobytes()

    def is_unchanged(self) -> bool:
        """Return True if the array is as it was: setenv(3), putenv(3) and unsetenv(3) change a pointer in it."""
        return self._libc is None or (self._environ.value == self._place and self._array.tobytes() == self._seen)

    def forget(self) -> None:
        """Remember the array again next time: an import has changed it."""
        self._is_moved = True
        self._retained.append(self._buffers)  # the array may still point to them
        self._buffers = {}

    def clear(self) -> None:
        """Remove all variables, those that `os.environ` does not know included."""
        if self._libc is not None:
            self._libc.clearenv()
        self._buffers.clear()
        self._retained.clear()
        self._is_moved = True


class Imports:
    """`sys.path`, and the modules that calls have loaded."""

    def __init__(self) -> None:
        """Regard what is loaded already as part of the runner; `PYTHONPATH` is that of each call."""
        own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        self._base = [entry for entry in sys.path if entry not in own]
        self._list = sys.path
        self._path = list(sys.path)
        self._prefix: tuple[str, ...] | None = None
        self._preloaded = set(sys.modules)
        self._known = dict.fromkeys(sys.modules)
        self._files: dict[str, object] = {}
        self._installed: dict[str, object] = {}
        self._checked = 0
        self._record_stats()

    def are_current(self) -> bool:
        """Return True if the modules that calls have loaded are the same on disk."""
        if any([_stamp(path) != stamp for path, stamp in self._files.items()]):
            return False
        if self._installed and (now := time.monotonic_ns()) - self._checked >= _INSTALLED_CHECK_NS:
            self._checked = now
            return all(_stamp(path) == stamp for path, stamp in self._installed.items())
        return True

    def can_enter(self, prefix: tuple[str, ...], *, is_bound: bool) -> bool:
        """Return True unless what was loaded for another prefix of the path cannot be unloaded."""
        if prefix == self._prefix:
            return True
        return not is_bound and not any(map(_is_extension, self._modules_of(set(self._prefix or ()) - set(prefix))))

    def enter(self, prefix: tuple[str, ...]) -> None:
        """Put the folder of a call and its `PYTHONPATH` first, and forget the modules of the last call's."""
        if prefix != self._prefix:
            for name in self._modules_of(set(self._prefix or ()) - set(prefix)):
                for path in _files_behind(sys.modules.pop(name)):
                    self._files.pop(path, None)
            self._known = dict.fromkeys(sys.modules)
            self._prefix = prefix
            self._path = [*prefix, *self._base]
            importlib.invalidate_caches()
        if sys.path is not self._list or sys.path != self._path:
            sys.path = self._list
            sys.path[:] = self._path

    def adopt(self) -> bool:
        """Keep for later calls what an import has done to `sys.path`. Return True if it has."""
        changed = sys.path != self._path
        self._list, self._path = sys.path, list(sys.path)
        return changed

    def note_new(self) -> bool:
        """Record the files of modules that were loaded since the last look. Return True if there are any."""
        if len(sys.modules) == len(self._known):
            return False
        modules = dict(sys.modules)  # at once: a thread that the call has left may be importing
        for name in modules.keys() - self._known.keys():
            for path in _files_behind(modules[name]):
                if path not in self._files and path not in self._installed:
                    self._record(path, _stamp(path))
        self._known = dict.fromkeys(modules)
        return True

    def _record(self, path: str, stamp: object) -> None:
        (self._installed if _is_installed(path) else self._files)[path] = stamp

    def _record_stats(self) -> None:
        """Have each source file's time and size recorded before it is read, not when it may have changed again."""
        original = SourceFileLoader.path_stats

        def path_stats(loader: SourceFileLoader, path: str) -> Any:
            found = original(loader, path)
            self._record(path, (found["mtime"], found["size"]))
            return found

        SourceFileLoader.path_stats = path_stats  # type: ignore[assignment,method-assign]

    def _modules_of(self, folders: set[str]) -> list[str]:
        """Return the names of modules whose topmost package was found in one of these folders of the path."""
        tops = {name for name in set(sys.modules) - self._preloaded if "." not in name and _home_of(name) & folders}
        return [name for name in sys.modules if name.partition(".")[0] in tops and name not in self._preloaded]


def _home_of(name: str) -> set[str]:
    """Return the folders of the path in which a topmost module was found."""
    module = sys.modules[name]
    inside = list(getattr(module, "__path__", ()))
    return {os.path.dirname(path) for path in inside or [getattr(module, "__file__", None) or ""]}


def _is_extension(name: str) -> bool:
    return (getattr(sys.modules[name], "__file__", None) or "").endswith(tuple(EXTENSION_SUFFIXES))


def _files_behind(module: Any) -> Iterator[str]:
    """Yield the files that decide what a module is: of a namespace package those that would make it another one."""
    archive = getattr(getattr(module, "__loader__", None), "archive", None)
    file = archive or getattr(module, "__file__", None)
    if isinstance(file, str):
        yield file
    else:
        yield from (os.path.join(folder, "__init__.py") for folder in getattr(module, "__path__", ()))


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime, found.st_size


def _is_installed(path: str) -> bool:
    return "/site-packages/" in path or "/dist-packages/" in path or path.startswith(os.path.dirname(os.__file__) + "/")


class Setting(NamedTuple):
    """A setting of the process: how to read it, and how to restore it (None: it cannot be restored)."""

    read: Callable[[], Any]
    write: Callable[[Any], object] | None


#: Functions that change what costs more to read than a short call takes.
_WATCHED = (
    (faulthandler, "enable register"),
    (locale, "setlocale"),
    (resource, "setrlimit prlimit"),
    (signal, "signal alarm setitimer siginterrupt set_wakeup_fd pthread_sigmask"),
    (
        os,
        "close closerange dup2 umask nice setpriority sched_setaffinity sched_setscheduler sched_setparam chroot"
        " setuid seteuid setreuid setresuid setgid setegid setregid setresgid setgroups initgroups",
    ),
)


class ProcessState:
    """The settings of the process that a call may change.

    What only the kernel knows is read after a call that was long, has imported something or has used a function that
    changes it. What the interpreter knows is read after every call.
    """

    def __init__(self) -> None:
        """Remember the settings as they are."""
        self.is_suspect = False
        self._settings = [*_interpreter_settings()]
        self._costly = [*_process_settings(), *_limits(), *_signal_settings()]
        self._values: list[Any] = []
        self._costly_values: list[Any] = []
        self.adopt()
        for module, names in _WATCHED:
            for name in names.split():
                if hasattr(module, name):
                    self._watch(module, name)

    def adopt(self) -> bool:
        """Take the settings as they are now for those to be restored. Return True if they have changed."""
        self._filters = list(warnings.filters)
        self.is_suspect = True
        before = self._values, self._costly_values
        self._values, self._costly_values = _read(self._settings), _read(self._costly)
        return before != (self._values, self._costly_values)

    def restore(self) -> bool:
        """Undo what the call has changed; return False if something could not be undone."""
        warnings.resetwarnings()  # also forgets which warnings were shown already
        warnings.filters.extend(self._filters)  # type: ignore[attr-defined]
        faulthandler.cancel_dump_traceback_later()
        is_restored = _restore(self._settings, self._values)
        return (not self.is_suspect or _restore(self._costly, self._costly_values)) and is_restored

    def _watch(self, module: Any, name: str) -> None:
        """Have a function note that it was called, also in the extension module that it comes from."""
        function = getattr(module, name)

        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.is_suspect = True
            return function(*args, **kwargs)

        for owner in (module, sys.modules[function.__module__]):
            if getattr(owner, name, None) is function:
                setattr(owner, name, watched)


def _read(settings: list[Setting]) -> list[Any]:
    return [read() for read, _ in settings]


def _restore(settings: list[Setting], values: list[Any]) -> bool:
    """Give settings these values; return False if that failed."""
    found = _read(settings)
    if found == values:
        return True
    for (_, write), now, before in zip(settings, found, values, strict=True):
        if now != before and write is not None:
            with contextlib.suppress(OSError, ValueError, locale.Error):  # the comparison below finds it
                write(before)
    return _read(settings) == values


def _limits() -> Iterator[Setting]:
    for number in {value for name, value in vars(resource).items() if name.startswith("RLIMIT_")}:
        yield Setting(partial(resource.getrlimit, number), partial(resource.setrlimit, number))


def _interpreter_settings() -> Iterator[Setting]:
    yield Setting(sys.getrecursionlimit, sys.setrecursionlimit)
    yield Setting(sys.getswitchinterval, sys.setswitchinterval)
    yield Setting(sys.gettrace, sys.settrace)
    yield Setting(sys.getprofile, sys.setprofile)
    yield Setting(gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable())
    yield Setting(gc.get_threshold, lambda threshold: gc.set_threshold(*threshold))
    yield Setting(faulthandler.is_enabled, lambda enabled: None if enabled else faulthandler.disable())
    yield Setting(socket.getdefaulttimeout, socket.setdefaulttimeout)
    yield Setting(lambda: sys.argv[:], partial(setattr, sys, "argv"))
    for module, name in (
        (sys, "excepthook"),
        (sys, "displayhook"),
        (sys, "unraisablehook"),
        (threading, "excepthook"),
    ):
        yield Setting(partial(getattr, module, name), partial(setattr, module, name))


def _process_settings() -> Iterator[Setting]:
    yield Setting(_umask, os.umask)
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        yield Setting(partial(signal.getitimer, timer), partial(_stop_timer, timer))
    yield Setting(partial(signal.set_wakeup_fd, -1), signal.set_wakeup_fd)
    yield Setting(partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL))
    yield Setting(partial(os.getpriority, os.PRIO_PROCESS, 0), partial(os.setpriority, os.PRIO_PROCESS, 0))
    for name in ("getresuid", "getresgid") if hasattr(os, "getresuid") else ("geteuid", "getegid"):
        yield Setting(getattr(os, name), None)
    yield Setting(os.getgroups, None)
    if hasattr(os, "sched_getaffinity"):
        yield Setting(partial(os.sched_getaffinity, 0), partial(os.sched_setaffinity, 0))


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _stop_timer(timer: int, _: object) -> None:
    signal.setitimer(timer, 0)


def _signal_settings() -> Iterator[Setting]:
    numbers = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
    yield Setting(
        partial(signal.pthread_sigmask, signal.SIG_BLOCK, ()), partial(signal.pthread_sigmask, signal.SIG_SETMASK)
    )
    yield Setting(
        lambda: [*map(_signal.getsignal, numbers)], lambda handlers: _handle(dict(zip(numbers, handlers, strict=True)))
    )

    if _LINUX:  # the kernel's view shows handlers that Python does not know of, too
        yield Setting(_kernel_signals, None)


def _kernel_signals() -> list[str]:
    with open("/proc/self/stat") as file:
        return file.read().rpartition(")")[2].split(" ", 34)[30:33]  # blocked, sigignore, sigcatch: proc_pid_stat(5)


def _handle(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if _signal.getsignal(number) is not handler and handler is not None:  # None: not set by Python
            signal.signal(number, handler)


def reap_children() -> bool:
    """Reap children that have ended; return True if any is left (true where that cannot be asked: macOS)."""
    if not hasattr(os, "waitid"):
        return True
    try:
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            pass
    except ChildProcessError:
        return False
    return True


#: Helper processes of multiprocessing: module, object, attribute with the process ID. The first one uses the second.
_HELPERS = (
    ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
    ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
)


def stop_helpers() -> None:
    """End the helper processes of multiprocessing, unless other children could keep them alive."""
    for module, name, attribute in _HELPERS:
        helper = getattr(sys.modules.get(module), name, None)
        if _LINUX and getattr(helper, attribute, None) is not None and _children() <= _helper_pids():
            helper._stop()  # type: ignore[union-attr]


def _helper_pids() -> set[int]:
    found = ((getattr(sys.modules.get(module), name, None), attribute) for module, name, attribute in _HELPERS)
    return {getattr(helper, attribute) or 0 for helper, attribute in found if hasattr(helper, attribute)}


def _children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(map(int, file.read().split()))


def _now_us() -> int:
    """Return microseconds since the epoch."""
    return time.time_ns() // 1000


class _FolderError(Exception):
    """The folder of a call cannot be used: the call does not begin."""


class CallRunner:
    """Runs one call after the other, and appends to the journal what began and what ended."""

    def __init__(self, channel: socket.socket, queue: socket.socket, worker: int, failpoint: Failpoint) -> None:
        self._channel, self._queue, self._failpoint = channel, queue, failpoint
        self._pid, self._parent = os.getpid(), worker
        self._threads = _thread._count()
        self._has_run = False
        self._is_clean = True
        #: Whether an import has changed the state of the process for good: then it serves only one folder.
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
        self._home: str = hello["home"]
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
        # where the kernel does not kill this process with its parent, the order may be another worker's by now
        return decode_order(data) if data and os.getppid() == self._parent else None

    def _wait(self) -> bytes:
        """Wait for an order; return nothing if the worker has closed the channel."""
        if self._has_run:
            self._notify(b"i\n")
            self._has_run = False
        self._marks.show(b"")
        while True:
            ready = [descriptor for descriptor, _ in self._poll.poll()]
            if self._channel.fileno() in ready and not self._channel.recv(1):
                return b""
            if self._queue.fileno() in ready:
                with contextlib.suppress(BlockingIOError):  # the worker has taken it back
                    return self._queue.recv(ORDER_LIMIT, socket.MSG_DONTWAIT)

    def _notify(self, line: bytes) -> None:
        """Send the worker a line. Raises ConnectionError."""
        if not self._descriptors.has(self._channel.fileno()):
            raise ConnectionAbortedError("The call has closed the channel.")
        failpoint = self._failpoint
        with failpoint("runner.notify"):
            self._channel.sendall(line)

    def _retire(self) -> None:
        """Take no more orders, and wait until the worker has ended what is left of the calls."""
        self._marks.show(b"")
        self._notify(b"r\n")
        while self._channel.recv(1):
            pass

    def _run(self, order: Order) -> bool:
        """Run a call; return False if this process must not run another one (or this one)."""
        target = self._environment.target(order.env)
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
        goes_on = self._is_clean and is_alone and is_intact
        if not goes_on:
            document["last"] = True
        self._end(order.claim, document, has_children=has_children, is_alone=is_alone)
        self._state.is_suspect = False
        return goes_on

    def _begin(self, claim: int) -> None:
        """Note the beginning; while the journal cannot be written, the call does not begin. Raises ConnectionError."""
        while True:
            try:
                self._began = _now_us()
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
        except BaseException as caught:  # the call has failed, the runner goes on
            error = caught
        if os.getpid() != self._pid:
            _leave_child(error)
        failure = self._restore()
        error = failure if error is None or _exit_code(error) == 0 else error
        if error is None:
            return {"result": text[: _RESULT_LIMIT + 1]}
        if isinstance(error, _FolderError):
            return {"error": str(error), "errorKind": "spawn", "exitCode": 1}
        self._outputs.recover()
        self._is_clean &= self._streams.print_error(error)
        return {"error": _sentence(error), "errorKind": "failed"}

    def _enter(self, order: Order, target: dict[str, str], prefix: tuple[str, ...]) -> None:
        marks = _marks_of(order, self._home)
        self._marks.show(os.fsencode("\0".join([f"{name}={marks[name]}" for name in _SHOWN if name in marks])))
        self._environment.enter(target, marks)
        self._streams.begin(order.stdin)
        try:
            os.chdir(order.cwd)
        except OSError as error:
            raise _FolderError(f"The folder {order.cwd} cannot be used: {error.strerror}.") from error
        self._imports.enter(prefix)

    def _restore(self) -> Exception | None:
        """Undo what the call has done to the process; return the error of output that could not be written."""
        self._state.is_suspect |= _now_us() - self._began >= _LONG_US
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
        """Take what an import has changed for the state that is restored: the import is not repeated."""
        changed = self._environment.adopt(), self._imports.adopt(), self._state.adopt(), self._descriptors.adopt()
        self._is_bound = self._is_bound or any(changed)

    def _has_children(self) -> bool:
        if reap_children():
            stop_helpers()
            return reap_children()
        return False

    def _end(self, claim: int, document: dict[str, Any], *, has_children: bool, is_alone: bool) -> None:
        """Note the end. A line for which the journal has no room goes to the worker. Raises ConnectionError."""
        document |= self._outputs.collect(claim, is_alone=is_alone)
        line = end_line("x" if has_children else "e", claim, _now_us(), document)
        try:
            self._journal.append(line)
        except OSError:
            self._notify(line)
        self._outputs.recycle()
        self._imports.note_new()


def _marks_of(order: Order, home: str) -> dict[str, str]:
    """Return the variables that tell a call which task it belongs to."""
    marks = {
        _CLAIM: str(order.claim),
        _HOME: home,
        "BACKBURNER_TASK_ID": order.id,
        "BACKBURNER_ATTEMPT": str(order.attempt),
    }
    if order.parent is not None:
        marks["BACKBURNER_PARENT_SESSION_ID"] = order.parent
    if order.leave_children:
        marks[_LEAVE_CHILDREN] = "1"
    return marks


def _leave_child(error: BaseException | None) -> NoReturn:
    """End a child that the call has forked and that has come back from it, as if the call were its main program."""
    if not isinstance(error, SystemExit | None):
        traceback.print_exception(error)
    elif error is not None and not isinstance(error.code, int | None):
        sys.stderr.write(f"{error.code}\n")
    code = 0 if error is None else _exit_code(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or replaced by anything
            stream.flush()
    os._exit(code)


def _exit_code(error: BaseException) -> int:
    """Return the exit code of a program that ends with this exception."""
    code = error.code if isinstance(error, SystemExit) else 1
    return 0 if code is None else code & 0xFF if isinstance(code, int) else 1


@lru_cache(8)
def _prefix_of(cwd: str, python_path: str) -> tuple[str, ...]:
    """Return the folders that come first in `sys.path`: the current one, and those of `PYTHONPATH`."""
    entries = [os.path.join(cwd, entry) for entry in python_path.split(os.pathsep)] if python_path else []
    return tuple(entry.rstrip("/") or "/" for entry in (cwd, *entries))


def _resolve(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    if found is None:
        importlib.invalidate_caches()
        found = importlib.import_module(module)
    for step in path.split("."):
        found = getattr(found, step)
    return found


_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


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


def _use_python_signals() -> None:
    """React to signals as a Python program does when it starts, whatever the parent ignores or handles."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def serve(channel: socket.socket, queue: socket.socket, worker: int, failpoint: Failpoint = nullcontext) -> None:
    """Run calls until the worker, the parent, closes the channel. A test can kill this process at each `failpoint`."""
    for one in (channel, queue):
        one.set_inheritable(False)
    del sys.argv[1:]
    _set_process_control(_PR_SET_CHILD_SUBREAPER, 1)  # so that orphans of a call are seen here, and by no other process
    _use_python_signals()
    received = receive_hello(channel)
    if received is None:
        return
    runner = CallRunner(channel, queue, worker, failpoint)
    runner.prepare(*received)
    with contextlib.suppress(ConnectionError):  # the worker has gone
        runner.run()


def _main() -> None:
    channel, queue, worker = map(int, sys.argv[1:])
    die_with_parent(worker)
    serve(socket.socket(fileno=channel), socket.socket(fileno=queue), worker)
    os._exit(0)  # threads of calls may be left


if __name__ == "__main__":
    del sys.path[0]  # this file's folder: its neighbours are not for the calls to import
    _main()
