"""What runs Python callables, in a process of its own: `pkg.mod:func` with JSON in, JSON out.

It stands alone (standard library only), so that another interpreter can run this file: `python runner.py FD PARENT`. It
speaks over one socket: a length, then JSON; with an order come the descriptors of the call's stdin, stdout and stderr.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple
from zlib import crc32
from time import time_ns
import select

_LENGTH = struct.Struct("!I")

#: Bytes of a message that are read at first; most are shorter.
_PIECE = 4096

#: Bytes of a result that are sent on; what is beyond is told to be missing.
_RESULT_LIMIT = 64 * 1024

#: A variable that only keeps room for the marks of a try in the environment that this process was started with.
ROOM = "BACKBURNER_ROOM"

#: A name among the modules: before it stands what was loaded before the first call.
BEFORE = "backburner.before"

_PR_SET_PDEATHSIG = 1

#: Where /proc/self/stat says at which address the environment begins, counted from behind the name (proc_pid_stat(5)).
_ENV_START = 47


def send(channel: socket.socket, document: dict[str, Any], descriptors: list[int] | None = None) -> None:
    """Send one message, with descriptors. Raises OSError."""
    data = json.dumps(document).encode()
    message = _LENGTH.pack(len(data)) + data
    sent = socket.send_fds(channel, [message], descriptors) if descriptors else channel.send(message)
    if sent < len(message):
        channel.sendall(message[sent:])


def receive_order(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next order and its descriptors, or None at the end. Raises OSError."""
    first, descriptors, _, _ = socket.recv_fds(channel, _PIECE, 3)
    order = _whole(first, channel)
    return None if order is None else (order, descriptors)


def receive_answer(channel: socket.socket) -> dict[str, Any] | None:
    """The next answer, or None at the end. Raises OSError."""
    return _whole(channel.recv(_PIECE), channel)


def _whole(first: bytes, channel: socket.socket) -> dict[str, Any] | None:
    """A message whose beginning is there; one side speaks at a time, so nothing follows it."""
    if len(first) < _LENGTH.size:
        return None
    rest = _read(channel, _LENGTH.unpack_from(first)[0] + _LENGTH.size - len(first))
    return None if rest is None else json.loads(first[_LENGTH.size :] + rest)


def _read(channel: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = channel.recv(min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)


def go_with(parent: int) -> None:
    """Have the kernel end this process when its parent dies, where it can: nobody else looks after a call."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


class Marks:
    """The marks of the try in hand, written where the kernel shows the environment of this process.

    A fork that executes nothing shows what its forebears were started with: of a call whose worker died nobody would
    know whose it is.
    """

    def __init__(self) -> None:
        """Find the room that was kept free; where there is none (it is no Linux), nothing is shown."""
        self._place, self._size = _room()

    def show(self, marks: dict[str, str]) -> None:
        """Have these be in the environment, and no others."""
        if self._size > 0:
            import ctypes

            text = "\0".join([f"{name}={value}" for name, value in marks.items()])
            ctypes.memmove(self._place, os.fsencode(text).ljust(self._size, b"\0"), self._size)


def _room() -> tuple[int, int]:
    """Where the room for marks lies in this process's memory, and its size in bytes; -1 where there is none."""
    try:
        import ctypes  # noqa: F401 (not every interpreter has it)

        with open("/proc/self/environ", "rb") as file:
            environment = b"\0" + file.read()
        with open("/proc/self/stat", "rb") as file:
            start = int(file.read().rpartition(b")")[2].split()[_ENV_START])
    except (ImportError, OSError, IndexError):  # or the system shows it otherwise
        return 0, -1
    at = environment.find(b"\0" + ROOM.encode() + b"=")
    return start + at, environment.find(b"\0", at + 1) - at - 1 if start and at >= 0 else -1



class Order(NamedTuple):
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


def start_line(claim, us):
    return b"s %d %d\n" % (claim, us)


def end_line(kind, claim, us, document):
    text = b"%s %d %d %s" % (kind.encode(), claim, us, json.dumps(document).encode())
    return b"%s %08x\n" % (text, crc32(text))


def serve(channel, queue, moment=nullcontext):
    first, journals, _, _ = socket.recv_fds(channel, 1 << 16, 1)
    if not journals: return
    journal = journals[0]
    hello = _whole(first, channel)
    base, folder = hello["environment"], hello["claims"]
    def reopen(target):
        fd = os.open(hello["outputs"] + (".stdout" if target == 1 else ".stderr"), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(fd, target); os.close(fd)
    reopen(1); reopen(2)
    n = os.open("/dev/null", os.O_RDONLY); os.dup2(n, 0); os.close(n)
    poll = select.poll(); poll.register(channel, select.POLLIN); poll.register(queue, select.POLLIN)
    ran = False
    pid = os.getpid()
    while True:
        try:
            data = queue.recv(1 << 17, socket.MSG_DONTWAIT)
        except BlockingIOError:
            if ran:
                channel.send(b"i\n")
                ran = False
            for fd, mask in poll.poll():
                if fd == channel.fileno() and not channel.recv(100):
                    return
            continue
        if not data:
            return
        found = json.loads(data)
        if isinstance(found, str):
            found = json.loads(open(found).read())
        o = Order(*found)
        ran = True
        with moment("runner.start"):
            os.write(journal, start_line(o.claim, time_ns() // 1000))
        env = dict(base)
        for k, v in json.loads(o.env or "{}").items():
            v = hello["inherited"].get(k) if v is None else v
            if v is not None: env[k] = v
        env.update(BACKBURNER_HOME=hello["home"], BACKBURNER_CLAIM=str(o.claim), BACKBURNER_TASK_ID=o.id, BACKBURNER_ATTEMPT=str(o.attempt))
        if o.parent is not None: env["BACKBURNER_PARENT_SESSION_ID"] = o.parent
        os.environ.clear(); os.environ.update(env)
        if o.stdin:
            n = os.open(o.stdin, os.O_RDONLY); os.dup2(n, 0); os.close(n)
        try:
            os.chdir(o.cwd)
            if o.cwd not in sys.path: sys.path.insert(0, o.cwd)
            document = {"result": json.dumps(_resolve(o.call)(*json.loads(o.args or "[]"), **json.loads(o.kwargs or "{}")), ensure_ascii=False, allow_nan=False)[:_RESULT_LIMIT + 1]}
        except BaseException as error:
            traceback.print_exc()
            document = {"error": _sentence(error), "errorKind": "failed"}
        if os.getpid() != pid: os._exit(0)
        for st in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError): st.flush()
        alone = not _has_children()
        kept = []
        for target, name in ((1, "stdout"), (2, "stderr")):
            st = os.fstat(target)
            if st.st_nlink == 1 and st.st_size == 0: continue
            if st.st_nlink == 1 and st.st_size <= 32768 and alone:
                document[name] = os.pread(target, st.st_size, 0).decode("latin-1"); os.ftruncate(target, 0)
                continue
            own = hello["outputs"] + "." + name
            if st.st_nlink == 1:
                with moment("runner.rename"): os.rename(own, f"{folder}/{o.claim}.{name}")
            else:
                with moment("runner.unlink"): os.unlink(own)
            reopen(target); kept.append(name)
        if kept: document["kept"] = kept
        with moment("runner.end"):
            os.write(journal, end_line("e" if alone else "x", o.claim, time_ns() // 1000, document))
        if not alone or threading.active_count() > 1:
            channel.send(b"r\n")
            while channel.recv(100): pass
            return


def _redirect(descriptors: list[int]) -> None:
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)


def _silence() -> None:
    """Whatever is written after the call belongs to nobody."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for target in range(3):
        os.dup2(nowhere, target)
    os.close(nowhere)


class Surroundings:
    """The folder and the environment of the call in hand."""

    def __init__(self) -> None:
        """No call was there yet."""
        self._folder: str | None = None
        self._environment: dict[str, str] = {}

    def enter(self, folder: str, changes: dict[str, str | None]) -> None:
        """Make them this process's; `changes` says what differs from the last call's environment, whatever that did."""
        self._assume(changes)
        os.chdir(folder)
        if folder == self._folder:
            return
        if self._folder is not None:
            sys.path.remove(self._folder)
            _forget_modules(self._folder)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        self._folder = folder

    def _assume(self, changes: dict[str, str | None]) -> None:
        for name, value in changes.items():
            if value is None:
                del self._environment[name]
            else:
                self._environment[name] = value
        os.environ.clear()
        os.environ.update(self._environment)


def _forget_modules(folder: str) -> None:
    inside = os.path.join(folder, "")
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(inside):
            del sys.modules[name]


def _answer(call: dict[str, Any]) -> dict[str, Any]:
    try:
        value = _resolve(call["call"])(*call["args"], **call["kwargs"])
        text = _text(value)
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: the call failed, the runner lives
        traceback.print_exc()
        return {"error": _sentence(error)}
    return {"result": text[: _RESULT_LIMIT + 1]}


def _text(value: Any) -> str:
    """A value as JSON; half of a surrogate pair is no character, and is written as an escape."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return json.dumps(value) if any("\ud800" <= letter <= "\udfff" for letter in text) else text


def _resolve(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for step in path.split("."):
        found = getattr(found, step)
    return found


def _sentence(error: BaseException) -> str:
    text = "".join(traceback.format_exception_only(error)).strip()
    return text.rpartition("\n")[2] if len(text) > 4096 else text


def _files_of_calls() -> list[str]:
    """The files of modules that calls have loaded: when one changes on disk, this process is out of date."""
    known = list(sys.modules.items())  # at once: a thread that the call left may be importing
    loaded = itertools.takewhile(lambda entry: entry[0] != BEFORE, reversed(known))
    return sorted({file for _, module in loaded if (file := getattr(module, "__file__", None))})


def _has_children() -> bool:
    """Whether the call left any, dead or alive; true where that cannot be asked (macOS)."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    go_with(int(sys.argv[3]))
    serve(socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2])))


if __name__ == "__main__":
    del sys.path[0]  # this file's folder: its neighbours are not for the calls to import
    _main()
