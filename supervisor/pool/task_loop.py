"""The worker's loop: take tasks in the assigned slot, run them, publish their outcomes, and take more."""

from __future__ import annotations

import selectors
from dataclasses import dataclass
from typing import Any, Protocol

from ...ipc import clock
from ...ipc.errors import Temporary
from ...ipc.model.claim import Ended, Settlement, Slot, Step, Taken
from ...ipc.store.queue import Queue
from ..execution import run
from ..execution.attempt import Attempt
from ..execution.journal import Journal, settlement_document
from ..execution.outcome import Outcome, settlement_of
from ..execution.output_files import AttemptFiles
from ..execution.pace import Pace
from ..execution.plan import CannotStart
from ..execution.run import Run
from ..execution.runner_pool import LazyRunner
from ..execution.series import CallSeries, CommandSeries, CommandTools, Series
from ..log import log, log_trouble
from ..role import TROUBLE_REST
from ..system.file_watch import FALLBACK_POLL
from .parking import Parking
from .publisher import Publisher
from .series_run import SeriesRun

#: Seconds of rest while only the runner, the supervisor or a signal can cause work.
LONG_REST = 3600.0


class Host(Protocol):
    """The worker process, as its loop sees it."""

    @property
    def selector(self) -> selectors.BaseSelector:
        """Return the selector of the process."""

    def report(self, message: dict[str, Any]) -> None:
        """Send the supervisor a message."""

    def is_home_away(self) -> bool:
        """Return True while the home is missing and may come back."""

    def finish(self) -> None:
        """Exit after this turn."""

    def free_shared_slot(self) -> None:
        """Free the shared slot, if this worker has one."""


@dataclass(frozen=True)
class Tools:
    """The parts of the worker that the loop uses."""

    queue: Queue
    journal: Journal
    parking: Parking
    publisher: Publisher
    runner: LazyRunner
    commands: CommandTools


def _nap() -> float:
    """Rest here, because the end of a task, which cannot be handled now, would end a rest at once."""
    clock.nap(TROUBLE_REST)
    return 0.0


class TaskLoop:
    """Runs plain tasks in series, and others one by one, in the worker's slot. Without tasks, the worker is parked."""

    def __init__(self, host: Host, tools: Tools) -> None:
        self._host = host
        self._queue, self._journal, self._parking = tools.queue, tools.journal, tools.parking
        self._publisher, self._runner, self._commands = tools.publisher, tools.runner, tools.commands
        self._pace = Pace()
        #: False while workers are short. Then the slot is given back after each task.
        self.chained = True
        self._slot: Slot | None = None
        #: True if the slot is for one task, because other state directories may need its shared slot next.
        self._is_for_one = False
        #: The only key of which a task may be taken now, or None.
        self._key: str | None = None
        self._leaving = False
        self._requested = False
        self._series: SeriesRun | None = None
        self._run: Run | None = None
        self._current: Taken | None = None

    @property
    def is_interrupted(self) -> bool:
        """Return True if a series must not continue, because a task is requested or the worker is to exit."""
        return self._requested or self._leaving

    def assign(self, slot: Slot) -> None:
        """Use this slot. If the worker was parked in another slot, it has lost that slot."""
        self._parking.stop()
        self._slot, self._is_for_one, self._key = slot, False, None

    def assign_for_one(self, slot: Slot, key: str | None) -> None:
        """Use this slot for one task, with this key if one is given."""
        self.assign(slot)
        self._is_for_one, self._key = True, key

    def give_slot_back_soon(self) -> None:
        """Take no further task in the slot that is in use, because it may need a shared slot now."""
        self._is_for_one = True

    def leave(self) -> None:
        """Exit after the running task."""
        self._leaving = True
        if self._run is None and self._series is None and not self._parking.active:
            self._host.finish()

    def request(self) -> None:
        """Publish the held tasks, and check if a verdict was written."""
        self._requested = True
        if self._run is not None:
            self._run.check_verdict = True

    def runner_is_ready(self) -> None:
        """Look at the runner's messages for the task that is watched separately."""
        if self._run is not None:
            self._run.mark_ready()

    def step(self) -> float:
        """Do everything that is due. Return the seconds until the next step, if nothing happens before that."""
        if self._parking.active:
            self._check_parking()
        elif self._series is None and self._run is None and self._slot is not None:
            self._begin(self._take(self._slot))
            if self._slot is not None:
                self._host.report({"busy": True})
        if self._series is not None:
            return self._follow(self._series)
        if self._run is not None:
            return self._watch(self._run)
        return self._parking.rest() if self._parking.active else LONG_REST

    # take tasks

    def _take(self, slot: Slot) -> list[Taken]:
        """Take tasks in a slot that was just assigned. If none is ready, park there unless workers are short."""
        return self._publisher.take(slot, self._next_count(), self._key) if self._runner.is_fresh() else []

    def _next_count(self) -> int:
        """Return the number of tasks to take when publishing, or 0 if the slot must be given back."""
        takes_more = self.chained and not self._is_for_one and not self._leaving and self._runner.is_fresh()
        return self._pace.count if takes_more else 0

    def _begin(self, taken: list[Taken]) -> None:
        """Start the taken tasks. If there are none, give the slot back unless the worker is parked there."""
        self._requested = False
        if taken:
            self._parking.last_claim = taken[-1].claim
            try:
                self._start(taken)
                return
            except CannotStart as refusal:
                self._refuse(taken, refusal)
        if not self._parking.active:
            self._give_slot_back()

    def _start(self, taken: list[Taken]) -> None:
        """Start tasks, and try again after a temporary error. Raises CannotStart."""
        while True:
            try:
                if taken[0].task.is_plain:
                    self._start_series(taken)
                else:
                    self._start_alone(taken[0])
            except Temporary as error:
                self._publisher.wait_after(error)
            else:
                return

    def _refuse(self, taken: list[Taken], refusal: CannotStart) -> None:
        """Settle tasks that cannot be started. Take no others yet, because a new configuration may wait to be read."""
        for task in taken:
            AttemptFiles(self._queue.home, task.claim).delete_inputs()
        self._publish([self._refused(task, refusal) for task in taken], 0)

    def _refused(self, task: Taken, refusal: CannotStart) -> Ended:
        outcome = Outcome(error=str(refusal), error_kind="spawn", exit_code=refusal.exit_code)
        return Ended(task, task.started_at, settlement_of(task, outcome, self._queue.config))

    def _publish(self, ended: list[Ended], count: int) -> list[Taken]:
        return self._publisher.publish(Step(self._used_slot, self._publisher.owner, ended=ended, count=count))

    @property
    def _used_slot(self) -> Slot:
        assert self._slot is not None, "a task was taken in it"
        return self._slot

    def _give_slot_back(self) -> None:
        self._slot = None
        self._host.free_shared_slot()
        if self._leaving or not self._runner.is_fresh():
            self._host.finish()
        else:
            self._host.report({"idle": True})

    # parked in the slot

    def _check_parking(self) -> None:
        """Start the task that a launch has claimed for this worker. Give the slot back if the waiting time is over."""
        if self._host.is_home_away():
            self._leave_without_home()
            return
        if self._requested:
            self._parking.look()
        taken = self._parking.find()
        if taken is None and (self._parking.is_over() or not self._next_count()):
            taken = self._unpark()
        self._requested = False
        if taken is not None:
            self._parking.stop()
            self._slot = taken.slot
            self._begin([taken])

    def _leave_without_home(self) -> None:
        """Take no task while the home is away. To exit, leave a task that was claimed for this worker to a rescue."""
        if self._leaving:
            self._parking.stop()
            self._host.finish()
        else:
            clock.nap(TROUBLE_REST)

    def _unpark(self) -> Taken | None:
        """Give the slot back, unless a launch has claimed a task for this worker. Return that task, or None."""
        self._leaving |= self._parking.is_over()
        if self._parking.give_back():
            self._parking.stop()
            self._give_slot_back()
            return None
        taken = self._parking.assigned()
        if taken is None:  # the supervisor has taken the slot back and counts this worker as idle
            self._parking.stop()
            self._slot = None
            if self._leaving:
                self._host.finish()
        return taken

    # tasks in series

    def _start_series(self, taken: list[Taken]) -> None:
        """Start a series. Raises CannotStart, Temporary."""
        self._series = SeriesRun(self._series_of(taken), self._used_slot, self._publisher)

    def _series_of(self, taken: list[Taken]) -> Series:
        config = self._queue.config
        if taken[0].task.agent == "command":
            return CommandSeries(self._commands, taken, config)
        runner = self._runner.get(run.interpreter_of(taken[0].task.interpreter, config))
        return CallSeries(runner, self._journal, taken, config)

    def _follow(self, started: SeriesRun) -> float:
        """Let a series run. Return the seconds until the next step."""
        if self._host.is_home_away():
            return _nap()
        try:
            started.advance()
        except Temporary as error:
            self._publisher.wait_after(error)
            return 0.0
        if not self._host.is_home_away():
            self._check_series(started)
        return started.rest() if self._series is started else 0.0

    def _check_series(self, started: SeriesRun) -> None:
        """Finish a series that is over. Otherwise publish or watch the running task separately, if that is due."""
        series = started.series
        if not series.waiting:
            self._finish_series(started, [])
        elif series.is_stranded:
            self._rest_after_failure()
            self._finish_series(started, series.lose_runner())
        elif series.has_leftovers or self.is_interrupted:
            self._isolate(started)
        elif started.is_due():
            self._look_at_series(started)

    def _look_at_series(self, started: SeriesRun) -> None:
        if started.takes_long():
            self._isolate(started)
        else:
            started.publish_and_continue()

    def _isolate(self, started: SeriesRun) -> None:
        """Watch the running task separately. The held tasks after it are requeued."""
        self._requested = False
        self._pace.reset()
        series = started.series
        returned = series.take_back()
        if not series.waiting:
            self._finish_series(started, returned)
            return
        started.publish(returned)
        age = series.running_for()
        attempt = series.attempt()
        if attempt is not None:
            series.close()
            self._current, self._series = series.waiting[0], None
            self._watch_alone(attempt, age)

    def _finish_series(self, started: SeriesRun, returned: list[Taken]) -> None:
        """Publish a series that is over, and start the tasks that were taken with it."""
        if not returned:
            started.note_pace(self._pace)
        taken = started.finish(returned, self._next_count())
        self._series = None
        self._journal.start_over()
        started.series.close()
        self._begin(taken)

    # a task that is watched separately

    def _start_alone(self, task: Taken) -> None:
        """Start a task that is watched separately. Raises CannotStart, Temporary."""
        self._current = task
        self._watch_alone(run.start(task.claimed(), self._queue, self._runner, self._journal), 0.0)

    def _watch_alone(self, attempt: Attempt, age: float) -> None:
        watched = self._run = Run(attempt, self._queue, self._runner, age)
        watched.check_verdict = True  # the last wake-up of this worker may have been for a verdict
        if attempt.watched is not None:
            self._host.selector.register(attempt.watched, selectors.EVENT_READ, watched.mark_ready)

    def _watch(self, watched: Run) -> float:
        if self._host.is_home_away():
            return _nap()
        settlement = watched.step()
        if settlement is not None:
            self._conclude(watched, settlement)
            return 0.0
        return min(watched.rest(), FALLBACK_POLL if self._leaving else LONG_REST)

    def _conclude(self, watched: Run, settlement: Settlement) -> None:
        assert self._current is not None, "it was taken"
        if watched.attempt.watched is not None:
            self._host.selector.unregister(watched.attempt.watched)
        watched.attempt.close()
        watched.trim_output()
        self._run = None
        self._note_end(settlement)
        self._rest_after_failure()
        files = watched.attempt.files
        whole = settlement._replace(outputs=(*settlement.outputs, *files.small()))
        if self._queue.store.durability == "full":
            files.sync()
        taken = self._publish([Ended(self._current, self._current.started_at, whole)], self._next_count())
        files.delete_saved()
        files.delete_inputs()
        self._journal.start_over()
        self._begin(taken)

    def _note_end(self, settlement: Settlement) -> None:
        """Note the end in the journal, in case this process dies before the settlement. A full disk is only logged."""
        try:
            self._journal.note_end(settlement.claim, settlement_document(settlement))
        except OSError as error:
            log("journal_failed", why=error)

    def _rest_after_failure(self) -> None:
        """Rest if the runner could not begin a call, perhaps for lack of memory. Each try counts as an interruption."""
        if self._runner.has_failed():
            log_trouble(TROUBLE_REST, "a process for calls has ended before its first call")
            clock.nap(TROUBLE_REST)
