"""Restore the settings of the process that a call may have changed."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import faulthandler
import gc
import locale
import os
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial, wraps
from typing import Any, NamedTuple

from .system import LINUX


class Setting(NamedTuple):
    """A setting of the process. `read` returns its value, and `write` restores it, or is None if that is impossible."""

    read: Callable[[], Any]
    write: Callable[[Any], object] | None


#: Functions whose calls are watched, because reading the settings that they change takes longer than a short call.
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


#: The index of the umask among the settings of `_process_settings`.
_UMASK = 0


class ProcessState:
    """The settings of the process that a call may change.

    The interpreter's settings are read after every call. The kernel's settings are read only after a call
    that took long, imported a module or called a function that changes them.
    """

    def __init__(self) -> None:
        """Remember the current settings."""
        self.is_suspect = False
        self._umask, self._set_umask = _umask(), os.umask
        self._settings = [*_interpreter_settings()]
        self._costly = [*_process_settings(), *_limits(), *_signal_settings()]
        self._values: list[Any] = []
        self._costly_values: list[Any] = []
        self.adopt()
        for module, names in _WATCHED:
            for name in names.split():
                if hasattr(module, name):
                    self._watch(module, name)

    def set_umask(self, mask: str | None) -> None:
        """Set the umask of the next call, in octal. None stands for that of the worker."""
        wanted = self._umask if mask is None else int(mask, 8)
        if wanted != self._costly_values[_UMASK]:
            self._set_umask(wanted)
            self._costly_values[_UMASK] = wanted

    def adopt(self) -> bool:
        """Remember the current settings as those to restore. Return True if they have changed."""
        self._filters = list(warnings.filters)
        self.is_suspect = True
        before = self._values, self._costly_values
        self._values, self._costly_values = _read(self._settings), _read(self._costly)
        return before != (self._values, self._costly_values)

    def restore(self) -> bool:
        """Undo the changes of the call. Return False if a change could not be undone."""
        warnings.resetwarnings()  # this also forgets the warnings that were shown already
        warnings.filters.extend(self._filters)  # type: ignore[attr-defined]
        faulthandler.cancel_dump_traceback_later()
        is_restored = _restore(self._settings, self._values)
        return (not self.is_suspect or _restore(self._costly, self._costly_values)) and is_restored

    def _watch(self, module: Any, name: str) -> None:
        """Replace a function by a wrapper that records its calls, also in the function's extension module."""
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
    """Set the settings to these values. Return False if that failed."""
    current = _read(settings)
    if current == values:
        return True
    for (_, write), now, before in zip(settings, current, values, strict=True):
        if now != before and write is not None:
            with suppress(OSError, ValueError, locale.Error):  # the comparison below detects it
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

    if LINUX:  # the kernel also shows handlers that Python does not know
        yield Setting(_kernel_signals, None)


def _kernel_signals() -> list[str]:
    with open("/proc/self/stat") as file:
        return file.read().rpartition(")")[2].split(" ", 34)[30:33]  # blocked, sigignore, sigcatch: proc_pid_stat(5)


def _handle(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if _signal.getsignal(number) is not handler and handler is not None:  # None if it was not set by Python
            signal.signal(number, handler)
