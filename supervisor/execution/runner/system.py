"""The runner's use of the operating system: its relation to the worker, signals and the time."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

#: Names a step at which a test can kill the process, as in ipc/failpoints.py.
Failpoint = Callable[[str], AbstractContextManager[object]]

LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def die_with_parent(parent: int) -> None:
    """Die with the parent (PR_SET_PDEATHSIG, Linux only)."""
    _set_process_control(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def become_subreaper() -> None:
    """Become the parent of orphaned descendants, so that the orphans of a call are found here (Linux only)."""
    _set_process_control(_PR_SET_CHILD_SUBREAPER, 1)


def _set_process_control(option: int, value: int) -> None:
    """Call prctl(2), on Linux and if this interpreter has ctypes."""
    if LINUX and (library := libc()) is not None:
        library.prctl(option, value, 0, 0, 0)


def libc() -> Any:
    """Return the C library, or None if this interpreter has no ctypes."""
    try:
        import ctypes
    except ImportError:
        return None
    return ctypes.CDLL(None)


def use_python_signals() -> None:
    """React to signals like a Python program that has just started, whatever the parent ignores or handles."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def now_us() -> int:
    """Return microseconds since the epoch."""
    return time.time_ns() // 1000
