"""Commands without the price of their start: a process that has imported the command line forks one per command.

An interpreter that imports the command line costs 0.25 s of CPU, a fork of one that has 0.01 s; the crash matrix starts
some thousands. What runs in the fork is what `python -m backburner` runs, watched from its first line on.
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
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[3]

#: Seconds until a command was started; the first one waits for the imports.
START_PATIENCE = 300.0

#: An order fits into that.
MOST = 1 << 20


class Started:
    """A command that was started; like a Popen, as far as that is needed."""

    def __init__(self, line: socket.socket) -> None:
        """Read on that line its pid, and in the end its exit code."""
        line.settimeout(START_PATIENCE)
        self._line = line
        self._answers = line.makefile("r")
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def kill(self) -> None:
        """SIGKILL, if it lives."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative for a signal. Raises TimeoutError."""
        if self.returncode is None:
            self._line.settimeout(timeout)
            self.returncode = int(self._answers.readline())
            self._line.close()
        return self.returncode


class Zygote:
    """Starts commands. It ends with the process that made it."""

    def __init__(self) -> None:
        """Start it; it imports while its maker goes on."""
        self._folder = tempfile.TemporaryDirectory(prefix="bb-zygote-", dir="/tmp")
        self._path = f"{self._folder.name}/line"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._path)
        listener.listen()
        ours, theirs = socket.socketpair()
        self._life = ours
        fds = (listener.fileno(), theirs.fileno())
        words = [sys.executable, __file__, *map(str, fds)]
        subprocess.Popen(words, pass_fds=fds, env=_clean(os.environ), stdin=subprocess.DEVNULL, cwd="/")
        listener.close()
        theirs.close()

    def start(
        self, words: list[str], environment: Mapping[str, str], cwd: Path, files: tuple[int, int, int]
    ) -> Started:
        """Run the command line with these words, and these three files for its standard ones."""
        line = socket.socket(socket.AF_UNIX)
        line.connect(self._path)
        order = {"words": words, "environment": dict(environment), "cwd": str(cwd)}
        socket.send_fds(line, [json.dumps(order).encode() + b"\n"], files)
        return Started(line)


@functools.cache
def zygote() -> Zygote:
    """The one of this process."""
    return Zygote()


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(("BACKBURNER_", "CLAUDE"))}


def serve(listener: socket.socket, life: socket.socket) -> None:
    """Fork until the maker is gone; then none of the children is wanted any more."""
    selector = selectors.DefaultSelector()
    selector.register(life, selectors.EVENT_READ, None)
    selector.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.fileobj is life:
                _end_all(selector)
                return
            if key.fileobj is listener:
                _take_order(listener, selector)
            else:
                _tell_end(key, selector)


def _take_order(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    line, _ = listener.accept()
    data, files, _, _ = socket.recv_fds(line, MOST, 3)
    while not data.endswith(b"\n"):
        data += line.recv(MOST)
    pid = os.fork()
    if pid == 0:
        _be(json.loads(data), files)
    for file in files:
        os.close(file)
    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, line))
    _say(line, pid)


def _tell_end(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    pid, line = key.data
    _, status = os.waitpid(pid, 0)
    selector.unregister(key.fd)
    os.close(key.fd)
    _say(line, os.waitstatus_to_exitcode(status))
    line.close()


def _end_all(selector: selectors.BaseSelector) -> None:
    for key in selector.get_map().values():
        if key.data is not None:
            signal.pidfd_send_signal(key.fd, signal.SIGKILL)


def _say(line: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody wants to know
        line.send(f"{number}\n".encode())


def _be(order: dict[str, object], files: list[int]) -> NoReturn:
    """In the child: what a fresh interpreter would be with that command line."""
    from backburner.ipc import failpoints
    from backburner.supervisor.cli import main

    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, 4096)
    os.setsid()
    os.chdir(str(order["cwd"]))
    os.environ.clear()
    os.environ.update(order["environment"])
    if failpoints.WATCH in os.environ:
        failpoints._watch = failpoints.Watch(Path(os.environ[failpoints.WATCH]))
    sys.argv = ["backburner", *order["words"]]
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
    sys.path.insert(1, str(ROOT))
    _import_all()
    gc.collect()
    gc.freeze()
    serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
