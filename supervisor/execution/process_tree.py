"""Process trees. Find the processes of a tree, and end all of them.

A worker is a subreaper, so orphans among its descendants become its children. While it lives, the tree of its task is
exactly its descendants, including daemonised ones and those with their own session. The tree of a dead worker is found
by the fork server, whose children the orphans become, and by the marks in the environment of its processes.

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
from ...ipc.home import Home
from ...ipc.machine import proc
from ...ipc.machine.presence import ROLES, Presence
from ..system.children import watch

#: Variables of every process of a task: its claim, its state directory, and a mark if it may outlive the task.
CLAIM_MARK = "BACKBURNER_CLAIM"
HOME_MARK = "BACKBURNER_HOME"
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
    """Return the living descendants of a process. Those with a role, and their descendants, are left out."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = {child for child in proc.children(waiting.pop()) - found if not has_role(child)}
        found |= new
        waiting += new
    return {one for one in found if not proc.has_ended(one)}


def marked(claims: set[int], home: Path) -> set[int]:
    """Return the processes that bear the marks of these attempts and may not outlive them.

    The second scan examines processes that were started during the first one: their parent may have died before it
    was examined.
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
    """Return the claims of the living processes that bear a mark of this home and may not outlive their task."""
    found = {}
    for pid in proc.all_pids():
        environment = proc.environment(pid)
        claim = _claim_in(environment, home)
        if claim is not None and SPARE_MARK not in environment and not proc.has_ended(pid):
            found[pid] = claim
    return found


def _claim_in(environment: dict[str, str], home: Path) -> int | None:
    claim = environment.get(CLAIM_MARK, "")
    return int(claim) if claim.isdecimal() and environment.get(HOME_MARK) == str(home) else None


def is_spared(pid: int) -> bool:
    """Return True if a process may outlive its task, because it bears the mark or has a role in a home."""
    return SPARE_MARK in proc.environment(pid) or has_role(pid)


def has_role(pid: int) -> bool:
    """Return True if a process holds the lock of a role in the home of its environment.

    A supervisor that is started in the background bears no claim. One that does is the task's own command.
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
    """End a tree by SIGTERM, and after `grace` seconds by SIGKILL until it is empty. Return its number of processes.

    The processes are stopped while they are listed, so that none of them can fork in the meantime.
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
    """Return the living processes of a tree of descendants. The set is empty only if the tree certainly is.

    If a process forks and dies while the tree is listed, its child is missing from the list. The listing is
    therefore repeated as long as children have died.
    """
    reap_children()
    while not (left := members()):
        if not reap_children():
            break
    return left


def _wait_until_empty(members: Members, timeout: float) -> bool:
    deadline = clock.monotonic() + timeout
    while True:
        left = remaining(members)
        if not left:
            return True
        seconds = deadline - clock.monotonic()
        if seconds <= 0:
            return False
        _wait_for_one(left, seconds)


def _wait_for_one(pids: set[int], seconds: float) -> None:
    watches = [found for found in map(watch, pids) if found is not None]
    try:
        if len(watches) == len(pids):
            select.select(watches, [], [], min(seconds, 1.0))
    finally:
        for one in watches:
            one.close()


#: Wait statuses of reaped children that were not returned yet.
_reaped: dict[int, int] = {}


def reap_children() -> int:
    """Reap all dead children. Return their number. Their statuses are kept for `take_status`."""
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
    """Return the wait status of a dead child, once, even if it was reaped already. Return None while it lives."""
    if pid in _reaped:
        return _reaped.pop(pid)
    found, status = os.waitpid(pid, os.WNOHANG)
    return status if found else None


def forget_status(pid: int) -> None:
    """Forget the status of an earlier child with the process ID of a new one."""
    _reaped.pop(pid, None)


def take_statuses() -> dict[int, int]:
    """Return the wait statuses of all dead children that were not returned yet."""
    reap_children()
    found = dict(_reaped)
    _reaped.clear()
    return found


def take_stopped() -> set[int]:
    """Return the children that a signal has stopped since the last call (on macOS none: Python has no waitid there)."""
    stopped: set[int] = set()
    while proc.LINUX and (pid := _stopped_child()) is not None:
        stopped.add(pid)
    return stopped


def _stopped_child() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid
