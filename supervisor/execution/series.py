"""Series: tasks of one slot that a worker has taken together and runs one after the other."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ...ipc import clock
from ...ipc.config.settings import BackgroundConfig
from ...ipc.errors import Temporary
from ...ipc.failpoints import failpoint
from ...ipc.home import Home, sync
from ...ipc.machine.shortage import is_shortage
from ...ipc.model.claim import Ended, Taken
from ..log import log
from .attempt import Attempt, CallAttempt, ProcessAttempt
from .journal import Entry, Journal, entries, outcome_document, outcome_in
from .outcome import Outcome, interrupted, settlement_of
from .output_files import SMALL, AttemptFiles, OutputFiles
from .plan import CannotStart, Environments, find_program, write_order
from .process_tree import forget_status, take_status
from .runner.wire import Order
from .runner_pool import Runner
from .spawn import DEFAULT_SIGNALS, enter, masked, refusal, shell_command
from .verdict import Output, outcome_of

#: Waits up to the given number of seconds for a child to end. Returns False if the worker has something else to do.
WaitForChild = Callable[[float], bool]

#: The outcome of a command that exited with 0 and wrote nothing.
_SILENT = Outcome(result="", exit_code=0)

_MILLISECOND = 1000


class Series(ABC):
    """Tasks in the order in which they run.

    `waiting` has the tasks that have not ended. Its first task is running or runs next. `ended` has the tasks whose
    end is in the journal, but not yet in the database.
    """

    def __init__(self, taken: list[Taken], config: BackgroundConfig) -> None:
        """Run the taken tasks in order."""
        self.waiting = taken
        self.ended: list[Ended] = []
        #: True if the first process of the current task has ended and other processes of its tree are alive.
        self.has_leftovers = False
        #: True if ended tasks must be published now, because an end could not be noted.
        self.is_urgent = False
        #: True if the waiting tasks will not run, because the runner is gone or takes no more orders.
        self.is_stranded = False
        self._config = config
        #: The start of the current task, in microseconds since 1970, or 0 if none runs.
        self._running_since = 0

    @abstractmethod
    def advance(self, until: float) -> None:
        """Note ended tasks and start the next ones. Return by `until` (seconds, monotonic). Raises Temporary."""

    @abstractmethod
    def take_back(self) -> list[Taken]:
        """Remove and return the tasks that were not started. A task that has the slot stays."""

    def lose_runner(self) -> list[Taken]:
        """Remove and return the tasks that will not run because the runner is gone."""
        return []

    @abstractmethod
    def attempt(self) -> Attempt | None:
        """Return the current attempt, to be watched separately, or None if it was not started yet."""

    def close(self) -> None:  # noqa: B027 (calls have nothing to undo)
        """Restore what was changed in this process."""

    def forget_ended(self) -> None:
        """Forget the ended tasks, because they are published."""
        self.ended, self.is_urgent = [], False

    def running_for(self) -> float:
        """Return the seconds for which the current task has been running, or 0 if none runs."""
        return (clock.now() * _MILLISECOND - self._running_since) / 1e6 if self._running_since else 0.0

    def mark_started(self) -> Taken:
        """Return the first task, with the time of its start set."""
        first = self.waiting[0]
        if not first.current:
            first.started_at = self._running_since // _MILLISECOND or clock.now()
        return first

    def _end(self, at: int, outcome: Outcome) -> None:
        """Move the first task, which ended at `at` (microseconds since 1970), to the ended ones."""
        first = self.mark_started()
        ended_at = at // _MILLISECOND
        self.ended.append(Ended(first, first.started_at, settlement_of(first, outcome, self._config, ended_at)))
        del self.waiting[0]
        self._running_since = 0


class CallSeries(Series):
    """Python calls in the worker's runner, which receives them from a queue and notes their starts and ends."""

    def __init__(self, runner: Runner, journal: Journal, taken: list[Taken], config: BackgroundConfig) -> None:
        """Run the taken tasks in the runner."""
        super().__init__(taken, config)
        self._runner, self._journal = runner, journal
        self._unsent = list(taken)
        self._end_entry: Entry | None = None
        #: The claims whose orders are too long for the queue and are stored in files.
        self._in_files: set[int] = set()

    def _send(self) -> None:
        while self._unsent and self._runner.send(order_of(self._unsent[0]), self._store_order):
            del self._unsent[0]

    def _store_order(self, order: bytes) -> str:
        claim = self._unsent[0].claim
        self._in_files.add(claim)
        return write_order(claim, self._journal.home, order)

    def _delete_order(self, claim: int) -> None:
        if claim in self._in_files:
            self._in_files.remove(claim)
            AttemptFiles(self._journal.home, claim).delete_inputs()

    def advance(self, until: float) -> None:
        """Read the runner's entries in the journal, and send it more orders."""
        for entry in self._journal.read():
            self._note(entry)
        for entry in entries(self._runner.take_lines()):
            self._note(entry)
            self.is_urgent = True
        self._send()
        self._note_state()

    def _note(self, entry: Entry) -> None:
        if not self.waiting or self.waiting[0].claim != entry.claim:  # an earlier task, noted by this worker
            return
        if entry.kind == "s":
            self._running_since = entry.at
            self._runner.has_begun = True
        elif entry.kind == "e":
            document = entry.document
            self._runner.note_end(document)
            self._sync(entry.claim, document.get("kept", ()))
            self._end(entry.at, outcome_in(document))
            self._delete_order(entry.claim)
        else:
            self._end_entry, self.has_leftovers = entry, True

    def _sync(self, claim: int, kept: Sequence[str]) -> None:
        """Sync the output that stays in files, before the end is published."""
        if self._config.durability == "full":
            for stream in kept:
                sync(Path(AttemptFiles(self._journal.home, claim).paths[stream]))

    def take_back(self) -> list[Taken]:
        """Take back the orders that the runner has not received.

        It may receive some during this, so these are not always the last tasks.
        """
        claims = {taken.claim for taken in self._unsent} | set(self._runner.take_back())
        back = [taken for taken in self.waiting if taken.claim in claims]
        self.waiting = [taken for taken in self.waiting if taken.claim not in claims]
        self._unsent = []
        self.advance(0.0)
        for taken in back:
            self._delete_order(taken.claim)
        if back and back[0].current and not self._runner.refuses:
            self._resend(back.pop(0))
        return back

    def _resend(self, current: Taken) -> None:
        """Send the task that has the slot again, unless the runner has already received a later task."""
        if self.waiting or self.ended:
            self._interrupt(current, "A later task was started before it.")
            return
        self.waiting, self._unsent = [current], [current]
        try:
            self._send()
        except Temporary as error:  # the order is too long for the queue, and the disk is full
            self.waiting, self._unsent = [], []
            self._interrupt(current, str(error))

    def _interrupt(self, current: Taken, why: str) -> None:
        """End the task that has the slot but was not started. It comes first, because the others may need the slot."""
        self.ended.insert(0, Ended(current, current.started_at, interrupted(current, why)))

    def _note_state(self) -> None:
        """Handle a runner that takes no more orders, or that died in a call, which may have left processes."""
        if self._runner.hung_up and self._running_since:
            self.has_leftovers = True
        self.is_stranded = self._runner.refuses and not self._running_since

    def lose_runner(self) -> list[Taken]:
        """Return the tasks that the runner will not run. A task that has the slot is interrupted instead."""
        back = self.take_back()
        back = self.waiting + back
        self.waiting = []
        for taken in back:
            if taken.current:
                self._interrupt(taken, "Its runner ended before it was started.")
        return [taken for taken in back if not taken.current]

    def attempt(self) -> Attempt:
        """Return the current call. Its output goes to separate files from now on."""
        attempt = CallAttempt(self.waiting[0].claimed(), self._runner, self._journal, self._end_entry)
        attempt.has_begun = self._running_since > 0
        return attempt


class CommandSeries(Series):
    """Commands that the worker starts itself, one after the other."""

    def __init__(self, tools: CommandTools, taken: list[Taken], config: BackgroundConfig) -> None:
        """Run the taken tasks with the tools of the worker."""
        super().__init__(taken, config)
        self._tools = tools
        self._pid = 0
        self._status: int | None = None
        self._programs: dict[tuple[str, str, bytes | None], str] = {}

    def advance(self, until: float) -> None:
        """Run commands until the time is up, one of them leaves processes behind, or the worker has other work."""
        self._start_next()
        while self._pid and self._status is None:
            status = take_status(self._pid)
            if status is None:
                seconds = until - clock.monotonic()
                if seconds <= 0 or not self._tools.wait_for_child(seconds):
                    return
            elif self._tools.has_strays():
                self._status, self.has_leftovers = status, True
            else:
                self._conclude(status)
                self._start_next()

    def _start_next(self) -> None:
        while self.waiting and not self._pid and not self.is_urgent:
            try:
                self._start(self.waiting[0])
            except CannotStart as refusal:
                outcome = Outcome(error=str(refusal), error_kind="spawn", exit_code=refusal.exit_code)
                self._note_end(outcome)

    def _start(self, taken: Taken, shell: list[str] | None = None) -> None:
        """Start a command. `shell` replaces the command of a script without an interpreter."""
        tools, task = self._tools, taken.task
        argv = shell or json.loads(task.command or "[]")
        enter(task.cwd)
        environment = tools.environments.of(taken)
        program = self._program(argv[0], task.cwd, environment.get(b"PATH"))
        try:
            tools.files.arm()
            at = tools.journal.note_start(taken.claim)
            with masked(task.umask), failpoint("series.spawn"):
                self._pid = os.posix_spawn(
                    program,
                    argv,
                    environment,
                    file_actions=tools.actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=DEFAULT_SIGNALS,
                )
        except OSError as error:
            if not (command := shell_command(error, program, argv)):
                raise self._refusal(error, program, argv[0]) from error
            self._start(taken, command)
            return
        forget_status(self._pid)
        self._running_since = at

    def _refusal(self, error: OSError, program: str, name: str) -> Exception:
        home = self._tools.home
        if not is_shortage(error) and not home.is_usable():
            return Temporary(f"{home.folder} cannot be used now: {error.strerror}.")
        return refusal(error, program, name)

    def _program(self, name: str, cwd: str, path: bytes | None) -> str:
        key = name, cwd, path
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = find_program(name, cwd, None if path is None else os.fsdecode(path))
        return program

    def _conclude(self, status: int) -> None:
        """Determine the outcome of the current command and note its end. Its tree must be gone."""
        sizes = self._tools.files.sizes()
        self._pid = 0
        if max(sizes) > SMALL:
            self._conclude_large(status)
            return
        if status == 0 and sizes == (0, 0):
            self._note_end(_SILENT)
        else:
            stdout, stderr = self._tools.files.read(sizes)
            output = Output(stdout.decode(errors="replace"), stderr[-4096:].decode(errors="replace"))
            written = tuple((stream, data) for stream, data in (("stdout", stdout), ("stderr", stderr)) if data)
            self._note_end(outcome_of(status, output, None)._replace(outputs=written))
        self._tools.files.clear(sizes)

    def _conclude_large(self, status: int) -> None:
        files = self._give_files(self.waiting[0])
        output = Output(files.text("stdout"), files.tail("stderr"))
        outcome = outcome_of(status, output, None)._replace(outputs=files.small())
        if self._config.durability == "full":
            files.sync()
        self._note_end(outcome)
        files.delete_saved()

    def _note_end(self, outcome: Outcome) -> None:
        try:
            at = self._tools.journal.note_end(self.waiting[0].claim, outcome_document(outcome))
        except OSError as error:
            log("journal_failed", why=error)
            at, self.is_urgent = clock.now() * _MILLISECOND, True
        self._end(at, outcome)

    def _give_files(self, taken: Taken) -> AttemptFiles:
        files = AttemptFiles(self._tools.home, taken.claim)
        self._tools.files.give_to(list(files.paths.values()))
        return files

    def take_back(self) -> list[Taken]:
        """Remove and return all tasks except the one that is running or has the slot."""
        stays = 1 if self._pid or (self.waiting and self.waiting[0].current) else 0
        back, self.waiting = self.waiting[stays:], self.waiting[:stays]
        return back

    def attempt(self) -> Attempt | None:
        """Return the current command, which keeps the output files."""
        if not self._pid:
            return None
        taken = self.waiting[0]
        self._give_files(taken)
        return ProcessAttempt.running(taken.claimed(), self._tools.home, self._pid, self._status)

    def close(self) -> None:
        """Change from the folder of the last command back to the root."""
        os.chdir("/")


class CommandTools:
    """The parts of a worker that run commands in series."""

    def __init__(self, home: Home, owner: int, journal: Journal, wait_for_child: WaitForChild) -> None:
        """Create the output files. Raises OSError."""
        self.home, self.journal, self.wait_for_child = home, journal, wait_for_child
        self._owner = owner
        self.environments = Environments(home, {})
        #: Returns True if this worker has children other than the process that just ended and spared processes.
        self.has_strays: Callable[[], bool] = lambda: True

    @cached_property
    def files(self) -> OutputFiles:
        """Return the output files, which are created for the first command."""
        return OutputFiles(self.home, self._owner)

    @cached_property
    def actions(self) -> list[tuple[Any, ...]]:
        """Return the file actions of posix_spawn."""
        return self.files.actions(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def remove(self) -> None:
        """Delete the files before the worker exits."""
        if "files" in self.__dict__:
            self.files.remove()


def order_of(taken: Taken) -> Order:
    """Return the order for a plain call."""
    task = taken.task
    return Order(
        taken.claim,
        task.attempt,
        task.id,
        task.parent,
        task.call or "",
        task.args,
        task.kwargs,
        task.cwd,
        task.env,
        None,
        False,
        task.launcher_env,
        task.umask,
    )
