"""One try at a task while it runs: a process of its own, or a call in a runner."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod

from ipc.claim import Claimed
from ipc.config import AgentConfig
from ipc.home import Home
from ipc.moments import moment
from supervisor.children import Watch, signal_name, watch
from supervisor.execution.files import Files
from supervisor.execution.outcome import Outcome
from supervisor.execution.plan import CannotStart, Plan, stdin_of
from supervisor.execution.runners import Runner
from supervisor.execution.spawn import spawn
from supervisor.execution.trees import MARKS, take_status
from supervisor.execution.verdict import Said, cause_of, outcome_of, session_of


class Attempt(ABC):
    """A try that was started. `watched` becomes readable when there is news of it."""

    watched: Watch | socket.socket

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

    @abstractmethod
    def close(self) -> None:
        """Let go of what was watched."""

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

    def __init__(self, claimed: Claimed, home: Home, plan: Plan, agent: AgentConfig | None) -> None:
        """Start it. Raises CannotStart."""
        super().__init__(claimed, home)
        self._agent = agent
        self._session = plan.session
        self._pid = spawn(plan, list(self.files.paths.values()))
        found = watch(self._pid)
        assert found is not None, "a child that was not reaped can be watched"
        self.watched: Watch = found

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._pid

    def outcome(self) -> Outcome | None:
        """What its exit means."""
        status = take_status(self._pid)
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

    def close(self) -> None:
        """Stop watching."""
        self.watched.close()


class CallAttempt(Attempt):
    """A Python callable in a runner."""

    def __init__(self, claimed: Claimed, home: Home, runner: Runner, environment: dict[str, str]) -> None:
        """Have the runner start it. Raises CannotStart."""
        super().__init__(claimed, home)
        if not os.path.isdir(claimed.cwd):
            raise CannotStart(f"The folder {claimed.cwd} cannot be used.", 1)
        self.runner = runner
        self.watched: socket.socket = runner.channel
        names = ("call", "args", "kwargs", "cwd")
        marks = {name: environment[name] for name in MARKS if name in environment}
        order = {name: getattr(claimed, name) for name in names} | {"marks": marks}
        with moment("call.open"):
            descriptors = self._open_files()
        try:
            runner.begin(order, environment, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    @property
    def pid(self) -> int:
        """The runner."""
        return self.runner.pid

    def outcome(self) -> Outcome | None:
        """What the call gave back, or how its runner died."""
        answer = self.runner.answer()
        if answer is None:
            return self._death()
        if "error" in answer:
            return Outcome(error=str(answer["error"]), error_kind="failed")
        return Outcome(result=str(answer["result"]))

    def so_far(self) -> Outcome:
        """A call that has not returned has no result."""
        return Outcome()

    def close(self) -> None:
        """The runner stays."""

    def _death(self) -> Outcome:
        code = os.waitstatus_to_exitcode(self.runner.end())
        if code < 0:
            return Outcome(error=f"The call was ended by {signal_name(-code)}.", error_kind="signal", signal=-code)
        return Outcome(error=f"The call ended its process with exit code {code}.", error_kind="exit", exit_code=code)

    def _open_files(self) -> list[int]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        stdin = os.open(stdin_of(self.claimed, self.home, self.claimed.stdin), os.O_RDONLY | os.O_CLOEXEC)
        return [stdin, *(os.open(path, flags, 0o600) for path in self.files.paths.values())]
