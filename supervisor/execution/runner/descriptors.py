"""The runner's own descriptors."""

from __future__ import annotations

import gc
import os

from .system import LINUX

#: The standard streams, in the order of their descriptors.
STREAMS = ("stdin", "stdout", "stderr")


def file_id(descriptor: int) -> tuple[int, int] | None:
    """Return the identity of the open file behind a descriptor, or None if it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Descriptors:
    """The runner's own descriptors. It detects lost and leaked descriptors, and closes the copies in a forked child."""

    def __init__(self, *descriptors: int) -> None:
        """Remember these descriptors. Apart from them, only the streams are open now."""
        self._own = {descriptor: file_id(descriptor) for descriptor in descriptors}
        self._folder = os.open("/proc/self/fd", os.O_RDONLY | os.O_CLOEXEC) if LINUX else -1
        self._has_size = LINUX and os.fstat(self._folder).st_size > 0  # the number of entries, since Linux 6.2
        self._count = self._open_count()
        os.register_at_fork(after_in_child=self._close)

    def are_intact(self, *, is_suspect: bool) -> bool:
        """Return True if the call has neither lost nor leaked a descriptor."""
        if is_suspect and not all(map(self.has, self._own)):
            return False
        if self._open_count() == self._count:
            return True
        gc.collect()  # files in reference cycles
        return self._open_count() == self._count

    def adopt(self) -> bool:
        """Keep descriptors that an import has opened. Return True if there are any."""
        before, self._count = self._count, self._open_count()
        return before != self._count

    def has(self, descriptor: int) -> bool:
        """Return True if one of the runner's own descriptors is still open."""
        return file_id(descriptor) == self._own[descriptor]

    def _open_count(self) -> int:
        if not LINUX:
            return len(os.listdir("/dev/fd"))
        if self._has_size:
            return _size_of(self._folder)
        return len(os.listdir("/proc/self/fd"))

    def _close(self) -> None:
        """Close the worker's connections in a child, which must neither use them nor keep them open."""
        for descriptor in [own for own in self._own if self.has(own)]:
            os.close(descriptor)


def _size_of(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_size
    except OSError:  # the call has closed it
        return -1


def move_descriptor(descriptor: int, target: int) -> None:
    """Make `target` a descriptor that children inherit, in place of `descriptor`."""
    if descriptor == target:
        os.set_inheritable(target, True)
    else:
        os.dup2(descriptor, target)
        os.close(descriptor)
