"""Start processes, and watch for their death."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from ...ipc import clock
from ...ipc.failpoints import failpoint
from ...ipc.machine.identity import Identity
from ...ipc.machine.proc import parent as parent_of
from ...ipc.machine.shortage import patiently
from ...ipc.model.cause import signal_name
from .signals import hold_back, let_through

#: Seconds to read a line that a program has already printed, even if an earlier program used up the time.
TO_READ = 0.2

STDERR = 2


class Watch:
    """A descriptor that becomes readable when a process dies. Create it with `watch`."""

    def __init__(self, descriptor: int, queue: object = None) -> None:
        self._descriptor = descriptor
        self._queue = queue

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def watch(pid: int) -> Watch | None:
    """Watch a child, or a process that the caller identifies afterwards. Return None if it is dead."""
    try:
        if hasattr(os, "pidfd_open"):
            return Watch(patiently(os.pidfd_open, pid))
        return _watch_by_kqueue(pid)
    except ProcessLookupError:
        return None


def watch_identity(identity: Identity) -> Watch | None:
    """Watch this process only. Return None if it is dead."""
    descriptor = watch(identity.pid)
    if descriptor is not None and not identity.alive():
        descriptor.close()
        return None
    return descriptor


def _watch_by_kqueue(pid: int) -> Watch:
    if not hasattr(select, "kqueue"):
        raise OSError(errno.ENOSYS, "this kernel has no pidfd_open (Linux 5.3)")
    kqueue: Any = select
    queue = kqueue.kqueue()
    event = kqueue.kevent(pid, kqueue.KQ_FILTER_PROC, kqueue.KQ_EV_ADD, kqueue.KQ_NOTE_EXIT)
    queue.control([event], 0)
    return Watch(os.dup(queue.fileno()), queue)


def fork(child: Callable[[], None]) -> int:
    """Fork a child that runs this function and exits. Return its PID.

    The child starts with our signals blocked. A role unblocks them when its handlers are installed.
    """
    hold_back()
    try:
        with failpoint("fork"):
            pid = os.fork()
        if pid == 0:
            _run_child(child)
    finally:
        let_through()
    return pid


def _run_child(child: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        child()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def close_descriptors(*kept: int) -> None:
    """Close all descriptors of this process except the standard descriptors and `kept`."""
    for number in {int(name) for name in os.listdir("/dev/fd")} - {0, 1, STDERR, *kept}:
        os.closerange(number, number + 1)  # ignores the descriptor of the listing, which is closed already


def start_detached(command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start one of our programs in its own session, with this process's stderr."""
    null = subprocess.DEVNULL
    with failpoint("fork_server.start"):
        return subprocess.Popen(command, stdin=null, stdout=null, start_new_session=True, cwd="/", env=environment)


def run_tool(command: Sequence[str], timeout: float = 120.0) -> tuple[int, str]:
    """Run a program of the system. Return its exit code, and its error or else its output, without line breaks.

    The code is 127 if the program does not exist, and 124 after `timeout` seconds.
    """
    try:
        with failpoint("tool.run"):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
            )
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not answer in {timeout:g} s"
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    return done.returncode, " ".join((done.stderr.strip() or done.stdout.strip()).split())


def first_lines(commands: Sequence[Sequence[str]], patience: float) -> list[str]:
    """Run programs at the same time. Return the first line of each, or "" after `patience` seconds."""
    end = clock.monotonic() + patience
    with failpoint("agents.ask"):
        processes = [_start(command) for command in commands]
    return [_first_line(process, end) for process in processes]


def _start(command: Sequence[str]) -> subprocess.Popen[str] | None:
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:  # the program does not exist
        return None


def _first_line(process: subprocess.Popen[str] | None, end: float) -> str:
    if process is None:
        return ""
    try:
        output, _ = process.communicate(timeout=max(TO_READ, end - clock.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return ""
    return output.partition("\n")[0]


def start_with_input(
    command: Sequence[str], data: bytes, environment: Mapping[str, str], cwd: str
) -> subprocess.Popen[bytes]:
    """Start a user's program in its own session, with `data` as its stdin and our stderr as its output.

    Raises OSError.
    """
    with tempfile.TemporaryFile() as file:  # writing to a pipe could block until the program reads
        file.write(data)
        file.seek(0)
        with failpoint("told.start"):
            return subprocess.Popen(
                command, stdin=file, stdout=STDERR, env=dict(environment), cwd=cwd, start_new_session=True
            )


def end_group(pid: int) -> None:
    """Send SIGKILL to the process group of a child that leads a session."""
    with suppress(ProcessLookupError), failpoint("told.kill"):
        os.killpg(pid, signal.SIGKILL)


def describe_exit(status: int | None) -> str:
    """Describe a wait status for a message. None means that the exit was not observed."""
    if status is None:
        return "unseen"
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else signal_name(-code)


def signal_group(pid: int, parent: int, number: int) -> bool:
    """Send a signal to the process group of a child of the process `parent`, or to the child if it leads no group.

    Return False if there is no such child. The PID may have been recorded long ago, so the parent proves that it is
    still the same process: as long as the parent is alive, only the parent frees the PID.
    """
    if parent_of(pid) != parent:
        return False
    try:
        leads = os.getpgid(pid) == pid
        with failpoint("signal.send"):
            os.killpg(pid, number) if leads else os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
