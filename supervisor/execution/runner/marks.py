"""The marks that identify a process as part of a task."""

from __future__ import annotations

import os
from typing import Any

from .wire import Order

#: A variable that reserves room for the marks of the current call, in the environment block of this process.
ROOM = "BACKBURNER_ROOM"

#: Marks of a call in its environment: the claim, the state directory and its ID, and that children may outlive it.
_CLAIM, _HOME, _HOME_ID = "BACKBURNER_CLAIM", "BACKBURNER_HOME", "BACKBURNER_HOME_ID"
_LEAVE_CHILDREN = "BACKBURNER_LEAVE_CHILDREN"
_SHOWN = _CLAIM, _HOME, _HOME_ID, _LEAVE_CHILDREN

#: The index, behind the name in /proc/self/stat, of the address of the environment block (proc_pid_stat(5)).
_ENV_START = 47


class Marks:
    """The marks of the current call, written to the environment block of this process, which /proc shows.

    A child that was forked without an exec has its ancestor's block. Once the worker is dead, the marks are the
    only way to find the task of such a child.
    """

    def __init__(self) -> None:
        """Find the reserved room. Without it, as on macOS, no marks are shown."""
        address, size = _room()
        self._block: Any = None
        if size > 0:
            import ctypes

            self._block = (ctypes.c_char * size).from_address(address)
            self._size = size

    def show(self, marks: dict[str, str]) -> None:
        """Show the variables that identify the call's children."""
        self._write(os.fsencode("\0".join([f"{name}={marks[name]}" for name in _SHOWN if name in marks])))

    def clear(self) -> None:
        """Show no marks, since no call runs."""
        self._write(b"")

    def _write(self, text: bytes) -> None:
        if self._block is not None:
            self._block.raw = text[: self._size].ljust(self._size, b"\0")


def _room() -> tuple[int, int]:
    """Return the address and size of the room for marks in the memory of this process. Without room, the size is -1."""
    try:
        import ctypes  # noqa: F401 (not every interpreter has it)

        with open("/proc/self/environ", "rb") as file:
            environment = b"\0" + file.read()
        with open("/proc/self/stat", "rb") as file:
            start = int(file.read().rpartition(b")")[2].split()[_ENV_START])
    except (ImportError, OSError, IndexError):  # or the system shows it differently
        return 0, -1
    index = environment.find(b"\0" + ROOM.encode() + b"=")
    return start + index, environment.find(b"\0", index + 1) - index - 1 if start and index >= 0 else -1


def marks_of(order: Order, home: tuple[str, str]) -> dict[str, str]:
    """Return the variables that identify a call and its children as part of the task. `home` is its path and ID."""
    marks = {
        _CLAIM: str(order.claim),
        _HOME: home[0],
        _HOME_ID: home[1],
        "PWD": order.cwd,
        "BACKBURNER_TASK_ID": order.id,
        "BACKBURNER_ATTEMPT": str(order.attempt),
    }
    if order.parent is not None:
        marks["BACKBURNER_PARENT_SESSION_ID"] = order.parent
    if order.leave_children:
        marks[_LEAVE_CHILDREN] = "1"
    return marks
