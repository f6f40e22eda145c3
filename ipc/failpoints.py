"""Names for the places where a process does what others see: commits, starts, signals, sends, renames, unlinks.

`with failpoint("log.rename"):` around each of them is the seam at which a process can be killed exactly there, to see
that nothing is lost and nothing happens twice. Without a watch it is one look at a global. A process that is started
with BACKBURNER_MOMENTS=FOLDER does what the file `order` in that folder says, and notes where it has been.
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

#: The environment variable that names the folder of whoever watches.
WATCH: Final = "BACKBURNER_MOMENTS"


class _Unwatched:
    """What surrounds a place that nobody watches."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None: ...


class _Watched:
    """What surrounds a place that is watched."""

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

    An order is a JSON object: its `token` names the files `<token>.reached` (a line for each failpoint edge that any
    process comes to), `<token>.count` and `<token>.killed`. The process that comes to the edge `kill` as number `nth`
    kills itself there. An edge reads «bb-worker database.commit@Queue.settle before»: who, where, called by whom.
    """

    def __init__(self, folder: Path) -> None:
        """Watch for the orders in that folder, which exists."""
        self._folder = folder
        self._parent = ""
        os.register_at_fork(after_in_child=self._forked)

    def reached(self, name: str, edge: str) -> None:
        """Note that this process has come here; if that is what was ordered, it ends here."""
        try:
            order = json.loads((self._folder / "order").read_bytes())
        except FileNotFoundError:  # nobody wants to know
            return
        where = f"{self._who()} {name}@{'<'.join(_callers())} {edge}"
        token = self._folder / order["token"]
        _append(f"{token}.reached", f"{where}\n")
        if where == order.get("kill") and _append(f"{token}.count", ".") == order["nth"]:
            _append(f"{token}.killed", f"{os.getpid()}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def _who(self) -> str:
        """The role; a child that has not taken on a role of its own yet is named as its parent's child."""
        name = Path("/proc/self/comm").read_text().strip()
        if not name.startswith("bb-"):
            return "command"
        return f"{name}'s-child" if name == self._parent else name

    def _forked(self) -> None:
        self._parent = Path("/proc/self/comm").read_text().strip()


def _append(path: str, text: str) -> int:
    """Add to a file, in one piece; how long it is then."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
        return os.lseek(descriptor, 0, os.SEEK_CUR)
    finally:
        os.close(descriptor)


def _callers() -> Iterator[str]:
    """Who called the function that stands around the failpoint: the names up to the first one of another module."""
    place, *callers = _codes()
    for code in callers:
        yield code.co_qualname
        if code.co_filename != place.co_filename:
            return


def _codes() -> Iterator[CodeType]:
    frame = sys._getframe()
    here = (__file__, sys.modules[AbstractContextManager.__module__].__file__)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename not in here:
            yield frame.f_code


_UNWATCHED: Final = _Unwatched()
_watch = Watch(Path(os.environ[WATCH])) if WATCH in os.environ else None


def failpoint(name: str) -> AbstractContextManager[None]:
    """Surround what others see. Within the program each name stands at one place."""
    return _UNWATCHED if _watch is None else _Watched(_watch, name)
