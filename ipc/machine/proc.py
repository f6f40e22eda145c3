"""Facts about the processes of this machine, from /proc on Linux, and from psutil elsewhere.

A process can end at any time. The functions return None, an empty value or 0 for a process that is gone.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection, Iterator

from .shortage import patiently

LINUX: bool = sys.platform == "linux"

#: A file, by its device and inode.
FileId = tuple[int, int]

#: The errors when the process that is read about is gone.
_GONE = (FileNotFoundError, ProcessLookupError)

#: The errors when the process that is read about is gone or belongs to another user.
_HIDDEN = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM)

# Positions of the fields after the name in /proc/PID/stat (proc_pid_stat(5)).
_STATE, _PARENT, _CPU, _START = 0, 1, slice(11, 15), 19

#: The size of one read, in bytes. The kernel returns at most a page of most files in /proc.
_PAGE = 4096


#: What is wrong without /proc on Linux, and the command that mounts it.
MISSING = "/proc is not mounted, so processes cannot be identified."
MOUNT_COMMAND = "mount -t proc proc /proc"


def is_readable() -> bool:
    """Return True if this module can read about processes. Some containers have no /proc."""
    return not LINUX or os.path.exists("/proc/self/stat")


def all_pids() -> Iterator[int]:
    """Yield the process IDs of all processes."""
    if LINUX:
        return (int(name) for name in patiently(os.listdir, "/proc") if name.isdigit())
    import psutil

    return iter(psutil.pids())


def start_ticks(pid: int) -> int | None:
    """Return the start time of a process, or None if it has ended. A zombie has ended.

    It is in clock ticks since the boot on Linux, and in microseconds since 1970 elsewhere.
    """
    if not LINUX:
        return _start_by_psutil(pid)
    fields = _stat(pid)
    return None if fields is None or fields[_STATE] in b"ZX" else int(fields[_START])


def _start_by_psutil(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * 1_000_000)
    except psutil.NoSuchProcess:
        return None


def has_ended(pid: int) -> bool:
    """Return True if a process is gone or a zombie."""
    if not LINUX:
        return _status_by_psutil(pid) in (None, "zombie")
    fields = _stat(pid)
    return fields is None or fields[_STATE] in b"ZX"


def is_stopped(pid: int) -> bool:
    """Return True if a signal or a debugger has stopped a process, or False if that cannot be read."""
    if not LINUX:
        return _status_by_psutil(pid) == "stopped"
    try:
        fields = _stat(pid)
    except OSError:
        return False
    return fields is not None and fields[_STATE] in b"Tt"


def _status_by_psutil(pid: int) -> str | None:
    import psutil

    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:
        return "unknown"


def cpu_ticks(pid: int) -> int:
    """Return the CPU time of a process and its reaped children, in clock ticks."""
    if not LINUX:
        return _cpu_by_psutil(pid)
    fields = _stat(pid)
    return 0 if fields is None else sum(map(int, fields[_CPU]))


def _cpu_by_psutil(pid: int) -> int:
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0
    return round((times.user + times.system) * os.sysconf("SC_CLK_TCK"))


def parent(pid: int) -> int | None:
    """Return the parent of a process, or None if that cannot be read."""
    if not LINUX:
        return _parent_by_psutil(pid)
    try:
        fields = _stat(pid)
    except OSError:
        return None
    return None if fields is None else int(fields[_PARENT])


def _parent_by_psutil(pid: int) -> int | None:
    import psutil

    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return None


def _stat(pid: int) -> list[bytes] | None:
    """Return the fields of /proc/PID/stat after the name, up to the start time."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except _GONE:
        return None
    return text[text.rindex(b")") + 2 :].split(maxsplit=_START + 1)


def name(pid: int) -> str | None:
    """Return the name of a process, or None if it is gone."""
    if not LINUX:
        return _name_by_psutil(pid)
    try:
        return os.fsdecode(_read(f"/proc/{pid}/comm").removesuffix(b"\n"))
    except _GONE:
        return None


def _name_by_psutil(pid: int) -> str | None:
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None


def command_line(pid: int) -> list[str]:
    """Return the arguments of a process, or an empty list if they cannot be read."""
    if not LINUX:
        return _command_line_by_psutil(pid)
    try:
        return os.fsdecode(_read(f"/proc/{pid}/cmdline")).removesuffix("\0").split("\0")
    except OSError:
        return []


def _command_line_by_psutil(pid: int) -> list[str]:
    import psutil

    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def environment(pid: int) -> dict[str, str]:
    """Return the environment with which a process was started, or an empty one if it cannot be read."""
    if not LINUX:
        return _environment_by_psutil(pid)
    try:
        text = _read(f"/proc/{pid}/environ")
    except OSError as error:
        if error.errno in _HIDDEN:
            return {}
        raise
    pairs = (item.partition(b"=") for item in text.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _environment_by_psutil(pid: int) -> dict[str, str]:
    import psutil

    try:
        return dict(psutil.Process(pid).environ())
    except (psutil.Error, OSError):
        return {}


def children(pid: int) -> set[int]:
    """Return the children of a process, including zombies."""
    if not LINUX:
        return _children_by_psutil(pid)
    pids: set[int] = set()
    try:
        for thread in patiently(os.listdir, f"/proc/{pid}/task"):
            pids.update(map(int, _read(f"/proc/{pid}/task/{thread}/children").split()))
    except _GONE:
        return pids
    return pids


def _children_by_psutil(pid: int) -> set[int]:
    import psutil

    return {process.pid for process in psutil.process_iter(["ppid"]) if process.info["ppid"] == pid}


def own_children() -> set[int]:
    """Return the children of this process, including zombies. The process must have only one thread."""
    if not LINUX:
        return _children_by_psutil(os.getpid())
    return set(map(int, _read(f"/proc/self/task/{os.getpid()}/children").split()))


def watch_own_children() -> Callable[[], bytes]:
    """Return a function that lists the children of this process as text, with only one system call."""
    if not LINUX:
        return lambda: b" ".join(b"%d" % pid for pid in sorted(own_children()))
    descriptor = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
    return lambda: os.pread(descriptor, _PAGE, 0)


def pids_with_open(files: Collection[FileId]) -> Iterator[int]:
    """Yield the processes that have one of these files open. Processes of other users may be hidden."""
    if not LINUX:
        yield from _pids_with_open_by_psutil(files)
        return
    for pid in all_pids():
        if any(file_id(path) in files for path in _descriptors(pid)):
            yield pid


def _descriptors(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    try:
        return [f"{folder}/{number}" for number in os.listdir(folder)]
    except OSError:  # gone, or another user's
        return []


def _pids_with_open_by_psutil(files: Collection[FileId]) -> Iterator[int]:
    import psutil

    for process in psutil.process_iter():
        try:
            open_files = process.open_files()
        except psutil.Error:
            continue
        if any(file_id(file.path) in files for file in open_files):
            yield process.pid


def file_id(path: str | os.PathLike[str]) -> FileId | None:
    """Return the device and inode of a file, or None if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def read_locks(inode: int) -> Iterator[tuple[int, int]]:
    """Yield the process ID and the first byte of each read lock on an inode (Linux only)."""
    for line in _read("/proc/locks").decode().splitlines():
        # 1: POSIX  ADVISORY  READ 4711 08:01:131 124 124
        # The line of a waiting process has an arrow, and so one field more.
        fields = line.split()
        if len(fields) == 8 and fields[3] == "READ" and fields[5].endswith(f":{inode}"):
            yield int(fields[4]), int(fields[6])


def pid_namespace() -> str:
    """Return the identifier of the PID namespace of this process."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "host"


def _read(path: str) -> bytes:
    """Return the content of a file in /proc. It uses no file object, because some files are read after every task."""
    descriptor = patiently(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = b""
        while piece := os.read(descriptor, _PAGE):
            content += piece
        return content
    finally:
        os.close(descriptor)
