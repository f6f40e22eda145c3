"""The identifier of this run of the kernel."""

from __future__ import annotations

import functools
from pathlib import Path

from ..errors import Permanent


@functools.cache
def boot_id() -> str:
    """Return what identifies this run of the kernel; it differs after every boot."""
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        return linux.read_text().strip()
    return _macos_boot_id()


def _macos_boot_id() -> str:
    import ctypes

    buffer = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(buffer))
    library = ctypes.CDLL(None)
    if library.sysctlbyname(b"kern.bootsessionuuid", buffer, ctypes.byref(size), None, 0) != 0:
        raise Permanent("This system does not report its boot ID.")
    return buffer.value.decode()
