"""The worker: take tasks, run them, publish how they ended; the transaction that publishes takes the next ones."""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import socket
from collections.abc import Callable
from typing import Any

from ..ipc import clock
from ..ipc.errors import Temporary
from ..ipc.failpoints import failpoint
from ..ipc.home import Home
from ..ipc.lines import LineReader
from ..ipc.machine.proc import watch_own_children
from ..ipc.model.claim import Ended, Settlement, Slot, Step, Taken
from ..ipc.store.applied_config import applied_configuration
from ..ipc.store.parking import ParkedSlots
from ..ipc.store.processes import ProcessTable
from ..ipc.store.queue import Queue
from ..ipc.store.sqlite.database import Database
from .execution import run
from .execution.attempt import Attempt
from .execution.journal import Journal, settlement_document
from .execution.outcome import Outcome, settlement_of
from .execution.output_files import STREAMS, AttemptFiles, runner_prefix
from .execution.pace import PUBLISH_AFTER, Pace
from .execution.plan import CannotStart, Environments, inherited
from .execution.run import Run
from .execution.runner_pool import LazyRunner, Runner
from .execution.series import CallSeries, CommandSeries, CommandTools, Series
from .log import log
from .pool.parking import Parking
from .role import TROUBLE_REST, Role, become_subreaper, do_nothing, keep_memory
from .system.file_watch import FALLBACK_POLL

#: Seconds of rest while only the runner, the supervisor or a signal can bring news.
LONG = 3600.0


class Worker(Role):
    """Runs tasks in the slots that the supervisor gives it; when the supervisor dies, it ends its task and leaves."""

    name = "bb-worker"

    def __init__(self, home: Home, channel: socket.socket) -> None:
        """Work for the process at the other end of `channel`."""
        super().__init__(home)
        self._channel = channel
        self._reader = LineReader()
        self._slot: Slot | None = None
        self._chained = True
        self._leaving = False
        self._configured = False
        self._requested = False
        self._pace = Pace()
        #: What runs in the slot: tasks in series, or one that is watched by itself.
        self._series: Series | None = None
        self._run: Run | None = None
        self._current: Taken | None = None
        self._began = self._look_at = 0.0

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """SIGUSR1: publish, and look for a verdict. SIGTERM: exit after this task. SIGIO: a lease was broken."""
        return {
            signal.SIGTERM: self._leave,
            signal.SIGINT: self._leave,
            signal.SIGUSR1: self._look,
            signal.SIGCHLD: do_nothing,
            signal.SIGIO: do_nothing,
        }

    def boot(self) -> None:
        """Open the database and report for work."""
        become_subreaper()
        keep_memory()
        self._database = Database(self.home, "normal")
        self._runner = LazyRunner(self._database, self._meet_runner)
        self._queue = Queue(self._database, applied_configuration(self._database))
        self._registry = ProcessTable(self._database)
        self._owner = self._registry.register("worker")
        self._journal = Journal(self.home, self._owner)
        self._parking = Parking(self.home, ParkedSlots(self._database), self._owner, self.file_watch.rest)
        self.selector.register(self._parking.descriptor, selectors.EVENT_READ, self._parking.read)
        self._tools = CommandTools(self.home, self._owner, self._journal, self._wait_for_child)
        self._tools.has_strays = self._has_strays
        self._children = watch_own_children()
        self._expected_children = b""
        self._poll = select.poll()
        self._poll.register(self._signals.reader, select.POLLIN)
        self._configure()
        self._channel.setblocking(False)
        self._register(self._channel, self._listen)
        self._say({"hello": self._owner})

    def database_changed(self) -> None:
        """Look whether a launch has claimed a task for this worker without telling it."""
        self._parking.look()

    def turn(self) -> float:
        """Begin what was given out, or see how it goes."""
        if not self._configured:
            self._configure()
        if self._parking.active:
            self._await_task()
        elif self._series is None and self._run is None and self._slot is not None:
            self._begin(self._take_first(self._slot))
            if self._slot is not None:
                self._say({"busy": True})
        return self._step()

    def _step(self) -> float:
        if self._series is not None:
            return self._follow(self._series)
        if self._run is not None:
            return self._watch(self._run)
        return self._parking.rest() if self._parking.active else LONG

    def abandon(self) -> None:
        """Leave when the task that runs has ended."""
        self._parking.stop()
        self._leave()

    def shutdown(self) -> None:
        """Deregister, with nothing unsettled. The runner sees its channel closed, and ends.

        The files go first: those of a worker that is not registered are removed at the next start only.
        """
        self._journal.remove()
        self._tools.remove()
        for path in self.home.folder.glob(f"output/worker-{self._owner}[-.]*"):
            with failpoint("worker.output.unlink"):
                path.unlink(missing_ok=True)
        self._registry.leave(self._owner)
        self._database.close()

    # taking tasks

    def _take_first(self, slot: Slot) -> list[Taken]:
        """Take tasks in a slot that was given to this worker; with none, wait there unless the worker is needed."""
        if not self._runner.is_fresh():
            return []
        count = self._next_count()
        return self._try_to_advance(Step(slot, self._owner, count=count)) if count else self._take_one(slot)

    def _take_one(self, slot: Slot) -> list[Taken]:
        return self._queue.take(slot, self._owner, 1)

    def _next_count(self) -> int:
        """How many tasks to take in the transaction that publishes; 0 where the slot is given back."""
        goes_on = self._chained and not self._leaving and self._runner.is_fresh()
        return self._pace.count if goes_on else 0

    def _begin(self, taken: list[Taken]) -> None:
        """Run what was taken; with nothing, wait in the slot if the worker is parked there, else give it back."""
        self._requested = False
        if taken:
            self._parking.last_claim = taken[-1].claim
            try:
                self._start(taken)
                return
            except CannotStart as refusal:
                self._refuse(taken, refusal)
        if not self._parking.active:
            self._leave_slot()

    def _start(self, taken: list[Taken]) -> None:
        """Start tasks, whatever stands in the way for now. Raises CannotStart."""
        while True:
            try:
                if taken[0].task.is_plain:
                    self._start_series(taken)
                else:
                    self._start_alone(taken[0])
            except Temporary as error:
                self._hold_on(error)
            else:
                return

    def _start_alone(self, one: Taken) -> None:
        """Start a task that is watched by itself. Raises CannotStart, Temporary."""
        self._current = one
        self._watch_alone(run.start(one.claimed(), self._queue, self._runner, self._journal), 0.0)

    def _refuse(self, taken: list[Taken], refusal: CannotStart) -> None:
        """Settle tasks that cannot be started, and take no more at once: a new configuration may wait to be read."""
        for one in taken:
            AttemptFiles(self.home, one.claim).delete_inputs()
        self._publish([self._refused(one, refusal) for one in taken], 0)

    def _refused(self, one: Taken, refusal: CannotStart) -> Ended:
        outcome = Outcome(error=str(refusal), error_kind="spawn", exit_code=refusal.exit_code)
        return Ended(one, one.started_at, settlement_of(one, outcome, self._queue.config))

    def _leave_slot(self) -> None:
        self._slot = None
        if self._leaving or not self._runner.is_fresh():
            self.finish()
        else:
            self._say({"idle": True})

    def _publish(self, ended: list[Ended], count: int) -> list[Taken]:
        assert self._slot is not None, "what has ended had a slot"
        return self._advance(Step(self._slot, self._owner, ended=ended, count=count))

    def _advance(self, step: Step) -> list[Taken]:
        """Publish, whatever stands in the way for now: the results are kept until they are written."""
        while True:
            try:
                return self._try_to_advance(step)
            except Temporary as error:
                self._hold_on(error)

    def _try_to_advance(self, step: Step) -> list[Taken]:
        taken, parked = self._queue.advance(step)
        if parked:
            self._parking.start(self._queue.config.worker_idle_s)
        return taken

    def _hold_on(self, error: Temporary) -> None:
        """Rest before the next try at what stands between one claim and the next. Raises that, if it is for good."""
        if self.is_home_lost():
            raise error
        log("trouble", rest=TROUBLE_REST, why=error)
        clock.nap(TROUBLE_REST)

    # waiting in a slot

    def _await_task(self) -> None:
        """Run the task that a launch has claimed for this worker; without one, give the slot back when it is time."""
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

    def _unpark(self) -> Taken | None:
        """Give the slot back; return the task that a launch has claimed for this worker before, if any."""
        self._leaving |= self._parking.is_over()
        if self._parking.give_back():
            self._parking.stop()
            self._leave_slot()
            return None
        taken = self._parking.assigned()
        if taken is None:  # the supervisor has taken the slot back, and counts this worker as idle
            self._parking.stop()
            self._slot = None
            if self._leaving:
                self.finish()
        return taken

    # tasks in series

    def _start_series(self, taken: list[Taken]) -> None:
        """Start tasks one after the other. Raises CannotStart, Temporary."""
        agent, config = taken[0].task.agent, self._queue.config
        if agent == "command":
            self._series = CommandSeries(self._tools, taken, config)
        else:
            runner = self._runner.get(config.agent("python").interpreter)
            self._series = CallSeries(runner, self._journal, taken, config)
        self._began = clock.monotonic()
        self._look_at = self._began + PUBLISH_AFTER[agent]

    def _follow(self, series: Series) -> float:
        """See how a series goes; return for how many seconds nothing need be done."""
        if self._is_home_away():
            return TROUBLE_REST
        try:
            series.advance(self._look_at)
        except Temporary as error:
            self._publish_series(series)
            self._hold_on(error)
            return 0.0
        if not self._is_home_away():
            self._carry_on(series)
        return max(0.0, self._look_at - clock.monotonic()) if self._series is series else 0.0

    def _carry_on(self, series: Series) -> None:
        """Finish a series that is over; publish what has ended, and watch by itself what takes long or is asked for."""
        now = clock.monotonic()
        if not series.waiting:
            self._finish_series(series, [])
        elif series.is_stranded:
            self._rest_after_failure()
            self._finish_series(series, series.lose_runner())
        elif series.has_leftovers or self._requested or self._leaving:
            self._isolate(series)
        elif series.is_urgent or now >= self._look_at:
            self._look_at_series(series, now)

    def _look_at_series(self, series: Series, now: float) -> None:
        """It takes longer than expected: publish what has ended; what has run for a while is watched by itself."""
        look_after = PUBLISH_AFTER[series.waiting[0].task.agent]
        if series.running_for() >= look_after / 2 or len(series.waiting) == 1:
            self._isolate(series)
        else:
            self._publish_series(series)
            self._look_at = now + look_after

    def _publish_series(self, series: Series, returned: list[Taken] | None = None) -> None:
        """Write what has ended; the task that runs becomes the running one of the slot."""
        assert self._slot is not None, "a series has a slot"
        current = series.mark_started()
        if series.ended or returned or not current.current:
            self._advance(Step(self._slot, self._owner, series.ended, current, returned or []))
        series.forget_ended()

    def _isolate(self, series: Series) -> None:
        """Watch the task that runs by itself; what is held behind it goes back to the queue."""
        self._requested = False
        self._pace.reset()
        returned = series.take_back()
        if not series.waiting:
            self._finish_series(series, returned)
            return
        self._publish_series(series, returned)
        age = series.running_for()
        attempt = series.attempt()
        if attempt is not None:
            series.close()
            self._current, self._series = series.waiting[0], None
            self._watch_alone(attempt, age)

    def _finish_series(self, series: Series, returned: list[Taken]) -> None:
        """All of it is over: publish it, and take more."""
        assert self._slot is not None, "a series has a slot"
        if not returned and series.ended:
            self._pace.note(series.ended[0].taken.task.agent, len(series.ended), clock.monotonic() - self._began)
        step = Step(self._slot, self._owner, series.ended, None, returned, self._next_count())
        taken = self._advance(step)
        self._series = None
        self._journal.start_over()
        series.close()
        self._begin(taken)

    def _wait_for_child(self, seconds: float) -> bool:
        for descriptor, _ in self._poll.poll(max(0.0, seconds) * 1000):
            if descriptor != self._signals.reader:
                return False
            self._signals.handle()
        return not (self._requested or self._leaving)

    def _has_strays(self) -> bool:
        children = self._children()
        if children == self._expected_children:
            return False
        if set(map(int, children.split())) - self._runner.pids() - run.spared:
            return True
        self._expected_children = children
        return False

    # a task that is watched by itself

    def _watch_alone(self, attempt: Attempt, age: float) -> None:
        watched = self._run = Run(attempt, self._queue, self._runner, age)
        watched.check_verdict = True  # a verdict may have been written when this worker was woken for the last time
        if attempt.watched is not None:
            self.selector.register(attempt.watched, selectors.EVENT_READ, watched.mark_ready)

    def _watch(self, watched: Run) -> float:
        if self._is_home_away():
            return TROUBLE_REST
        settlement = watched.step()
        if settlement is not None:
            self._conclude(watched, settlement)
            return 0.0
        return min(watched.rest(), FALLBACK_POLL if self._leaving else LONG)

    def _is_home_away(self) -> bool:
        """Return True if the home was moved, and may come back with what its tasks have written."""
        return not self.home.is_usable() and not self.is_home_lost()

    def _conclude(self, watched: Run, settlement: Settlement) -> None:
        assert self._current is not None, "it was taken"
        if watched.attempt.watched is not None:
            self.selector.unregister(watched.attempt.watched)
        watched.attempt.close()
        watched.trim_output()
        self._run = None
        self._note(settlement)
        self._rest_after_failure()
        files = watched.attempt.files
        whole = settlement._replace(outputs=(*settlement.outputs, *files.small()))
        if self._database.durability == "full":
            files.sync()
        taken = self._publish([Ended(self._current, self._current.started_at, whole)], self._next_count())
        files.delete_saved()
        files.delete_inputs()
        self._journal.start_over()
        self._begin(taken)

    def _note(self, settlement: Settlement) -> None:
        """Note the end, in case this process dies before it is settled; on a full disk it must do without."""
        try:
            self._journal.note_end(settlement.claim, settlement_document(settlement))
        except OSError as error:
            log("journal_failed", why=error)

    # the supervisor

    def _listen(self, _mask: int) -> None:
        try:
            data = self._channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the supervisor is gone
            self._unregister(self._channel)
            self._leave()
        self._reader.feed(data)
        for line in self._reader.lines():
            self._obey(json.loads(line))

    def _obey(self, order: dict[str, Any]) -> None:
        if "run" in order:  # given to a parked worker, it is what became of the slot that was taken back
            self._parking.stop()
            self._slot = Slot(*order["run"])
        elif "chained" in order:
            self._chained = order["chained"]
        elif "configure" in order:
            self._configured = False
        elif "leave" in order:
            self._leave()

    def _say(self, message: dict[str, Any]) -> None:
        try:
            with failpoint("worker.say"):
                self._channel.send(json.dumps(message).encode() + b"\n")
        except OSError:  # the supervisor is gone; `_listen` sees it
            return

    def _configure(self) -> None:
        before, config = self._queue.config, applied_configuration(self._database)
        self._queue.config = config
        self._database.durability = config.durability
        self._tools.environments = Environments(self.home, config.agent("command").env)
        if config.agent("python") != before.agent("python"):  # a runner gets its settings once, when it starts
            self._runner.mark_outdated()
        self._configured = True

    def _leave(self) -> None:
        self._leaving = True
        if self._run is None and self._series is None and not self._parking.active:
            self.finish()

    def _look(self) -> None:
        self._requested = True
        if self._run is not None:
            self._run.check_verdict = True

    # runners

    def _meet_runner(self, runner: Runner) -> None:
        """Create the output files of a new runner, send it its settings and listen to it. Raises OSError."""
        prefix = runner_prefix(self.home, self._owner)
        for stream in STREAMS:
            os.close(os.open(f"{prefix}.{stream}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        hello = {
            "outputs": prefix,
            "claims": f"{self.home.folder}/output",
            "home": str(self.home.folder),
            "environment": {**inherited(), **self._queue.config.agent("python").env},
            "inherited": dict(os.environ),
        }
        runner.start(hello, self._journal.descriptor)
        self._register(runner.channel, lambda _mask: self._read_runner(runner))

    def _read_runner(self, runner: Runner) -> None:
        runner.read()
        if runner.refuses:
            self._unregister(runner.channel)
        if runner.blocked:
            log("trouble", rest=TROUBLE_REST, why="a runner cannot write its journal")
            clock.nap(TROUBLE_REST)
            runner.resume()
        if self._run is not None:
            self._run.mark_ready()

    def _rest_after_failure(self) -> None:
        """Rest if the runner could not begin a call, as where memory is short: each try counts as an interruption."""
        if self._runner.has_failed():
            log("trouble", rest=TROUBLE_REST, why="a process for calls has ended before its first call")
            clock.nap(TROUBLE_REST)

    def _register(self, channel: socket.socket, callback: Callable[[int], None]) -> None:
        self.selector.register(channel, selectors.EVENT_READ, callback)
        self._poll.register(channel, select.POLLIN)

    def _unregister(self, channel: socket.socket) -> None:
        if channel in self.selector.get_map():
            self.selector.unregister(channel)
            self._poll.unregister(channel)
