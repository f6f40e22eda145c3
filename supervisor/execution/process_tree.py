"""Process trees: who is in one, and how it is ended so that nobody is left.

A worker is a subreaper: whoever is orphaned among its descendants becomes its child, so as long as it lives the tree
is exactly its descendants, daemonised and `setsid` ones too. Of a dead worker the tree is found by its strays at the
fork server and by the marks in the environment.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ...ipc import clock
from ...ipc.failpoints import failpoint
from ..system.children import watch

LINUX: bool = sys.platform.startswith("linux")

#: In the environment of every process of a task: which try it belongs to, and whether it may outlive it.
CLAIM_MARK = "BACKBURNER_CLAIM"
HOME_MARK = "BACKBURNER_HOME"
SPARE_MARK = "BACKBURNER_LEAVE_CHILDREN"
MARKS = (CLAIM_MARK, HOME_MARK, SPARE_MARK)

#: What the processes of the fork server are called; its children have its own name until they have one.
ROLES = ("bb-forkserver", "bb-worker", "bb-flusher")

#: Seconds between two looks at a tree whose processes were sent SIGKILL and have not gone yet.
LOOK_AGAIN = 0.02

#: So many times the table of processes is read to find those who bear a mark.
LOOKS = 2

#: Seconds after which processes that survive SIGKILL (stuck in the kernel) are given up on.
GIVE_UP = 10.0

Members = Callable[[], set[int]]


def children_of(pid: int) -> set[int]:
    """The living children of a process."""
    return {child for child in _children(pid) if not _is_zombie(child)}


def descendants_of(pid: int) -> set[int]:
    """The living descendants of a process, without itself."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = _children(waiting.pop()) - found
        found |= new
        waiting += new
    return {one for one in found if not _is_zombie(one)}


def marked(claims: set[int], home: Path) -> set[int]:
    """Return the processes whose environment says that they belong to these attempts and may not outlive them.

    Processes that start meanwhile are examined, too: their parent may have died before it was examined.
    """
    seen: set[int] = set()
    found: set[int] = set()
    for _ in range(LOOKS):
        new = set(_all_processes()) - seen
        found |= {pid for pid in new if is_marked(pid, claims, home) and not is_spared(pid)}
        seen |= new
    return found


def is_marked(pid: int, claims: set[int], home: Path) -> bool:
    """Return True if a process's environment says that it belongs to one of these attempts."""
    found = _environment(pid)
    claim = found.get(CLAIM_MARK, "")
    return claim.isdecimal() and int(claim) in claims and found.get(HOME_MARK) == str(home)


def cpu_seconds(pids: set[int]) -> float:
    """CPU time, in seconds, that these processes have used, with that of their children that were waited for."""
    return sum(map(_cpu_ticks, pids)) / os.sysconf("SC_CLK_TCK")


def is_spared(pid: int) -> bool:
    """Whether a process belongs to a task whose children are meant to live on."""
    return SPARE_MARK in _environment(pid)


def is_role(pid: int) -> bool:
    """Whether a child of the fork server plays a role of ours, or is about to: that is how it is named then."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() in ROLES
    except (FileNotFoundError, ProcessLookupError):  # gone; or macOS, where no stray is left to the fork server
        return True


def end(members: Members, grace: float) -> int:
    """End a tree: SIGTERM, `grace` seconds, SIGKILL, until nobody is left; how many there were at first.

    While the list is made they are stopped, so that nobody forks away from it.
    """
    first = _freeze(members)
    _signal(first, signal.SIGTERM)
    _signal(first, signal.SIGCONT)
    if not _all_gone(members, grace):
        kill_all(members)
    return len(first)


def kill_all(members: Members) -> None:
    """SIGKILL a tree, again and again until it is empty."""
    deadline = clock.monotonic() + GIVE_UP
    while clock.monotonic() < deadline:
        _signal(_freeze(members), signal.SIGKILL)
        if _all_gone(members, LOOK_AGAIN):
            return


def _freeze(members: Members) -> set[int]:
    frozen: set[int] = set()
    while new := members() - frozen:
        _signal(new, signal.SIGSTOP)
        frozen |= new
    return frozen


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            with failpoint("tree.signal"):
                os.kill(pid, number)
        except (ProcessLookupError, PermissionError):  # gone, or become another user's: not ours to end
            continue


def who_is_left(members: Members) -> set[int]:
    """Who is left of a tree of this process's descendants; nobody only where that is sure.

    One that forks and dies while the list is made is on it dead, and its child not at all: as long as anybody died,
    the list is made again.
    """
    reap_children()
    while not (left := members()):
        if not reap_children():
            break
    return left


def _all_gone(members: Members, patience: float) -> bool:
    """Wait until a tree is empty; whether it is."""
    deadline = clock.monotonic() + patience
    while True:
        left = who_is_left(members)
        if not left:
            return True
        rest = deadline - clock.monotonic()
        if rest <= 0:
            return False
        _wait_for_one(left, rest)


def _wait_for_one(pids: set[int], seconds: float) -> None:
    watches = [found for found in map(watch, pids) if found is not None]
    try:
        if len(watches) == len(pids):
            select.select(watches, [], [], min(seconds, 1.0))
    finally:
        for one in watches:
            one.close()


_reaped: dict[int, int] = {}


def reap_children() -> int:
    """Reap whoever died; how many. The statuses are kept for `take_status`, so that no one's is lost."""
    dead = 0
    while (pid := _dead_child()) is not None:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            _reaped[pid] = status
            dead += 1
    return dead


def _dead_child() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def take_status(pid: int) -> int | None:
    """The wait status of a child that has died, whoever reaped it; None while it lives."""
    if pid in _reaped:
        return _reaped.pop(pid)
    found, status = os.waitpid(pid, os.WNOHANG)
    return status if found else None


def forget_status(pid: int) -> None:
    """A new child has this number: what an earlier one's end was is nobody's business any more."""
    _reaped.pop(pid, None)


def take_statuses() -> dict[int, int]:
    """The wait statuses of all children that have died and were not asked for yet."""
    reap_children()
    found = dict(_reaped)
    _reaped.clear()
    return found


def take_stopped() -> set[int]:
    """Return the children that a signal has stopped since the last call (on macOS none: Python has no waitid there)."""
    stopped: set[int] = set()
    while LINUX and (pid := _stopped_child()) is not None:
        stopped.add(pid)
    return stopped


def _stopped_child() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def own_children() -> set[int]:
    """The children of this process, which has one thread; zombies count."""
    if not LINUX:
        return _children(os.getpid())
    return _numbers(f"/proc/self/task/{os.getpid()}/children")


def watch_own_children() -> Callable[[], bytes]:
    """Return a function that returns the numbers of this process's children, zombies included, by one system call."""
    if not LINUX:
        return lambda: b" ".join(b"%d" % pid for pid in sorted(own_children()))
    descriptor = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
    return lambda: os.pread(descriptor, 4096, 0)


def _numbers(path: str) -> set[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # asked for after every task: no file object
    try:
        return set(map(int, _all_of(descriptor).split()))
    finally:
        os.close(descriptor)


def _all_of(descriptor: int) -> bytes:
    """What there is to read; the kernel makes such files up to a page at a time."""
    found = b""
    while piece := os.read(descriptor, 4096):
        found += piece
    return found


def _children(pid: int) -> set[int]:
    if not LINUX:
        return _children_by_psutil(pid)
    found: set[int] = set()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found |= _numbers(f"/proc/{pid}/task/{thread}/children")
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found


def _children_by_psutil(pid: int) -> set[int]:
    import psutil

    return {process.pid for process in psutil.process_iter() if process.ppid() == pid}


def _is_zombie(pid: int) -> bool:
    if not LINUX:
        return False
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return text[text.rindex(b")") + 2 : text.rindex(b")") + 3] in (b"Z", b"X")


def _cpu_ticks(pid: int) -> int:
    if not LINUX:
        return _cpu_ticks_by_psutil(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, text[text.rindex(b")") + 2 :].split()[11:15]))


def _cpu_ticks_by_psutil(pid: int) -> int:
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0
    return round((times.user + times.system) * os.sysconf("SC_CLK_TCK"))


def _all_processes() -> Iterator[int]:
    if LINUX:
        return (int(name) for name in os.listdir("/proc") if name.isdigit())
    import psutil

    return iter(psutil.pids())


def _environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; nothing where it may not be read: then it is not ours."""
    if not LINUX:
        return _environment_by_psutil(pid)
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM):
            return {}
        raise
    pairs = (item.partition(b"=") for item in raw.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _environment_by_psutil(pid: int) -> dict[str, str]:
    import psutil

    try:
        return dict(psutil.Process(pid).environ())
    except (psutil.Error, OSError):
        return {}


def bearers(home: Path) -> dict[int, int]:
    """The living processes that bear the mark of a try in that home, and which; not those that may outlive it."""
    found = {}
    for pid in _all_processes():
        marks = _environment(pid)
        claim = marks.get(CLAIM_MARK, "")
        ours = marks.get(HOME_MARK) == str(home) and SPARE_MARK not in marks and claim.isdecimal()
        if ours and not _is_zombie(pid):
            found[pid] = int(claim)
    return found
