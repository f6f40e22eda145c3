"""Process trees. Find the processes of a tree, and end all of them.

A worker is a subreaper, so orphans among its descendants become its children. While it lives, the tree of its task is
exactly its descendants, including daemonised processes and those with their own session. When a worker dies, its
orphans become children of the fork server. They are found there, or by the marks in their environment.

A supervisor that a task has started is not part of the task's tree, and neither are its descendants.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

from ...ipc import clock
from ...ipc.failpoints import failpoint
from ...ipc.home import Home, folder_id
from ...ipc.machine import proc
from ...ipc.machine.presence import ROLES, Presence
from ..system.children import watch

#: Environment variables of every process of a task. The last one is set only if the process may outlive the task.
CLAIM_MARK = "BACKBURNER_CLAIM"
HOME_MARK = "BACKBURNER_HOME"
HOME_ID_MARK = "BACKBURNER_HOME_ID"
SPARE_MARK = "BACKBURNER_LEAVE_CHILDREN"

#: The process names of the fork server and the roles it forks. A child has its parent's name until it sets its own.
FORKED_NAMES = ("bb-forkserver", "bb-worker", "bb-flusher")

#: Seconds between two rounds of SIGKILL.
KILL_INTERVAL = 0.02

#: The number of scans of the process table for marked processes.
SCANS = 2

#: Seconds after which processes that survive SIGKILL (stuck in the kernel) are given up.
KILL_TIMEOUT = 10.0

Members = Callable[[], set[int]]


def children_of(pid: int) -> set[int]:
    """Return the living children of a process."""
    return {child for child in proc.children(pid) if not proc.has_ended(child)}


def descendants_of(pid: int) -> set[int]:
    """Return the living descendants of a process, except those that have a role, and their descendants."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = {child for child in proc.children(waiting.pop()) - found if not has_role(child)}
        found |= new
        waiting += new
    return {child for child in found if not proc.has_ended(child)}


def marked(claims: set[int], home: Path) -> set[int]:
    """Return the processes that bear the marks of these attempts and must not outlive them.

    The second scan examines processes that were started during the first scan. Their parents may have died before
    they were examined.
    """
    seen: set[int] = set()
    found: set[int] = set()
    for _ in range(SCANS):
        new = set(proc.all_pids()) - seen
        found |= {pid for pid in new if is_marked(pid, claims, home) and not is_spared(pid)}
        seen |= new
    return found


def is_marked(pid: int, claims: set[int], home: Path) -> bool:
    """Return True if a process bears the mark of one of these attempts."""
    return _claim_in(proc.environment(pid), home) in claims


def marked_processes(home: Path) -> dict[int, int]:
    """Return the claims of the living processes that bear a mark of this home and must not outlive their task."""
    claims = {}
    for pid in proc.all_pids():
        environment = proc.environment(pid)
        claim = _claim_in(environment, home)
        if claim is not None and SPARE_MARK not in environment and not proc.has_ended(pid):
            claims[pid] = claim
    return claims


def _claim_in(environment: dict[str, str], home: Path) -> int | None:
    claim = environment.get(CLAIM_MARK, "")
    return int(claim) if claim.isdecimal() and _is_of(environment, home) else None


def _is_of(environment: dict[str, str], home: Path) -> bool:
    """Return True if a process belongs to a home, by whatever path the home was reached when it was started."""
    folder = environment.get(HOME_MARK, "")
    id = environment.get(HOME_ID_MARK) or folder_id(folder)  # earlier releases marked only the path
    return id == folder_id(home) if id else folder == str(home)


def is_spared(pid: int) -> bool:
    """Return True if a process may outlive its task because it bears `SPARE_MARK` or has a role in a home."""
    return SPARE_MARK in proc.environment(pid) or has_role(pid)


def has_role(pid: int) -> bool:
    """Return True if a process holds the lock of a role in the home of its environment.

    A supervisor that is started in the background bears no claim. A supervisor with a claim is the task's own command.
    """
    environment = proc.environment(pid)
    if CLAIM_MARK in environment or HOME_MARK not in environment:
        return False
    presence = Presence(Home(Path(environment[HOME_MARK])))
    try:
        return any(presence.holder(role) == pid for role in ROLES)
    except OSError:  # a folder that cannot be read is not the home of our processes
        return False


def is_role(pid: int) -> bool:
    """Return True if a child of the fork server has a role, is about to get one, or is gone.

    On macOS, where orphans do not become children of the fork server, all of its children are roles.
    """
    name = proc.name(pid) if proc.LINUX else None
    return name is None or name in FORKED_NAMES


def cpu_seconds(pids: set[int]) -> float:
    """Return the CPU time of these processes and their reaped children, in seconds."""
    return sum(map(proc.cpu_ticks, pids)) / os.sysconf("SC_CLK_TCK")


def end(members: Members, grace: float) -> int:
    """End a tree by SIGTERM, and by SIGKILL after `grace` seconds. Return its initial number of processes.

    The processes are stopped while they are listed, so that none of them can fork.
    """
    first = _freeze(members)
    _signal(first, signal.SIGTERM)
    _signal(first, signal.SIGCONT)
    if not _wait_until_empty(members, grace):
        kill_all(members)
    return len(first)


def kill_all(members: Members) -> None:
    """Send SIGKILL to a tree until it is empty."""
    deadline = clock.monotonic() + KILL_TIMEOUT
    while clock.monotonic() < deadline:
        _signal(_freeze(members), signal.SIGKILL)
        if _wait_until_empty(members, KILL_INTERVAL):
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
        except (ProcessLookupError, PermissionError):  # gone, or it belongs to another user now
            continue


def remaining(members: Members) -> set[int]:
    """Return the living processes of a tree of descendants. An empty set proves that the tree is empty.

    If a process forks and dies while the tree is listed, its child is missing from the list. The listing is
    therefore repeated as long as children have died.
    """
    reap_children()
    while not (living := members()):
        if not reap_children():
            break
    return living


def _wait_until_empty(members: Members, timeout: float) -> bool:
    deadline = clock.monotonic() + timeout
    while True:
        living = remaining(members)
        if not living:
            return True
        seconds = deadline - clock.monotonic()
        if seconds <= 0:
            return False
        _wait_for_one(living, seconds)


def _wait_for_one(pids: set[int], seconds: float) -> None:
    watches = [descriptor for descriptor in map(watch, pids) if descriptor is not None]
    try:
        if len(watches) == len(pids):
            select.select(watches, [], [], min(seconds, 1.0))
    finally:
        for descriptor in watches:
            descriptor.close()


#: Wait statuses of reaped children that no caller has taken yet.
_reaped: dict[int, int] = {}


def reap_children() -> int:
    """Reap all dead children. Return their number. Their statuses are kept for `take_status`."""
    dead = 0
    while (pid := _dead_child()) is not None:
        reaped, status = os.waitpid(pid, os.WNOHANG)
        if reaped:
            _reaped[pid] = status
            dead += 1
    return dead


def _dead_child() -> int | None:
    try:
        child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if child is None else child.si_pid


def take_status(pid: int) -> int | None:
    """Take the wait status of a dead child, even if it was reaped already. Return None while the child lives."""
    if pid in _reaped:
        return _reaped.pop(pid)
    reaped, status = os.waitpid(pid, os.WNOHANG)
    return status if reaped else None


def forget_status(pid: int) -> None:
    """Forget the status of an earlier child that had the same process ID as a new child."""
    _reaped.pop(pid, None)


def take_statuses() -> dict[int, int]:
    """Take the wait statuses of all dead children."""
    reap_children()
    statuses = dict(_reaped)
    _reaped.clear()
    return statuses


def take_stopped() -> set[int]:
    """Return the children that a signal has stopped since the last call (none on macOS, which lacks os.waitid)."""
    stopped: set[int] = set()
    while proc.LINUX and (pid := _stopped_child()) is not None:
        stopped.add(pid)
    return stopped


def _stopped_child() -> int | None:
    try:
        child = os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG)
    except ChildProcessError:
        return None
    return None if child is None else child.si_pid
