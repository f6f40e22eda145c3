"""One run of a scene: what it launches, how each task may end, and what its tasks did."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from fnmatch import fnmatchcase
from typing import IO, Any, NamedTuple

from backburner import Task
from scripts.trials.crash.home import JOB, SHORT_JOB, TIMEOUT, CrashHome, Order
from tests.helpers.invariants import Violation

#: Edges at which a process has no unfinished task that may have begun. If it is killed there, no task is lost.
HARMLESS = (
    "bb-worker journal.start@*",
    "bb-worker series.spawn@* before",
    "bb-worker journal.end@* after",
    "bb-runner runner.journal@CallRunner._begin* before",
    "bb-runner runner.journal@CallRunner._end* after",
)

#: A status and an error kind.
End = tuple[str, str | None]


class Completed(NamedTuple):
    """A command that has ended: its exit code, negative for a signal, and its output."""

    code: int
    stdout: str
    stderr: str


class SceneRun:
    """One run of a scene in a home, with one order."""

    def __init__(self, home: CrashHome, order: Order) -> None:
        """Run there; the order counts from `arm` on."""
        self.home, self.order = home, order
        self.effects = home.project / f"{order.token}.effects"
        self.go = home.project / f"{order.token}.go"
        #: How each task may end, and how it may end if its worker is not killed.
        self.allowed: dict[str, set[End]] = {}
        self.regular: dict[str, set[End]] = {}
        self.retries: dict[str, int] = {}
        #: Tasks that may be interrupted while they run; that attempt does not count.
        self.interrupted: set[str] = set()

    @property
    def victim(self) -> str:
        """Return the role that is to be killed."""
        return (self.order.kill or "").partition(" ")[0]

    def arm(self) -> None:
        """Let failpoints count from now on."""
        self.home.order(self.order)

    def job(self, kind: str) -> list[str]:
        """Return a command that records that it ran."""
        return [sys.executable, "-I", "-S", str(JOB), kind, str(self.effects), str(self.go)]

    def short_job(self, kind: str) -> list[str]:
        """Return a command that is to run in a series."""
        return ["/bin/sh", str(SHORT_JOB), kind, str(self.effects), str(self.go)]

    def launch(self, *ends: End, **fields: Any) -> str:
        """Launch a task from a process that is never killed; `ends` are the ways in which it may end."""
        return self.launch_many([fields], *ends)[0]

    def launch_many(self, tasks: list[dict[str, Any]], *ends: End) -> list[str]:
        """Launch tasks in one transaction, so that they are ready at the same time."""
        ids = [task.id for task in self.home.manager.launch_many([self._fields(fields) for fields in tasks])]
        for id, fields in zip(ids, tasks, strict=True):
            self.expect(id, *ends, retries=fields.get("retries", 0))
        return ids

    def _fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a launch with those that all tasks of this run have."""
        slot = {"CRASH_SLOT": fields.get("concurrency_key", "slot")}
        return {"cwd": str(self.home.project), "parent_session_id": self.order.token, "env": slot, **fields}

    def expect(self, id: str, *ends: End, retries: int = 0) -> None:
        """Define how a task may end; if its worker is killed, it may be lost besides."""
        lost = {("error", "lost")} if self.victim in ("bb-worker", "bb-forkserver's-child") else set()
        dead = {("error", "signal")} if self.victim in ("bb-runner", "bb-worker's-child") else set()
        self.allowed[id] = {*ends, *lost, *dead}
        self.regular[id] = {*ends}
        self.retries[id] = retries

    def command(self, *words: str, stdin: str = "") -> Completed:
        """Run a command, again if it was killed."""
        while True:
            done = self.command_once(*words, stdin=stdin)
            if done.code != -signal.SIGKILL:
                return done

    def command_once(self, *words: str, stdin: str = "") -> Completed:
        """Run a command. Raises Violation if it printed a traceback."""
        with ExitStack() as files:
            read, *write = (files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3))
            read.write(stdin)
            read.seek(0)
            code = self.home.start_command(read, *write, *words).wait(TIMEOUT)
            done = Completed(code, *map(_content, write))
        if "Traceback" in done.stderr:
            raise Violation("I6", f"{words} failed: {done.stderr}")
        return done

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the socket, again if the connection was lost. Raises Refused."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                with self.home.connect() as client:
                    return client.call(method, **params)
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def task(self, id: str) -> Task:
        """Return a task as it is now."""
        task = self.home.manager.get_task(id)
        if task is None:
            raise Violation("I1", f"{id} is missing")
        return task

    def until_runs(self, id: str) -> None:
        """Wait until a task has recorded that it runs, or has ended."""
        self.home.until(lambda: self.runs(id) or self.task(id).status.ended, f"{id} to run")

    def runs(self, id: str) -> list[str]:
        """Return what the attempts at a task recorded."""
        lines = self.effects.read_text().splitlines() if self.effects.exists() else []
        return [line for line in lines if line.split()[0] == id]

    def finish(self) -> None:
        """Wait until everything has ended, and check it. Raises Violation."""
        self.home.settle(self.allowed)
        self.home.order(None)
        self.home.check_invariants()
        for id in self.allowed:
            self._check(id)
        self._check_lost()

    def _check_lost(self) -> None:
        """A process that dies loses at most one task; at some edges none."""
        tasks = [self.task(id) for id in self.allowed]
        lost = [task for task in tasks if (task.status.value, task.error_kind) not in self.regular[task.id]]
        is_harmless = any(fnmatchcase(self.order.kill or "", edge) for edge in HARMLESS)
        if len(lost) > (0 if is_harmless else 1):
            raise Violation("I2", f"lost by one death: {[(task.id, task.error) for task in lost]}")

    def _check(self, id: str) -> None:
        task, runs = self.task(id), self.runs(id)
        if (task.status.value, task.error_kind) not in self.allowed[id]:
            end = f"{task.status} ({task.error_kind}: {task.error})"
            raise Violation("I2", f"{id} is {end}, not one of {self.allowed[id]}")
        if any("CROWDED" in line for line in runs):
            raise Violation("I4", f"{id} ran beside another task: {runs}")
        if task.agent != "external":
            self._check_runs(task, runs)

    def _check_runs(self, task: Task, runs: list[str]) -> None:
        """The attempts did what the event log reports."""
        id = task.id
        if runs and not self.home.has_started(id):
            raise Violation("I3", f"{id} has no started event, and did {runs}")
        attempts = {tuple(line.split()[1 : 3 if id in self.interrupted else 2]) for line in runs}
        if len(runs) > self.retries[id] + 1 + (id in self.interrupted) or len(attempts) < len(runs):
            raise Violation("I2", f"{id} ran too often: {runs}")
        if task.status.value == "completed" and str(task.attempt) not in [line.split()[1] for line in runs]:
            raise Violation("I2", f"{id} is completed after attempt {task.attempt} and did {runs}")


def _content(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
