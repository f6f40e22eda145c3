"""A passing shortage of processes, memory, descriptors or disk space. It is waited out, like a full disk."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from .. import clock

#: The errors of a call that succeeds later, when other processes have given something back: space and quota, processes
#: (EAGAIN of fork), memory, and the descriptors of a process and of the system.
SHORTAGES = (errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)

#: The seconds between two tries, and the seconds after which `patiently` gives up.
PAUSE, PATIENCE = 0.1, 60.0

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def is_shortage(error: BaseException) -> bool:
    """Return True if the same operation may succeed later without any change."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in SHORTAGES)


def patiently(call: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
    """Call a function, and call it again while it raises a shortage. Use it where a failure would lose a process."""
    deadline = 0.0
    while True:
        try:
            return call(*args, **kwargs)
        except OSError as error:
            now = clock.monotonic()
            deadline = deadline or now + PATIENCE
            if not is_shortage(error) or now >= deadline:
                raise
        clock.nap(PAUSE)
