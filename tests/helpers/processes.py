"""Look-ups of processes: by their environment, name, state, CPU and memory. Imports nothing of backburner."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.helpers.wait import eventually

#: The variable that names the state directory of a process.
HOME_MARK = "BACKBURNER_HOME"

#: Variables by which a process is recognised; trials mark their tasks with the second prefix.
MARK_PREFIXES = ("BACKBURNER_", "TRIAL_")

#: The prefix of the process names of backburner's roles, as `ps -o comm` shows them.
ROLE_PREFIX = "bb-"

#: Seconds by which a process may outlive its test.
LEFT_TIMEOUT = 10.0

_HAS_PROC = Path("/proc/self/stat").exists()


class Process(NamedTuple):
    """A living process. `started` is its start time in clock ticks since boot (elsewhere than on Linux: seconds)."""

    pid: int
    started: int
    state: str
    name: str
    marks: dict[str, str]

    @property
    def identity(self) -> tuple[int, int]:
        """Return what distinguishes this process from every other one of this boot."""
        return self.pid, self.started

    @property
    def role(self) -> str | None:
        """Return the role that it has in backburner, or None for any other process."""
        return self.name.removeprefix(ROLE_PREFIX) if self.name.startswith(ROLE_PREFIX) else None

    @property
    def command_line(self) -> str:
        """Return its arguments, or nothing if it is gone."""
        with suppress(psutil.Error, OSError):
            if _HAS_PROC:
                return os.fsdecode(Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").rstrip())
            return " ".join(psutil.Process(self.pid).cmdline())
        return ""

    def __str__(self) -> str:
        return f"{self.pid} {self.name} ({self.state}): {self.command_line}"


def look_up(pid: int) -> Process | None:
    """Return a living process, or None if it is gone, a zombie, or belongs to another user."""
    try:
        return _look_in_proc(pid) if _HAS_PROC else _look_by_psutil(pid)
    except (OSError, psutil.Error):
        return None


def _look_in_proc(pid: int) -> Process | None:
    name, fields = _stat(pid)
    if fields[0] in "ZX":
        return None
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return Process(pid, int(fields[19]), fields[0], name, _marks(map(os.fsdecode, environment)))


def _stat(pid: int) -> tuple[str, list[str]]:
    """Return a process's name, and the fields of its stat file that follow the name."""
    head, _, tail = os.fsdecode(Path(f"/proc/{pid}/stat").read_bytes()).rpartition(")")
    return head.partition("(")[2], tail.split()


def _look_by_psutil(pid: int) -> Process | None:
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        return None
    marks = _marks(f"{name}={value}" for name, value in process.environ().items())
    return Process(pid, int(process.create_time()), process.status(), process.name(), marks)


def _marks(environment: Iterable[str]) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in environment if entry.startswith(MARK_PREFIXES))
    return {name: value for name, _, value in pairs}


def all_processes() -> list[Process]:
    """Return the living processes whose environment may be read, without this one."""
    found = (look_up(pid) for pid in psutil.pids() if pid != os.getpid())
    return [one for one in found if one is not None]


def processes_of(home: Path) -> list[Process]:
    """Return the living processes, other than this one, that have this state directory in their environment."""
    return [one for one in all_processes() if one.marks.get(HOME_MARK) == str(home)]


def kill_processes_of(home: Path) -> None:
    """Send SIGKILL to all processes that use this state directory, until there are none."""
    kill_all(lambda: processes_of(home))


def fail_if_left(home: Path) -> None:
    """Wait until no process uses this state directory. Raises WaitTimeout after killing those that are left."""
    try:
        eventually(
            lambda: not processes_of(home), LEFT_TIMEOUT, lambda: f"the end of:\n{describe(processes_of(home))}\n"
        )
    finally:
        kill_processes_of(home)


def describe(processes: Iterable[Process]) -> str:
    """Return a line for each process."""
    return "\n".join(f"  {process}" for process in processes)


def status_of(pid: int) -> str | None:
    """Return psutil's status of a process, or None if it is gone."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None


def is_alive(pid: int) -> bool:
    """Return True if a process exists and is not a zombie."""
    return status_of(pid) not in (None, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def are_gone(pids: Iterable[int]) -> bool:
    """Return True if none of these processes is alive."""
    return not any(map(is_alive, pids))


def is_stopped(pid: int) -> bool:
    """Return True if a process was stopped by a signal."""
    return status_of(pid) == psutil.STATUS_STOPPED


def kernel_wait(pid: int) -> str:
    """Return the kernel function and the system call in which a process waits, as far as they may be read."""
    with suppress(OSError):
        return f"{Path(f'/proc/{pid}/wchan').read_text()} {Path(f'/proc/{pid}/syscall').read_text().strip()}"
    return ""


def lock_holder(path: Path) -> int | None:
    """Return the process that holds a record lock on a file, or None (Linux). 0: its number is not known (any more)."""
    layout = "hhqqi4x"  # struct flock: type, whence, start, length, pid
    with suppress(FileNotFoundError), path.open("rb+") as file:
        request = struct.pack(layout, fcntl.F_WRLCK, 0, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(layout, fcntl.fcntl(file, fcntl.F_GETLK, request))
        return None if kind == fcntl.F_UNLCK else int(pid)
    return None


def send_signal(pid: int, number: int) -> bool:
    """Send a signal, and return True if there was a process to receive it."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill(pid: int, timeout: float = 30.0) -> None:
    """Send SIGKILL, and wait until the process is dead."""
    send_signal(pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid), timeout, f"the death of {pid}")


def kill_all(find: Callable[[], list[Process]], timeout: float = 30.0) -> None:
    """Send SIGKILL to every process that `find` returns, until it returns none."""

    def kill_once() -> bool:
        found = find()
        for one in found:
            send_signal(one.pid, signal.SIGKILL)
        return not found

    eventually(kill_once, timeout, lambda: f"the death of these processes:\n{describe(find())}")


def cpu_times(pid: int) -> tuple[float, float]:
    """Return the seconds of CPU that a process has used, and those of its children that have ended."""
    try:
        _, fields = _stat(pid)
    except OSError:
        return 0.0, 0.0
    user, system, of_children, system_of_children = map(int, fields[11:15])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + system) / tick, (of_children + system_of_children) / tick


class Activity(NamedTuple):
    """What a process has done: seconds of CPU (measured in nanoseconds), and how often its threads went to sleep."""

    cpu: float = 0.0
    sleeps: int = 0

    @classmethod
    def of(cls, pid: int) -> Activity:
        """Return what a process has done since it started; nothing if it is gone."""
        with suppress(OSError):
            threads = list(Path(f"/proc/{pid}/task").iterdir())
            cpu = sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
            return cls(cpu / 1e9, sum(map(_voluntary_switches, threads)))
        return cls()

    def since(self, before: Activity) -> Activity:
        """Return what was done between two observations."""
        return Activity(self.cpu - before.cpu, self.sleeps - before.sleeps)


def _voluntary_switches(thread: Path) -> int:
    words = (thread / "status").read_text().split()
    return int(words[words.index("voluntary_ctxt_switches:") + 1])


def memory(pid: int, *fields: str) -> int:
    """Return the sum of these fields of smaps_rollup in bytes (`Rss`, `Pss`, `Private_Dirty` …); 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.partition(":")[0] in fields)


def open_files(pid: int) -> dict[str, str]:
    """Return what each descriptor of a process refers to; nothing if the process is gone."""
    found = {}
    with suppress(FileNotFoundError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found[path.name] = str(path.readlink())
    return found
