"""The arguments that `ps` shows for a process (Linux only)."""

from __future__ import annotations

import os

from ...ipc.machine.proc import LINUX

#: The indexes, behind the name in /proc/self/stat, of the start and end of the arguments (proc_pid_stat(5)).
_ARG_START, _ARG_END = 45, 46


def show_title(title: str) -> None:
    """Show a text in place of the arguments, which for our processes are the text of a program."""
    if not LINUX:
        return
    import ctypes

    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return
    start, size = int(fields[_ARG_START]), int(fields[_ARG_END]) - int(fields[_ARG_START])
    if start and size > 1:
        block = (ctypes.c_char * size).from_address(start)
        block.raw = os.fsencode(title)[: size - 1].ljust(size, b"\0")
