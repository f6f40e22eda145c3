"""An attempt at a task while it runs: a separate process, or a call in a runner."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from contextlib import suppress

from ...ipc.config.agents import AgentConfig
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ...ipc.model.cause import signal_name
from ...ipc.model.claim import Claimed
from ..system.children import Watch, watch
from .journal import Entry, Journal, entries, outcome_in
from .outcome import INTERRUPTED, Outcome
from .output_files import AttemptFiles
from .plan import CannotStart, Plan, stdin_path, write_order
from .process_tree import take_status
from .runner.wire import Order
from .runner_pool import Runner
from .spawn import open_stdin, spawn
from .verdict import Output, cause_of, outcome_of, session_of


class Attempt(ABC):
    """An attempt that was started.

    `watched` becomes readable when the attempt has ended. If it is None, the runner's channel becomes readable instead,
    or the attempt has ended already.
    """

    watched: Watch | None = None

    def __init__(self, claimed: Claimed, home: Home) -> None:
        self.claimed = claimed
        self.home = home
        self.files = AttemptFiles(home, claimed.claim)

    @property
    @abstractmethod
    def pid(self) -> int:
        """Return the process ID of the first process."""

    @abstractmethod
    def outcome(self) -> Outcome | None:
        """Return the outcome, or None while the attempt runs."""

    def close(self) -> None:
        """Stop watching."""
        if self.watched is not None:
            self.watched.close()

    @abstractmethod
    def provisional_outcome(self) -> Outcome:
        """Return the outcome as if the attempt had just exited successfully."""

    def session(self) -> str | None:
        """Return the agent's own session, or None."""
        return None

    def cause(self) -> str:
        """Return the error in the output so far, as the end of a sentence, or an empty string."""
        return ""


class ProcessAttempt(Attempt):
    """A command or an agent."""

    def __init__(self, claimed: Claimed, home: Home, pid: int, agent: AgentConfig | None = None) -> None:
        """Watch a started process. Use `start` or `running` to create an attempt."""
        super().__init__(claimed, home)
        self._pid, self._agent = pid, agent
        self._session: str | None = None
        self._status: int | None = None

    @classmethod
    def start(cls, claimed: Claimed, home: Home, plan: Plan, agent: AgentConfig | None) -> ProcessAttempt:
        """Start a process. Raises CannotStart, Temporary."""
        attempt = cls(claimed, home, spawn(plan, list(AttemptFiles(home, claimed.claim).paths.values())), agent)
        attempt._session = plan.session
        attempt.watched = watch(attempt._pid)
        return attempt

    @classmethod
    def running(cls, claimed: Claimed, home: Home, pid: int, status: int | None) -> ProcessAttempt:
        """Return an attempt at a running command, or at an ended command if its wait status is given."""
        attempt = cls(claimed, home, pid)
        attempt._status = status
        attempt.watched = watch(pid) if status is None else None
        return attempt

    @property
    def pid(self) -> int:
        """Return the process ID of the process that was started."""
        return self._pid

    def outcome(self) -> Outcome | None:
        """Determine the outcome from the exit and the output. Return None while the process lives."""
        status = take_status(self._pid) if self._status is None else self._status
        if status is None:
            return None
        return outcome_of(status, self._output(), self._agent)

    def provisional_outcome(self) -> Outcome:
        """Determine the outcome from the output, as if the exit code were 0."""
        return outcome_of(0, self._output(), self._agent)

    def session(self) -> str | None:
        """Return the session in the output, or the one that was assigned to the agent."""
        return session_of(self._output(), self._agent) if self._agent and self._agent.session else None

    def cause(self) -> str:
        """Return the error that the agent's rules find."""
        return cause_of(self._output(), self._agent) if self._agent else ""

    def _output(self) -> Output:
        return Output(self.files.text("stdout"), self.files.tail("stderr"), self._session)


class CallAttempt(Attempt):
    """A call of a Python function in a runner, which notes its start and its end in the worker's journal."""

    def __init__(self, claimed: Claimed, runner: Runner, journal: Journal, ended: Entry | None = None) -> None:
        """Watch the runner's current or next call. `ended` is its end entry if that was read already.

        The files of the runner's output are linked under the names of this call. Raises OSError.
        """
        super().__init__(claimed, journal.home)
        self.runner, self._journal, self._ended = runner, journal, ended
        self.has_children = False
        #: True if the journal has the start of the call.
        self.has_begun = False
        for stream, path in self.files.paths.items():
            with suppress(FileExistsError, FileNotFoundError), failpoint("call.link"):  # or the runner is replacing it
                os.link(f"{runner.outputs}.{stream}", path)

    @classmethod
    def start(cls, claimed: Claimed, runner: Runner, journal: Journal) -> CallAttempt:
        """Have an idle runner start a call. Raises CannotStart, Temporary."""
        if not os.path.isdir(claimed.cwd):
            raise CannotStart(f"The folder {claimed.cwd} cannot be used.", 1)
        home = journal.home
        has_stdin = claimed.stdin is not None or claimed.stdin_file is not None
        order = Order(
            claim=claimed.claim,
            attempt=claimed.attempt,
            id=claimed.id,
            parent=claimed.parent,
            call=claimed.call or "",
            args=json.dumps(claimed.args),
            kwargs=json.dumps(claimed.kwargs),
            cwd=claimed.cwd,
            env=json.dumps(claimed.env),
            launcher_env=json.dumps(claimed.launcher_env),
            umask=claimed.umask,
            stdin=_checked_stdin(claimed, home) if has_stdin else None,
            leave_children=bool(claimed.leave_children),
        )
        attempt = cls(claimed, runner, journal)
        runner.send(order, lambda data: write_order(claimed.claim, home, data))
        return attempt

    @property
    def pid(self) -> int:
        """Return the process ID of the runner."""
        return self.runner.pid

    def outcome(self) -> Outcome | None:
        """Return the outcome from the journal or from the death of the runner. Return None while the call runs."""
        refuses = self.runner.refuses  # read before the journal, to which the runner adds nothing afterwards
        entry = self._ended or self._end_entry()
        if entry is None:
            if refuses and not self.has_begun:
                return Outcome(error="Its runner ended before it was started.", error_kind=INTERRUPTED)
            return self._death() if self.runner.hung_up else None
        self.has_children = entry.kind == "x"
        document = entry.document
        self.runner.note_end(document)
        for stream in set(self.files.paths) - set(document.get("kept", ())):  # linked after the call had ended
            with suppress(FileNotFoundError), failpoint("call.unlink"):
                os.unlink(self.files.paths[stream])
        return outcome_in(document)

    def _end_entry(self) -> Entry | None:
        unread = [*self._journal.read(), *entries(self.runner.take_lines())]
        ours = [entry for entry in unread if entry.claim == self.claimed.claim]
        if any(entry.kind == "s" for entry in ours):
            self.has_begun = self.runner.has_begun = True
        return next((entry for entry in ours if entry.kind != "s"), None)

    def _death(self) -> Outcome | None:
        """Return the outcome of the runner's death, or None if it only closed its channel and the call continues."""
        status = self.runner.status()
        if status is None:
            return None
        if (entry := self._end_entry()) is not None:  # noted just before the runner died
            self._ended = entry
            return self.outcome()
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return Outcome(error=f"The call was ended by {signal_name(-code)}.", error_kind="signal", signal=-code)
        return Outcome(error=f"The call ended its process with exit code {code}.", error_kind="exit", exit_code=code)

    def provisional_outcome(self) -> Outcome:
        """Return an outcome without a result, because the call has not returned."""
        return Outcome()


def _checked_stdin(claimed: Claimed, home: Home) -> str:
    """Return the path of the stdin of a call, which the runner opens. Raises CannotStart, Temporary."""
    path = stdin_path(claimed, home, claimed.stdin)
    os.close(open_stdin(path))
    return path
