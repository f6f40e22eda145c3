"""One try at a task while it runs: a process of its own, or a call in a runner."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from contextlib import suppress

from ...ipc.config.settings import AgentConfig
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ...ipc.model.claim import Claimed
from ..system.children import Watch, signal_name, watch
from .files import Files
from .journal import Entry, Journal, entries, outcome_of_end
from .outcome import INTERRUPTED, Outcome
from .plan import CannotStart, Plan, order_file, stdin_of
from .process_tree import take_status
from .runner.wire import Order
from .runner_pool import Runner
from .spawn import spawn
from .verdict import Said, cause_of, outcome_of, session_of


class Attempt(ABC):
    """An attempt that was started. `watched` becomes readable when there is news of it.

    Where it is None, news come with the runner's channel, or there is news already.
    """

    watched: Watch | None = None

    def __init__(self, claimed: Claimed, home: Home) -> None:
        """Remember what is tried."""
        self.claimed = claimed
        self.home = home
        self.files = Files(home, claimed.claim)

    @property
    @abstractmethod
    def pid(self) -> int:
        """Its first process."""

    @abstractmethod
    def outcome(self) -> Outcome | None:
        """What it came to, or None while it goes on."""

    def close(self) -> None:
        """Stop watching."""
        if self.watched is not None:
            self.watched.close()

    @abstractmethod
    def so_far(self) -> Outcome:
        """What it would come to if it had ended well by now."""

    def session(self) -> str | None:
        """The agent's own session, where it has one."""
        return None

    def cause(self) -> str:
        """What it says is wrong, as the end of a sentence; empty where it says nothing."""
        return ""


class ProcessAttempt(Attempt):
    """A command or an agent: a process tree."""

    def __init__(self, claimed: Claimed, home: Home, pid: int, agent: AgentConfig | None = None) -> None:
        """Watch a child that was started for it."""
        super().__init__(claimed, home)
        self._pid, self._agent = pid, agent
        self._session: str | None = None
        self._status: int | None = None

    @classmethod
    def start(cls, claimed: Claimed, home: Home, plan: Plan, agent: AgentConfig | None) -> ProcessAttempt:
        """Start its process. Raises CannotStart, Temporary."""
        attempt = cls(claimed, home, spawn(plan, list(Files(home, claimed.claim).paths.values())), agent)
        attempt._session = plan.session
        attempt.watched = watch(attempt._pid)
        return attempt

    @classmethod
    def running(cls, claimed: Claimed, home: Home, pid: int, status: int | None) -> ProcessAttempt:
        """Watch a command that runs already; with a wait status, one that has ended."""
        attempt = cls(claimed, home, pid)
        attempt._status = status
        attempt.watched = watch(pid) if status is None else None
        return attempt

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._pid

    def outcome(self) -> Outcome | None:
        """What its exit means."""
        status = take_status(self._pid) if self._status is None else self._status
        if status is None:
            return None
        return outcome_of(status, self._said(), self._agent)

    def so_far(self) -> Outcome:
        """Its output judged as after exit code 0."""
        return outcome_of(0, self._said(), self._agent)

    def session(self) -> str | None:
        """As far as its output tells it, or as it was given one."""
        return session_of(self._said(), self._agent) if self._agent and self._agent.session else None

    def cause(self) -> str:
        """By its agent's rules."""
        return cause_of(self._said(), self._agent) if self._agent else ""

    def _said(self) -> Said:
        return Said(self.files.text("stdout"), self.files.tail("stderr"), self._session)


class CallAttempt(Attempt):
    """A Python callable in a runner, which notes in the worker's journal how it goes."""

    def __init__(self, claimed: Claimed, runner: Runner, journal: Journal, ended: Entry | None = None) -> None:
        """Watch a call that the runner has, or will have next; `ended` is the entry of its end if that was read.

        What it writes goes to files of its own from now on. Raises OSError.
        """
        super().__init__(claimed, journal.home)
        self.runner, self._journal, self._ended = runner, journal, ended
        self.has_children = False
        #: Whether the journal has the start of the call.
        self.begun = False
        for stream, path in self.files.paths.items():
            with suppress(FileExistsError, FileNotFoundError), failpoint("call.link"):  # or the runner replaces it now
                os.link(f"{runner.outputs}.{stream}", path)

    @classmethod
    def start(cls, claimed: Claimed, runner: Runner, journal: Journal) -> CallAttempt:
        """Have an idle runner start a call. Raises CannotStart, Temporary."""
        if not os.path.isdir(claimed.cwd):
            raise CannotStart(f"The folder {claimed.cwd} cannot be used.", 1)
        home = journal.home
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
            stdin=None if claimed.stdin is claimed.stdin_file is None else stdin_of(claimed, home, claimed.stdin),
            leave_children=bool(claimed.leave_children),
        )
        attempt = cls(claimed, runner, journal)
        runner.send(order, lambda data: order_file(claimed.claim, home, data))
        return attempt

    @property
    def pid(self) -> int:
        """The runner."""
        return self.runner.pid

    def outcome(self) -> Outcome | None:
        """Return what the journal says of its end, or how its runner died; None while it goes on."""
        refuses = self.runner.refuses  # before the journal is read: nothing is noted after that
        entry = self._ended or self._end_entry()
        if entry is None:
            if refuses and not self.begun:
                return Outcome(error="Its runner ended before it was started.", error_kind=INTERRUPTED)
            return self._death() if self.runner.hung_up else None
        self.has_children = entry.kind == "x"
        document = entry.document
        self.runner.note_end(document)
        for stream in set(self.files.paths) - set(document.get("kept", ())):  # linked when the call was over
            with suppress(FileNotFoundError), failpoint("call.unlink"):
                os.unlink(self.files.paths[stream])
        return outcome_of_end(document)

    def _end_entry(self) -> Entry | None:
        found = [*self._journal.read(), *entries(self.runner.take_lines())]
        ours = [entry for entry in found if entry.claim == self.claimed.claim]
        if any(entry.kind == "s" for entry in ours):
            self.begun = self.runner.has_begun = True
        return next((entry for entry in ours if entry.kind != "s"), None)

    def _death(self) -> Outcome | None:
        """Return how the runner ended; None for one that has only closed its channel: the call goes on."""
        status = self.runner.status()
        if status is None:
            return None
        if (entry := self._end_entry()) is not None:  # it was written while the runner was looked at
            self._ended = entry
            return self.outcome()
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return Outcome(error=f"The call was ended by {signal_name(-code)}.", error_kind="signal", signal=-code)
        return Outcome(error=f"The call ended its process with exit code {code}.", error_kind="exit", exit_code=code)

    def so_far(self) -> Outcome:
        """A call that has not returned has no result."""
        return Outcome()
