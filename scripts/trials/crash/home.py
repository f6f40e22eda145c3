"""A state directory whose processes are killed at failpoints, with an operator that restarts the supervisor."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from backburner import BackgroundManager
from backburner.ipc.failpoints import WATCH
from scripts.trials.crash.zygote import Command, zygote
from tests.helpers import invariants
from tests.helpers.blackbox import Place
from tests.helpers.invariants import Violation, event_of
from tests.helpers.processes import HOME_MARK, Activity, Process, all_processes, is_alive, kernel_wait, lock_holder
from tests.helpers.rpc import Refused, RpcClient, Subscriber
from tests.helpers.wait import eventually

#: Seconds after which a condition that should hold in a fraction of a second is given up.
TIMEOUT = 60.0

SETTINGS = """\
kill_grace_s = 0.2
notification_batch_window_ms = 30
notification_max_batch = 2
retry_base_ms = 1
worker_idle_s = 0.05
shutdown_grace_s = 0.3
default_concurrency = 1
durability = "normal"
"""

#: Seconds for which an idle home is observed, and what its busiest role may do meanwhile: one that polls does far more,
#: ours wake every other second. Maintenance may fall into the observation, so that it is tried several times.
IDLE_SECONDS, IDLE_CPU, IDLE_SLEEPS, IDLE_TRIES = 2.0, 0.1, 24, 4

#: The number of deaths of flushers and fork servers after which the supervisor would delay their restart for longer.
MAX_DEATHS = 2

#: The program of most tasks, and the one of tasks that are to run in series.
JOB = Path(__file__).with_name("job.py")
SHORT_JOB = JOB.with_suffix(".sh")


class Order(NamedTuple):
    """What processes do at their failpoints: record them and, at the `nth` time that one reaches `kill`, die there."""

    token: str
    kill: str | None = None
    nth: int = 1


def excess(activity: Activity) -> str:
    """Return a description of I8's violation if this is too much for an idle role, and nothing if it is not."""
    if activity.cpu <= IDLE_CPU and activity.sleeps <= IDLE_SLEEPS:
        return ""
    used = f"used {activity.cpu:.3f} s of CPU and woke {activity.sleeps} times in {IDLE_SECONDS:g} s"
    return str(Violation("I8", f"an idle role {used}"))


class CrashHome(Place):
    """A state directory with its operator and a subscriber that receives every event and never forgets one."""

    def __init__(self, project: Path, *more: Any) -> None:
        """Prepare the folders; nothing is started."""
        super().__init__(project, *more)
        self.watch = self.project / "watch"
        self.watch.mkdir()
        self.configure(SETTINGS)
        self.received: list[dict[str, Any]] = []
        #: Set while the supervisor is meant to be down: the operator does not restart it then.
        self.is_down = threading.Event()
        self.deaths = 0
        self._log_read = 0
        self._supervisor: Command | None = None
        self._operator: threading.Thread | None = None
        self._closing = threading.Event()
        self._subscriber: Subscriber | None = None
        self._manager: BackgroundManager | None = None

    @property
    def manager(self) -> BackgroundManager:
        """Return a manager in this process, which is never killed and starts no supervisor."""
        if self._manager is None:
            self._manager = BackgroundManager(self.home, {"autostart": False})
        return self._manager

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of processes that are watched."""
        return super().environment | {WATCH: str(self.watch)}

    # failpoints

    def order(self, order: Order | None) -> None:
        """Let every process follow an order from now on; with None no process is watched."""
        path = self.watch / "order"
        if order is None:
            path.unlink(missing_ok=True)
            return
        draft = self.watch / "draft"
        draft.write_text(json.dumps(order._asdict()))
        draft.rename(path)

    def reached(self, order: Order) -> list[str]:
        """Return every edge of a failpoint that was reached, in order."""
        path = self.watch / f"{order.token}.reached"
        return path.read_text().splitlines() if path.exists() else []

    def has_killed(self, order: Order) -> bool:
        """Return True if a process died where the order wanted it."""
        return (self.watch / f"{order.token}.killed").exists()

    # the operator

    def open(self) -> None:
        """Start a supervisor, the operator and the subscriber."""
        self._operator = threading.Thread(target=self._operate, daemon=True)
        self._operator.start()
        self.wait_ready()
        self._subscriber = Subscriber(self.home / "bus.sock", "*", self.received.append)
        self._subscriber.start()

    def _operate(self) -> None:
        """Restart the supervisor whenever it has died, unless it is meant to be down."""
        while not self._closing.is_set():
            if self.is_down.is_set():
                self._closing.wait(0.01)
                continue
            with open(self.home / "supervisor.log", "ab") as log, open(os.devnull) as nothing:
                self._supervisor = self.start_command(nothing, log, log, "up")
            code = self._supervisor.wait()
            self.deaths = 0
            if code not in (0, -signal.SIGKILL, 100):
                self._closing.wait(0.2)

    def start_command(self, stdin: IO[Any], stdout: IO[Any], stderr: IO[Any], *words: str) -> Command:
        """Start a command."""
        files = stdin.fileno(), stdout.fileno(), stderr.fileno()
        return zygote().start(["--home", str(self.home), *words], self.environment, self.project, files)

    def wait_ready(self) -> None:
        """Wait until a supervisor lives and the bus answers."""
        self.until(lambda: self.holder("supervisor") and self._answers(), "a supervisor and a bus")

    def _answers(self) -> bool:
        try:
            with self.connect() as client:
                client.call("ping")
        except (OSError, Refused):
            return False
        return self.holder("forkserver") is not None

    def connect(self, timeout: float = TIMEOUT) -> RpcClient:
        """Connect to the socket. Raises OSError."""
        return super().connect(timeout)

    def holder(self, role: str) -> int | None:
        """Return the process that has a role, by its lock; of a dying one the kernel may not know the number: None."""
        return lock_holder(self.home / f"{role}.lock") or None

    def has_exited_cleanly(self) -> bool:
        """Return True if the last supervisor ended with exit code 0; it must be gone already."""
        last = self._supervisor
        self.until(lambda: last is None or last.returncode is not None, "the supervisor's exit code")
        return last is not None and last.returncode == 0

    def kill_supervisor(self) -> Command:
        """Send SIGKILL to the supervisor that the operator started, and return it."""
        supervisor = self._supervisor
        assert supervisor is not None, "the operator has started one"
        supervisor.kill()
        return supervisor

    def replace_supervisor(self) -> None:
        """Kill the supervisor, and wait for the next one, which has seen no process die yet."""
        before = self.kill_supervisor()
        self.until(lambda: self._supervisor is not before, "another supervisor")
        self.deaths = 0
        self.wait_ready()

    def drop_rolled_back(self) -> None:
        """Drop received events that a restored log does not have any more."""
        logged = {row["seq"] for row in self.rows("SELECT seq FROM events")}
        self.received[:] = [event for event in self.received if event["seq"] in logged]

    def close(self) -> None:
        """Kill every process, and delete the folder."""
        self._closing.set()
        self.is_down.set()
        if self._subscriber is not None:
            self._subscriber.close()
        eventually(self._has_ended, TIMEOUT, "the operator to end")
        if self._manager is not None:
            self._manager.close()
        self.remove()

    def _has_ended(self) -> bool:
        self.kill_all()
        return self._operator is None or not self._operator.is_alive()

    # observations

    def processes(self) -> list[Process]:
        """Return the processes that use this home: by environment, by arguments, or because the zygote forked them."""
        last = self._supervisor
        forked = last.pid if last is not None and last.returncode is None else 0
        return [one for one in all_processes() if one.pid == forked or self._is_named_by(one)]

    def _is_named_by(self, process: Process) -> bool:
        return process.marks.get(HOME_MARK) == str(self.home) or str(self.project) in process.command_line

    def task_processes(self) -> list[Process]:
        """Return the processes of tasks."""
        return [one for one in self.processes() if str(JOB.with_suffix("")) in one.command_line]

    def workers(self) -> list[Process]:
        """Return the workers and their runners."""
        return [one for one in self.processes() if one.role in ("worker", "runner")]

    def describe(self) -> str:
        """Return the last lines of the log, the processes and the rows that matter to a failure."""
        found = [self.log[-3000:], *(f"{one}, waits in {kernel_wait(one.pid)}" for one in self.processes())]
        with suppress(sqlite3.Error):
            columns = "id, limit_group, status, ready, slot, owner, claim, held, verdict"
            query = f"SELECT {columns} FROM tasks WHERE completed_at IS NULL"
            found += [str(tuple(row)) for row in [*self.rows(query), *self.rows("SELECT * FROM processes")]]
        return "\n".join(found)

    def until(self, predicate: Callable[[], object], what: str) -> None:
        """Wait until the predicate is true. Raises WaitTimeout with a description of this home."""
        eventually(predicate, TIMEOUT, lambda: f"{what}; {self.describe()}\n")

    def has_started(self, id: str) -> bool:
        """Return True if an attempt at a task has started, by the event log."""
        query = "SELECT 1 FROM events WHERE type = ? AND json_extract(body, '$.taskId') = ?"
        return bool(self.rows(query, invariants.STARTED, id))

    # the checks

    def settle(self, ids: Iterable[str]) -> None:
        """Wait until these tasks have ended, every event was received, the workers have left and all roles run."""
        ids = list(ids)
        self.until(lambda: not self._unfinished(ids), f"{len(ids)} tasks to end")
        self.wait_ready()
        self.until(lambda: not self.workers(), "the workers to leave")
        self.until(lambda: not self.rows("SELECT 1 FROM outbox"), "the batches")
        last = self.rows("SELECT coalesce(max(seq), 0) FROM events")[0][0]
        self.until(lambda: (self.received[-1]["seq"] if self.received else 0) >= last, f"event {last} to be delivered")

    def _unfinished(self, ids: list[str]) -> list[str]:
        statuses = {row["id"]: row["status"] for row in self.rows("SELECT id, status FROM tasks")}
        return [id for id in ids if statuses.get(id) not in invariants.TERMINAL]

    def check_invariants(self) -> None:
        """Check I1 to I7 of everything that ever happened in this home. Raises Violation."""
        for violation in self._violations():
            raise violation
        eventually(lambda: not self._worker_files(), TIMEOUT, lambda: f"the end of {self._worker_files()}")

    def _violations(self) -> Iterator[Violation]:
        events = [event_of(row) for row in self.rows("SELECT * FROM events ORDER BY seq")]
        tasks = {row["id"]: dict(row) for row in self.rows("SELECT * FROM tasks")}
        received = [event["seq"] for event in self.received]
        yield from invariants.check_order(received)
        yield from invariants.check_delivery(received, [event["seq"] for event in events])
        yield from invariants.check_contents(self.received, {event["seq"]: event for event in events})
        yield from invariants.check_lives(events, tasks)
        yield from invariants.check_limits(events, tasks, defaultdict(lambda: 1))
        yield from invariants.check_batches(events)
        yield from invariants.check_settled(tasks)
        yield from (Violation("I5", f"{one} is left") for one in self.task_processes())
        yield from self._tracebacks()

    def _worker_files(self) -> list[str]:
        """Return the files of workers that are gone; one that died before it registered is cleaned up after later."""
        registered = {str(row["number"]) for row in self.rows("SELECT number FROM processes")}
        names = [path.name for path in (self.home / "output").glob("[cw]*-*")]
        return [name for name in names if re.split("[-.]", name)[1] not in registered]

    def _tracebacks(self) -> Iterator[Violation]:
        """A role may be killed, and never raises an exception."""
        log, read = self.log, self._log_read
        self._log_read = len(log)
        if "Traceback" in log[read:]:
            yield Violation("I6", f"a role failed: {log[log.index('Traceback', read) :][:3000]}")

    def idle_activity(self) -> Activity:
        """Return what the busiest role does in a home with nothing to do."""
        activity = Activity()
        for _ in range(IDLE_TRIES):
            activity = self._observe_idle()
            if not excess(activity):
                break
        return activity

    def _observe_idle(self) -> Activity:
        before = {one.pid: Activity.of(one.pid) for one in self.processes()}
        time.sleep(IDLE_SECONDS)
        done = [Activity.of(pid).since(was) for pid, was in before.items() if is_alive(pid)]
        return Activity(max((one.cpu for one in done), default=0.0), max((one.sleeps for one in done), default=0))
