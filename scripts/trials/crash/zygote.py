"""Starts commands fast: a process that has imported the command line forks one process for each command.

An interpreter that imports the command line needs 0.25 s of CPU, a fork of this process 0.01 s; the crash matrix starts
several thousand. The fork runs what `python -m backburner` runs, and is watched from its first line on.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from tests.helpers.blackbox import ROOT, is_foreign
from tests.helpers.processes import send_signal

#: Seconds until a command was started; the first one waits for the imports.
START_TIMEOUT = 300.0

#: The largest request in bytes.
MAX_REQUEST = 1 << 20


class Command:
    """A started command, with as much of the interface of a Popen as is needed."""

    def __init__(self, connection: socket.socket) -> None:
        """Read the pid from the connection, on which the exit code follows at the end."""
        connection.settimeout(START_TIMEOUT)
        self._connection = connection
        self._answers = connection.makefile("r")
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def kill(self) -> None:
        """Send SIGKILL unless the command has ended."""
        if self.returncode is None:
            send_signal(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, negative for a signal. Raises TimeoutError."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            self.returncode = int(self._answers.readline())
            self._connection.close()
        return self.returncode


class Zygote:
    """The process that forks commands, from the side of the process that started it and with which it ends."""

    def __init__(self) -> None:
        """Start it; it imports while the caller continues."""
        self._folder = tempfile.TemporaryDirectory(prefix="bb-zygote-", dir="/tmp")
        self._path = f"{self._folder.name}/socket"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._path)
        listener.listen()
        self._lifeline, theirs = socket.socketpair()
        fds = (listener.fileno(), theirs.fileno())
        environment = {name: value for name, value in os.environ.items() if not is_foreign(name)}
        subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *map(str, fds)],
            pass_fds=fds,
            env=environment | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            cwd="/",
        )
        listener.close()
        theirs.close()

    def start(
        self, words: list[str], environment: Mapping[str, str], cwd: Path, files: tuple[int, int, int]
    ) -> Command:
        """Run the command line with these arguments, and these descriptors as its standard streams."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        request = {"words": words, "environment": dict(environment), "cwd": str(cwd)}
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], files)
        return Command(connection)


@functools.cache
def zygote() -> Zygote:
    """Return this process's zygote; the first call starts it."""
    return Zygote()


def serve(listener: socket.socket, lifeline: socket.socket) -> None:
    """Fork commands until the other end of the lifeline is closed, and kill those that are left."""
    selector = selectors.DefaultSelector()
    selector.register(lifeline, selectors.EVENT_READ, None)
    selector.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.fileobj is lifeline:
                _kill_all(selector)
                return
            if key.fileobj is listener:
                _start_command(listener, selector)
            else:
                _report_exit(key, selector)


def _start_command(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    connection, _ = listener.accept()
    data, files, _, _ = socket.recv_fds(connection, MAX_REQUEST, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(MAX_REQUEST)
    pid = os.fork()
    if pid == 0:
        _run(json.loads(data), files)
    for file in files:
        os.close(file)
    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
    _send(connection, pid)


def _report_exit(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    pid, connection = key.data
    _, status = os.waitpid(pid, 0)
    selector.unregister(key.fd)
    os.close(key.fd)
    _send(connection, os.waitstatus_to_exitcode(status))
    connection.close()


def _kill_all(selector: selectors.BaseSelector) -> None:
    for key in selector.get_map().values():
        if key.data is not None:
            signal.pidfd_send_signal(key.fd, signal.SIGKILL)


def _send(connection: socket.socket, number: int) -> None:
    with suppress(OSError):  # the caller was killed
        connection.send(f"{number}\n".encode())


def _run(request: dict[str, Any], files: list[int]) -> NoReturn:
    """In the child: become what a fresh interpreter with that command line would be."""
    from backburner.ipc import failpoints
    from backburner.supervisor.cli import main

    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, 4096)
    os.setsid()
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["environment"])
    if failpoints.WATCH in os.environ:
        failpoints._watch = failpoints.Watch(Path(os.environ[failpoints.WATCH]))
    sys.argv = ["backburner", *request["words"]]
    code = 1
    try:
        code = main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _import_all() -> None:
    """Import every module of the package."""
    import backburner

    for module in pkgutil.walk_packages(backburner.__path__, "backburner."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("psutil", "sqlite_utils"):
        importlib.import_module(name)


if __name__ == "__main__":
    _import_all()
    gc.collect()
    gc.freeze()
    serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
