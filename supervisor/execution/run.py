"""Run one attempt from its start to its settlement: watch it, stop it if necessary, and end its process tree."""

from __future__ import annotations

import os

from ...ipc import clock
from ...ipc.config.agents import AgentConfig
from ...ipc.config.settings import BackgroundConfig
from ...ipc.machine.input_pipe import is_broken_off, path_of
from ...ipc.machine.proc import own_children
from ...ipc.model.claim import Claimed, Settlement, Verdict
from ...ipc.model.task import TaskStatus
from ...ipc.store.queue import Queue
from ...ipc.text.durations import format_duration, format_setting
from ..system.interpreter import is_own
from .attempt import Attempt, CallAttempt, ProcessAttempt
from .journal import Journal
from .monitor import Monitor
from .outcome import INTERRUPTED, Outcome, interrupted, settlement_of
from .plan import CannotStart, agent_plan, command_plan
from .process_tree import descendants_of, end, has_role, remaining
from .progress import Progress
from .runner_pool import LazyRunner

#: Seconds after which the process ID of a task is stored for `status` and `show`. Most tasks end before that.
NOTE_PID_AFTER = 0.05

#: The descendants of this worker that may outlive their tasks.
spared: set[int] = set()


class Run:
    """One attempt that is watched separately."""

    def __init__(self, attempt: Attempt, queue: Queue, runner: LazyRunner, age: float = 0.0) -> None:
        """Watch an attempt that was started `age` seconds ago."""
        claimed = self.claimed = attempt.claimed
        self.attempt = attempt
        #: True if a verdict may have been written since the last check.
        self.check_verdict = False
        self._queue = queue
        self._runner = runner
        self._is_ready = attempt.watched is None
        self._outcome: Outcome | None = None
        self._agent = agent_of(claimed, queue)
        started = clock.monotonic() - age
        self._deadline = started + claimed.timeout_ms / 1000 if claimed.timeout_ms else float("inf")
        self._note_pid_at = started + NOTE_PID_AFTER
        self._monitor = Monitor(self.attempt, self._living, queue.config, started)
        self._is_stale = False
        rules = self._agent.progress if self._agent else {}
        self._progress = Progress(self.attempt.files.paths["stdout"], rules, queue.config.progress_interval_ms, started)

    def mark_ready(self, _mask: int = 0) -> None:
        """Record that the attempt may have ended, because the descriptor that watches it has become readable."""
        self._is_ready = True

    def rest(self) -> float:
        """Return the seconds until the next step is due, unless the attempt becomes ready earlier."""
        due = min(self._deadline, self._note_pid_at, self._progress.next_at, self._monitor.next_at)
        return max(0.0, due - clock.monotonic())

    def step(self) -> Settlement | None:
        """Do what is due. Return the settlement once the attempt has ended and its tree is gone."""
        if self._is_ready and self._outcome is None:
            self._outcome = self.attempt.outcome()
        return self._watch(clock.monotonic()) if self._outcome is None else self._conclude(self._outcome)

    def _watch(self, now: float) -> Settlement | None:
        self._note(now)
        if self.check_verdict and self._has_verdict():
            return self._stop(None)
        if now >= self._monitor.next_at and (settlement := self._check_vitals(now)) is not None:
            return settlement
        if now >= self._deadline:
            cause = self.attempt.cause()
            error = f"It ran longer than {format_setting(self.claimed.timeout_ms or 0)}"
            error += f"; its last error{cause}" if cause else "."
            return self._stop(Outcome(error=error, error_kind="timeout"))
        return None

    def _note(self, now: float) -> None:
        """Store the process ID and the progress in the database, for `status` and `show`."""
        if now >= self._note_pid_at:
            self._note_pid()
        if now >= self._progress.next_at:
            self._note_progress(now)

    def _note_progress(self, now: float) -> None:
        text = self._progress.check(now)
        if text is not None:
            self._queue.record_progress(self.claimed.number, self.claimed.claim, text)

    def _note_pid(self) -> None:
        self._note_pid_at = float("inf")
        self._queue.store.queue.record_pid(self.claimed.number, self.claimed.claim, self.attempt.pid)
        self.check_verdict = True  # a verdict may have been written before this worker could be notified

    def _check_vitals(self, now: float) -> Settlement | None:
        finding = self._monitor.check(now, lambda: self._queue.progress_of(self.claimed.id))
        if finding is None:
            return None
        self.check_verdict = True  # a process that wrote a verdict may have been unable to signal this worker
        if finding.stable and self._ends_when_stable():
            return self._stop(self.attempt.provisional_outcome())
        return None if finding.stale is None or self._is_stale else self._note_stale(finding.stale)

    def _note_stale(self, idle_ms: int) -> Settlement | None:
        self._is_stale = True
        self._queue.record_stale(self.claimed.number, self.claimed.claim, idle_ms)
        if self._queue.config.stale_action == "notify":
            return None
        return self._stop(
            Outcome(error=f"It gave no sign of life for {format_duration(idle_ms)}.", error_kind="stalled")
        )

    def _ends_when_stable(self) -> bool:
        return self._agent is not None and self._agent.completion == "stable"

    def _has_verdict(self) -> bool:
        self.check_verdict = False
        return self._queue.verdict(self.claimed.id, self.claimed.claim) is not None

    def _conclude(self, outcome: Outcome) -> Settlement:
        """Settle an attempt whose first process has ended, and end the rest of its tree."""
        self._note_progress(clock.monotonic())
        if outcome.error_kind is None and self._has_lost_stdin():
            error = "The command that passed its stdin on was killed before the end."
            outcome = outcome._replace(error=error, error_kind="failed")
        settlement = self._judge(outcome)
        living = self._leftovers()
        if living and self._leaves_children():
            spared.update(living)
            return settlement
        if living:
            self._write_verdict(settlement)
            self._end()
        leftovers = len(living - {self.attempt.pid})
        return settlement._replace(leftovers=leftovers) if leftovers else settlement

    def _has_lost_stdin(self) -> bool:
        """Return True if the attempt has read only a part of its stdin, and took that for all of it."""
        name = self.claimed.stdin_file
        return name is not None and is_broken_off(path_of(self._queue.home.input(name), self.claimed.attempt))

    def _stop(self, outcome: Outcome | None) -> Settlement:
        """End the tree of a running attempt with this outcome. None means that a verdict is already written."""
        settlement = self._judge(outcome or Outcome())._replace(session=self.attempt.session())
        if outcome is not None:
            self._write_verdict(settlement)
        if isinstance(self.attempt, CallAttempt):
            self.attempt.runner.retired = True
        self._end()
        return settlement

    def _judge(self, outcome: Outcome) -> Settlement:
        if outcome.error_kind == INTERRUPTED:
            return interrupted(self.claimed, outcome.error or "")
        return settlement_of(self.claimed, outcome, self._queue.config)

    def _write_verdict(self, settlement: Settlement) -> None:
        """Write the verdict before the tree is ended, so that a crash between the two does not change it."""
        text = settlement.result if settlement.status is TaskStatus.COMPLETED else settlement.error
        self._queue.record_verdict(
            settlement.number, settlement.claim, Verdict(settlement.status, text, settlement.error_kind)
        )

    def _leaves_children(self) -> bool:
        requested = self.claimed.leave_children
        return requested if requested is not None else self._agent is not None and self._agent.leave_children

    def _leftovers(self) -> set[int]:
        """Return the remaining processes of the tree. Usually there are none, and reading one small file proves it."""
        children = own_children() - self._runner.pids() - spared
        if not children and not self._runner_has_children():
            return set()
        spared.update(filter(has_role, children))  # so that they are examined only once
        return remaining(self._members)

    def _runner_has_children(self) -> bool:
        return isinstance(self.attempt, CallAttempt) and self.attempt.has_children

    def _living(self) -> set[int]:
        return self._members() | {self.attempt.pid}

    def _members(self) -> set[int]:
        return descendants_of(os.getpid()) - self._runner.pids() - spared

    def trim_output(self) -> None:
        """Reduce the output to its limit, once no process writes to it."""
        self._monitor.trim_output()

    def _end(self) -> None:
        end(self._members, self._queue.config.kill_grace_s)


def start(claimed: Claimed, queue: Queue, runner: LazyRunner, journal: Journal) -> Attempt:
    """Start an attempt that is watched separately. Raises CannotStart, Temporary."""
    home, agent = queue.home, agent_of(claimed, queue)
    if claimed.agent == "command":
        return ProcessAttempt.start(claimed, home, command_plan(claimed, home, agent.env if agent else {}), None)
    if claimed.agent == "python":
        return CallAttempt.start(claimed, runner.get(interpreter_of(claimed.interpreter, queue.config)), journal)
    if agent is None:
        raise CannotStart(f"There is no agent {claimed.agent} in the supervisor's configuration.")
    return ProcessAttempt.start(claimed, home, agent_plan(claimed, home, agent), agent)


def interpreter_of(stored: str | None, config: BackgroundConfig) -> str:
    """Return the interpreter of a call, the stored or the configured one, or empty text for that of this process."""
    interpreter = stored or config.agent("python").interpreter
    return "" if interpreter and is_own(interpreter) else interpreter


def agent_of(claimed: Claimed, queue: Queue) -> AgentConfig | None:
    """Return the configuration of a task's agent, or None if it is not configured."""
    return queue.config.agent(claimed.agent) if claimed.agent in queue.config.agent_names else None
