"""The runners of one worker: processes for callables, kept from one call to the next while they are clean."""

from __future__ import annotations

import os
import signal
import socket

from ipc.moments import moment
from supervisor.children import fork
from supervisor.execution import runner as protocol
from supervisor.execution.plan import CannotStart
from supervisor.execution.spawn import DEFAULT_SIGNALS
from supervisor.execution.trees import forget_status, take_status
from supervisor.role import name_process
from supervisor.signals import let_through, restore_default


class Runner:
    """A process for callables: a fork of the clean worker, or another interpreter."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        """Use `forked` or `of`."""
        forget_status(pid)
        self.pid = pid
        self.channel = channel
        self.spent = False
        self.has_children = False
        self._seen: dict[str, tuple[int, int]] = {}
        self._environment: dict[str, str] = {}

    @classmethod
    def forked(cls) -> Runner:
        """A fork of this process, which must not have opened anything yet."""
        ours, theirs = socket.socketpair()
        worker = os.getpid()

        def be_runner() -> None:
            protocol.go_with(worker)
            ours.close()
            os.setsid()
            restore_default(*DEFAULT_SIGNALS, signal.SIGUSR1)
            signal.set_wakeup_fd(-1)
            let_through()
            name_process("bb-runner")
            protocol.serve(theirs, moment)

        pid = fork(be_runner)
        theirs.close()
        return cls(pid, ours)

    @classmethod
    def of(cls, interpreter: str) -> Runner:
        """Another Python. Raises CannotStart."""
        ours, theirs = socket.socketpair()
        try:
            with moment("runner.spawn"):
                pid = os.posix_spawnp(
                    interpreter,
                    [interpreter, protocol.__file__, "3", str(os.getpid())],
                    dict(os.environ),
                    file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)],
                    setsid=True,
                    setsigmask=(),
                    setsigdef=DEFAULT_SIGNALS,
                )
        except OSError as error:
            raise CannotStart(f"The interpreter {interpreter} cannot be started: {error.strerror}.") from error
        finally:
            theirs.close()
        return cls(pid, ours)

    def begin(self, order: dict[str, object], environment: dict[str, str], descriptors: list[int]) -> None:
        """Have it run a call. One that died since the last call is told of by `answer`."""
        changes = _differences(self._environment, environment)  # most of it is as it was for the last call
        self._environment = environment
        try:
            with moment("runner.order"):
                protocol.send(self.channel, {**order, "environment": changes}, descriptors)
        except OSError:
            self.spent = True

    def answer(self) -> dict[str, object] | None:
        """What a call came to, or None where the runner hung up instead."""
        try:
            found = protocol.receive_answer(self.channel)
        except OSError:
            found = None
        if found is None:
            self.spent = True
            return None
        self.spent |= found["threads"] > 1
        self.has_children = found["children"]
        for file in found["files"]:
            self._seen.setdefault(file, _look(file))
        return found

    def end(self) -> int:
        """The wait status of a runner that hung up; one that only closed its line is of no use any more."""
        status = take_status(self.pid)
        if status is None:
            with moment("runner.kill"):
                os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        return status

    def is_fresh(self) -> bool:
        """Whether it may run another call: nothing was left in it, and its modules are as they are on disk."""
        return not self.spent and all(_look(file) == seen for file, seen in self._seen.items())


class Runners:
    """One runner per interpreter; that of this interpreter is forked at once, before anything is open."""

    def __init__(self) -> None:
        """Fork the first."""
        self._runners = {"": Runner.forked()}

    def get(self, interpreter: str) -> Runner:
        """The runner for that interpreter (`""`: this one). Raises CannotStart."""
        if interpreter and not (interpreter in self._runners and self._runners[interpreter].is_fresh()):
            self._drop(interpreter)
            self._runners[interpreter] = Runner.of(interpreter)
        return self._runners[interpreter]

    def are_fresh(self) -> bool:
        """Whether this worker can still run whatever comes: its own fork cannot be made anew."""
        return self._runners[""].is_fresh()

    def pids(self) -> set[int]:
        """The runners' processes that are to live on."""
        return {runner.pid for runner in self._runners.values() if not runner.spent}

    def _drop(self, interpreter: str) -> None:
        if found := self._runners.pop(interpreter, None):
            found.channel.close()
            found.end()


def _differences(before: dict[str, str], after: dict[str, str]) -> dict[str, str | None]:
    """What must be set, and what unset (None), to come from one environment to the other."""
    gone = dict.fromkeys(before.keys() - after.keys())
    return gone | dict(after.items() - before.items())


def _look(file: str) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)
