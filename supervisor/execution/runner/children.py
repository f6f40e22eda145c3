"""The child processes of calls."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

from .system import LINUX


def reap_children() -> bool:
    """Reap dead children. Return True if any child is alive. Always return True on macOS, which lacks os.waitid."""
    if not hasattr(os, "waitid"):
        return True
    try:
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            pass
    except ChildProcessError:
        return False
    return True


#: Helper processes of multiprocessing, each as module, object and attribute with the process ID. The fork server
#: uses the resource tracker, so it comes first.
_HELPERS = (
    ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
    ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
)


def stop_helpers() -> None:
    """End the helper processes of multiprocessing, unless other children could keep them alive."""
    for module, name, attribute in _HELPERS:
        helper = getattr(sys.modules.get(module), name, None)
        if LINUX and getattr(helper, attribute, None) is not None and _children() <= _helper_pids():
            helper._stop()  # type: ignore[union-attr]


def _helper_pids() -> set[int]:
    helpers = ((getattr(sys.modules.get(module), name, None), attribute) for module, name, attribute in _HELPERS)
    return {getattr(helper, attribute) or 0 for helper, attribute in helpers if hasattr(helper, attribute)}


def _children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(map(int, file.read().split()))


def end_child(error: BaseException | None) -> NoReturn:
    """End a forked child that has returned from the call, as if the call were its main program."""
    if not isinstance(error, SystemExit | None):
        traceback.print_exception(error)
    elif error is not None and not isinstance(error.code, int | None):
        sys.stderr.write(f"{error.code}\n")
    code = 0 if error is None else exit_code(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or replaced by anything
            stream.flush()
    os._exit(code)


def exit_code(error: BaseException) -> int:
    """Return the exit code of a program that ends with this exception."""
    code = error.code if isinstance(error, SystemExit) else 1
    return 0 if code is None else code & 0xFF if isinstance(code, int) else 1
