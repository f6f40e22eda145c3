"""Named points at which a test can kill a process, to check that no work is lost or done twice.

A failpoint surrounds every action that other processes can see: commits, starts, signals, sends, renames and unlinks.
An example is `with failpoint("log.rename"):`. Outside tests it only reads a global variable. A process started with
BACKBURNER_FAILPOINTS=FOLDER follows the file `order` in that folder and records the failpoints that it reaches.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import CodeType
from typing import Final

#: The environment variable that names the folder of the test.
WATCH: Final = "BACKBURNER_FAILPOINTS"


class _Unwatched:
    """A failpoint in a process that no test watches."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None: ...


class _Watched:
    """A failpoint in a process that a test watches."""

    __slots__ = ("_name", "_watch")

    def __init__(self, watch: Watch, name: str) -> None:
        self._watch, self._name = watch, name

    def __enter__(self) -> None:
        self._watch.reached(self._name, "before")

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None:
            self._watch.reached(self._name, "after")


class Watch:
    """Follows the order in a folder.

    An order is a JSON object. Its `token` names three files:

    - `<token>.reached` has a line for each time that a process reached an edge, which is one side of a failpoint.
    - `<token>.count` has a byte for each time that a process reached the edge `kill`.
    - `<token>.killed` has the PID of the process that was killed.

    The processes count together. The one that reaches the edge `kill` for the `nth` time kills itself there. An edge
    consists of the role, the failpoint, its callers and the side: «bb-worker database.commit@Queue.settle before».
    """

    def __init__(self, folder: Path) -> None:
        """Follow the orders in an existing folder."""
        self._folder = folder
        self._parent = ""
        os.register_at_fork(after_in_child=self._forked)

    def reached(self, name: str, edge: str) -> None:
        """Record that this process has reached a side of a failpoint. Kill the process if the order demands it."""
        try:
            order = json.loads((self._folder / "order").read_bytes())
        except FileNotFoundError:  # no order is active
            return
        where = f"{self._role()} {name}@{'<'.join(_callers())} {edge}"
        token = self._folder / order["token"]
        _append(f"{token}.reached", f"{where}\n")
        if where == order.get("kill") and _append(f"{token}.count", ".") == order["nth"]:
            _append(f"{token}.killed", f"{os.getpid()}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def _role(self) -> str:
        """Return the role of this process. A child that has no role yet is named after its parent."""
        name = Path("/proc/self/comm").read_text().strip()
        if not name.startswith("bb-"):
            return "command"
        return f"{name}'s-child" if name == self._parent else name

    def _forked(self) -> None:
        self._parent = Path("/proc/self/comm").read_text().strip()


def _append(path: str, text: str) -> int:
    """Append to a file in one write. Return the length of the file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
        return os.lseek(descriptor, 0, os.SEEK_CUR)
    finally:
        os.close(descriptor)


def _callers() -> Iterator[str]:
    """Yield the callers of the function with the failpoint, up to the first caller in another module."""
    function, *callers = _codes()
    for code in callers:
        yield code.co_qualname
        if code.co_filename != function.co_filename:
            return


def _codes() -> Iterator[CodeType]:
    frame = sys._getframe()
    machinery = (__file__, sys.modules[AbstractContextManager.__module__].__file__)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename not in machinery:
            yield frame.f_code


_UNWATCHED: Final = _Unwatched()
_watch = Watch(Path(os.environ[WATCH])) if WATCH in os.environ else None


def failpoint(name: str) -> AbstractContextManager[None]:
    """Surround an action that other processes can see. Each name appears at one place in the program."""
    return _UNWATCHED if _watch is None else _Watched(_watch, name)
