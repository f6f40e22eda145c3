"""A home in which processes are killed at failpoints; an operator that starts what died again; what must be true."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, NamedTuple

from backburner.ipc.bus.client import Client
from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.errors import BackburnerError
from backburner.ipc.failpoints import WATCH
from backburner.ipc.home import Home
from backburner.ipc.machine.lock import holder
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import Task
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.sqlite.database import Database
from scripts.trials.crash.zygote import Started, zygote

#: Seconds after which what should come in a fraction of one does not come any more.
PATIENCE = 60.0

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

#: Seconds for which an idle home is watched, and what each role may do then: one that polls does far more, one of ours
#: wakes every other second. How often it is tried, as housekeeping may fall into it.
QUIET, QUIET_CPU, QUIET_WAKES, QUIET_TRIES = 2.0, 0.1, 24, 4

#: A flusher or a fork server that was killed so often under one supervisor would be waited for longer each time.
MOST_DEATHS = 2

JOB = Path(__file__).with_name("job.py")

#: The same for tasks that are to run in series.
SHORT_JOB = JOB.with_suffix(".sh")

#: Edges at which a process has no task that may have begun and whose end is not noted: killed there, it loses none.
HARMLESS = (
    "bb-worker journal.start@*",
    "bb-worker series.spawn@* before",
    "bb-worker journal.end@* after",
    "bb-worker database.commit@Queue.take*",
    "bb-runner runner.start@* before",
    "bb-runner runner.end@* after",
)


class Violation(Exception):
    """Something that must always be true was not."""


class Order(NamedTuple):
    """What the processes of a home are to do at their failpoints: note them, and die at one."""

    token: str
    kill: str | None = None
    nth: int = 1


class Effort(NamedTuple):
    """What the busiest role of an idle home did: seconds of CPU, and how often it woke."""

    cpu: float = 0.0
    wakes: int = 0

    @property
    def excuse(self) -> str:
        """What is wrong with it; empty where nothing is."""
        much = self.cpu > QUIET_CPU or self.wakes > QUIET_WAKES
        return f"I8: an idle role used {self.cpu:.3f} s of CPU and woke {self.wakes} times in {QUIET:g} s" * much


class House:
    """One home, with its operator and one subscriber to everything, who never forgets how far it has heard."""

    def __init__(self) -> None:
        """Make the folders; nothing is started."""
        self.project = Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp")).resolve()
        self.home = Home(self.project / ".backburner")
        self.watch = self.project / "watch"
        self.heard: list[dict[str, Any]] = []
        self.down = threading.Event()
        self.deaths = 0
        self._checked = 0
        self._log = 0
        self._supervisor: Started | None = None
        self._operator: threading.Thread | None = None
        self._stopped = threading.Event()
        self._client: Client | None = None
        self.watch.mkdir()
        self.home.folder.mkdir(0o700)
        self.home.config.write_text(SETTINGS)
        self.home.config.chmod(0o600)
        self._database: Database | None = None

    @property
    def queue(self) -> Queue:
        """As a launcher that nobody kills."""
        if self._database is None:
            self._database = Database(self.home.prepare(), "normal")
        return Queue(self._database, BackgroundConfig.of({"durability": "normal"}))

    @property
    def environment(self) -> dict[str, str]:
        """Of whatever is watched."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("BACKBURNER_", "CLAUDE", "XDG_"))
        }
        return kept | {
            "BACKBURNER_HOME": str(self.home.folder),
            "XDG_CONFIG_HOME": str(self.project),
            WATCH: str(self.watch),
        }

    # orders

    def order(self, order: Order | None) -> None:
        """Have every process follow it from now on; None: nobody watches."""
        path = self.watch / "order"
        if order is None:
            path.unlink(missing_ok=True)
            return
        draft = self.watch / "draft"
        draft.write_text(json.dumps(order._asdict()))
        draft.rename(path)

    def reached(self, order: Order) -> list[str]:
        """All edges that were come to, in order."""
        path = self.watch / f"{order.token}.reached"
        return path.read_text().splitlines() if path.exists() else []

    def killed(self, order: Order) -> bool:
        """Whether somebody came to where he was to die."""
        return (self.watch / f"{order.token}.killed").exists()

    # the operator

    def open(self) -> None:
        """Start a supervisor, the operator and the subscriber."""
        self._operator = threading.Thread(target=self._operate, daemon=True)
        self._operator.start()
        self.wait_ready()
        self._subscribe()

    def _operate(self) -> None:
        """Start the supervisor again whenever it has died, unless it was asked to go."""
        while not self._stopped.is_set():
            if self.down.is_set():
                self._stopped.wait(0.01)
                continue
            with open(self.home.log, "ab") as log, open(os.devnull) as nothing:
                self._supervisor = self.start(nothing, log, log, "up")
            code = self._supervisor.wait()
            self.deaths = 0
            if code not in (0, -signal.SIGKILL, 100):
                self._stopped.wait(0.2)

    def start(self, stdin: IO[Any], stdout: IO[Any], stderr: IO[Any], *words: str) -> Started:
        """Start a command of this home."""
        files = stdin.fileno(), stdout.fileno(), stderr.fileno()
        return zygote().start(["--home", str(self.home.folder), *words], self.environment, self.project, files)

    def _subscribe(self) -> None:
        self._client = Client(self.home, patience=PATIENCE)
        threading.Thread(target=self._listen, args=(self._client,), daemon=True).start()

    def _listen(self, client: Client) -> None:
        with suppress(BackburnerError):
            for event in client.events("*", after=0):
                self.heard.append(event.to_json())

    def wait_ready(self) -> None:
        """Until a supervisor lives and the bus answers."""
        until(lambda: self.role("supervisor") and self._answers(), "a supervisor and a bus", self.portrait)

    def _answers(self) -> bool:
        try:
            with Client(self.home) as client:
                client.call("ping")
        except BackburnerError:
            return False
        return self.role("forkserver") is not None

    def role(self, name: str) -> int | None:
        """Who plays it, by the kernel's word; of one that is just dying the kernel may not know the number: nobody."""
        return holder(self.home.lock(name)) or None

    def left_well(self) -> bool:
        """Whether the last supervisor went by itself; asked once it is gone."""
        ended = self._supervisor
        until(lambda: ended is None or ended.returncode is not None, "the supervisor's exit code")
        return ended is not None and ended.returncode == 0

    def kill_supervisor(self) -> object:
        """SIGKILL to the process that the operator started; which one it was."""
        supervisor = self._supervisor
        assert supervisor is not None, "the operator has started one"
        supervisor.kill()
        return supervisor

    def freshen(self) -> None:
        """A new supervisor, which has seen nobody die yet."""
        before = self.kill_supervisor()
        until(lambda: self._supervisor is not before, "another supervisor", self.portrait)
        self.deaths = 0
        self.wait_ready()

    def forget(self) -> None:
        """The log was put back to an earlier state: what was heard of since is not in it any more."""
        there = {row["seq"] for row in self.rows("SELECT seq FROM events")}
        self.heard[:] = [event for event in self.heard if event["seq"] in there]

    def close(self) -> None:
        """End everything, and remove the folders."""
        self._stopped.set()
        self.down.set()
        if self._client is not None:
            self._client.close()
        for _ in range(1000):
            left = list(self.ours())
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left and not (self._operator and self._operator.is_alive()):
                break
            time.sleep(0.01)
        if self._database is not None:
            self._database.close()
        shutil.rmtree(self.project, ignore_errors=True)

    # looking from outside

    def ours(self, which: Callable[[int], bool] = lambda _pid: True) -> Iterator[int]:
        """The living processes that bear this home's name, or this folder's; a forked supervisor bears none."""
        marks = (f"BACKBURNER_HOME={self.home.folder}".encode(), os.fsencode(self.project))
        forked = self._supervisor.pid if self._supervisor and self._supervisor.returncode is None else 0
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            if pid != os.getpid() and which(pid) and (pid == forked or _bears(Path(f"/proc/{pid}"), marks)):
                yield pid

    def tasks_processes(self) -> list[str]:
        """What of a task lives: whatever is ours and no role."""
        return [f"{pid} {cmdline(pid)}" for pid in self.ours(lambda pid: str(JOB.with_suffix("")) in cmdline(pid))]

    def workers(self) -> list[int]:
        """The living workers."""
        return list(self.ours(lambda pid: comm(pid) in ("bb-worker", "bb-runner")))

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Read the database as a stranger does."""
        with closing(sqlite3.connect(f"file:{self.home.database}?mode=ro", uri=True, timeout=5)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(query, values).fetchall()

    def portrait(self) -> str:
        """What the roles said last, who lives, and what is not over."""
        log = self.home.log.read_text()[-3000:] if self.home.log.exists() else ""
        alive = [f"{pid} {comm(pid)} in {_waits(pid)}" for pid in self.ours()]
        with suppress(sqlite3.Error):
            columns = "id, limit_group, status, ready, slot, owner, claim, held, verdict"
            query = f"SELECT {columns} FROM tasks WHERE completed_at IS NULL"
            alive += [str(tuple(row)) for row in [*self.rows(query), *self.rows("SELECT * FROM processes")]]
        return "\n".join([log, *alive])

    # what must be true

    def settle(self, ids: Iterable[str]) -> None:
        """Wait until nothing goes on any more: all ended, all told, the workers gone, the roles there."""
        wanted = list(ids)
        until(lambda: not self._open(wanted), "the tasks to end", lambda: f"{self._open(wanted)}\n{self.portrait()}")
        self.wait_ready()
        until(lambda: not self.workers(), "the workers to leave", self.portrait)
        until(lambda: not self.rows("SELECT 1 FROM outbox"), "the batches", self.portrait)
        last = self.rows("SELECT coalesce(max(seq), 0) FROM events")[0][0]
        until(
            lambda: (self.heard[-1]["seq"] if self.heard else 0) >= last,
            "the subscriber to hear",
            self.portrait,
        )

    def _open(self, ids: list[str]) -> list[str]:
        rows = {row["id"]: row["status"] for row in self.rows("SELECT id, status FROM tasks")}
        return [f"{id} {rows.get(id)}" for id in ids if rows.get(id) in ("pending", "running", None)]

    def started(self, id: str) -> bool:
        """Return True if an attempt at a task has started, by the log."""
        query = "SELECT 1 FROM events WHERE type = 'background_task_started' AND json_extract(body, '$.taskId') = ?"
        return bool(self.rows(query, id))

    def check(self) -> None:
        """I1 to I7, of all that ever happened here. Raises Violation."""
        events = [dict(row) | json.loads(row["body"]) for row in self.rows("SELECT * FROM events ORDER BY seq")]
        self._check_heard(events)
        check_moves(events, {row["id"]: dict(row) for row in self.rows("SELECT * FROM tasks")})
        check_batches(events)
        self._check_running()
        self._check_words()

    def idle(self) -> Effort:
        """I8: what goes on where nothing does."""
        efforts = (self._watch_idle() for _ in range(QUIET_TRIES))
        effort = Effort()
        for effort in efforts:
            if not effort.excuse:
                break
        return effort

    def _watch_idle(self) -> Effort:
        before = {pid: effort_of(pid) for pid in self.ours()}
        time.sleep(QUIET)
        efforts = [(effort_of(pid), was) for pid, was in before.items() if not is_dead(pid)]
        return Effort(*(max((now[part] - was[part] for now, was in efforts), default=0) for part in (0, 1)))

    def _check_heard(self, events: list[dict[str, Any]]) -> None:
        heard, there = [event["seq"] for event in self.heard], [event["seq"] for event in events]
        if heard != there:
            raise Violation(f"I7: a subscriber heard {_difference(heard, there)}")

    def _check_running(self) -> None:
        running = self.rows("SELECT id, agent, owner FROM tasks WHERE status = 'running'")
        if running:
            raise Violation(f"I6: still running: {[tuple(row) for row in running]}")
        if held := self.rows("SELECT id, owner, held FROM tasks WHERE held IS NOT NULL"):
            raise Violation(f"I6: still held: {[tuple(row) for row in held]}")
        if left := self.tasks_processes():
            raise Violation(f"I5: left behind: {left}")
        until(lambda: not self._worker_files(), "the files of dead workers to go", lambda: self._worker_files())

    def _worker_files(self) -> list[str]:
        """Files of workers that are gone; of one that died before it reported they stay until the next start."""
        known = {str(row["number"]) for row in self.rows("SELECT number FROM processes")}
        names = [path.name for path in (self.home.folder / "output").glob("[cw]*-*")]
        return [name for name in names if re.split("[-.]", name)[1] not in known]

    def _check_words(self) -> None:
        """A role may be killed; it never breaks."""
        words = self.home.log.read_text()
        new, self._log = words[self._log :], len(words)
        if "Traceback" in new:
            raise Violation(f"a role broke: {new[new.index('Traceback') :][:3000]}")


#: A task's life as its events tell it: the state and the event, and what it is then.
LIFE = {
    ("pending", "started"): "running",
    ("running", "retrying"): "pending",
    ("running", "completed"): "ended",
    ("pending", "completed"): "ended",
}


def check_moves(events: list[dict[str, Any]], tasks: dict[str, dict[str, Any]]) -> None:
    """I2, I3, I4: what the log tells of each task is a legal life; and of each group, that one ran at a time."""
    states = dict.fromkeys(tasks, "pending")
    running: Counter[str] = Counter()
    for event in (event for event in events if "taskId" in event):
        id, group = event["taskId"], tasks[event["taskId"]]["limit_group"]
        was, states[id] = states[id], _lived(event, states[id])
        running[group] += (states[id] == "running") - (was == "running")
        if running[group] > 1:
            raise Violation(f"I4: {running[group]} of {group} at once (seq {event['seq']})")
    for id, state in states.items():
        if (tasks[id]["completed_at"] is not None) != (state == "ended"):
            raise Violation(f"I3: {id} is {tasks[id]['status']}, its events say {state}")


def _lived(event: dict[str, Any], state: str) -> str:
    kind = event["type"].rpartition("_")[2]
    if (state, kind) not in LIFE:
        raise Violation(f"I2: {event['taskId']} was {state}, then {kind} (seq {event['seq']})")
    return LIFE[state, kind]


def check_batches(events: list[dict[str, Any]]) -> None:
    """Each end of a task with a parent is told in exactly one batch of that parent."""
    ends = Counter((event["parent"], event["taskId"]) for event in events if _is_end(event) and event["parent"])
    told = Counter(
        (event["parent"], task)
        for event in events
        if event["type"] == "background_tasks_notification"
        for task in event["taskIds"]
    )
    if ends != told:
        raise Violation(f"I7: ends without a batch {ends - told}, told too often {told - ends}")


def _is_end(event: dict[str, Any]) -> bool:
    return bool(event["type"] == "background_task_completed")


def _difference(heard: list[int], there: list[int]) -> str:
    more, less = Counter(heard) - Counter(there), Counter(there) - Counter(heard)
    return f"too much {dict(more)}, too little {dict(less)}, in order: {heard == sorted(heard)}"


class Said(NamedTuple):
    """What a command came to: its exit code, negative for a signal, and what it wrote."""

    code: int
    stdout: str
    stderr: str


def _whole(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


class Play:
    """One scene in a house, with one order."""

    def __init__(self, house: House, order: Order) -> None:
        """Play there; `arm` makes the order known."""
        self.house, self.order = house, order
        self.effects = house.project / f"{order.token}.effects"
        self.go = house.project / f"{order.token}.go"
        self.allowed: dict[str, set[tuple[str, str | None]]] = {}
        self.retries: dict[str, int] = {}
        #: How each task may end if its worker is not killed.
        self.ends: dict[str, set[tuple[str, str | None]]] = {}
        #: Tasks that may be interrupted while they run: that try does not count.
        self.interrupted: set[str] = set()

    @property
    def victim(self) -> str:
        """The role that is to die."""
        return (self.order.kill or "").partition(" ")[0]

    def arm(self) -> None:
        """From now on failpoints count."""
        self.house.order(self.order)

    def job(self, kind: str) -> list[str]:
        """A command that writes down that it ran."""
        return [sys.executable, "-I", "-S", str(JOB), kind, str(self.effects), str(self.go)]

    def short_job(self, kind: str) -> list[str]:
        """Return the command of a task that is to run in a series."""
        return ["/bin/sh", str(SHORT_JOB), kind, str(self.effects), str(self.go)]

    def launch(self, *ends: tuple[str, str | None], **fields: Any) -> str:
        """Launch, as somebody who is not killed; how it may end."""
        id = self.house.queue.launch(self._input(fields)).id
        self.expect(id, *ends, retries=fields.get("retries", 0))
        return id

    def launch_many(self, tasks: list[dict[str, Any]], *ends: tuple[str, str | None]) -> list[str]:
        """Launch tasks in one transaction, so that they are ready at the same time."""
        found = [launched.id for launched in self.house.queue.launch_many([self._input(fields) for fields in tasks])]
        for id, fields in zip(found, tasks, strict=True):
            self.expect(id, *ends, retries=fields.get("retries", 0))
        return found

    def _input(self, fields: dict[str, Any]) -> LaunchInput:
        slot = {"CRASH_SLOT": fields.get("concurrencyKey", "slot")}
        document = {"cwd": str(self.house.project), "parentSessionId": self.order.token, "env": slot, **fields}
        return LaunchInput.from_json(document)

    def expect(self, id: str, *ends: tuple[str, str | None], retries: int = 0) -> None:
        """Say how a task may end; one whose worker is killed may be lost."""
        lost = {("error", "lost")} if self.victim in ("bb-worker", "bb-forkserver's-child") else set()
        dead = {("error", "signal")} if self.victim in ("bb-runner", "bb-worker's-child") else set()
        self.allowed[id] = {*ends, *lost, *dead}
        self.ends[id] = {*ends}
        self.retries[id] = retries

    def command(self, *words: str, stdin: str = "") -> Said:
        """A command line, by somebody who says it again when it was killed."""
        while True:
            done = self.command_once(*words, stdin=stdin)
            if done.code != -signal.SIGKILL:
                return done

    def command_once(self, *words: str, stdin: str = "") -> Said:
        """A command line. Raises Violation where it broke."""
        with ExitStack() as files:
            read, *write = (files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3))
            read.write(stdin)
            read.seek(0)
            code = self.house.start(read, *write, *words).wait(PATIENCE)
            said = Said(code, *(_whole(file) for file in write))
        if "Traceback" in said.stderr:
            raise Violation(f"{words} broke: {said.stderr}")
        return said

    def ask(self, method: str, **params: Any) -> Any:
        """A call of the bus, by somebody who asks again when the bus went away."""
        until_at = time.monotonic() + PATIENCE
        while True:
            try:
                with Client(self.house.home, patience=PATIENCE) as client:
                    return client.call(method, **params)
            except BackburnerError as error:
                if type(error).__name__ != "Disconnected" or time.monotonic() > until_at:
                    raise

    def task(self, id: str) -> Task:
        """As it is now."""
        return self.house.queue.get(id)

    def until_runs(self, id: str) -> None:
        """Until its job has written down that it runs, or it has ended after all."""
        until(lambda: self.runs(id) or self.task(id).status.ended, f"{id} to run", self.house.portrait)

    def runs(self, id: str) -> list[str]:
        """The attempts at a task that came to do something."""
        lines = self.effects.read_text().splitlines() if self.effects.exists() else []
        return [line for line in lines if line.split()[0] == id]

    def finish(self) -> None:
        """Wait until all is over, then look. Raises Violation."""
        house = self.house
        house.settle(self.allowed)
        house.order(None)
        house.check()
        for id in self.allowed:
            self._check(id)
        self._check_lost()

    def _check_lost(self) -> None:
        """A process that dies takes one task with it at most; at some edges none."""
        tasks = [self.task(id) for id in self.allowed]
        lost = [task for task in tasks if (task.status.value, task.error_kind) not in self.ends[task.id]]
        harmless = any(fnmatchcase(self.order.kill or "", edge) for edge in HARMLESS)
        if len(lost) > (0 if harmless else 1):
            raise Violation(f"lost by one death: {[(task.id, task.error) for task in lost]}")

    def _check(self, id: str) -> None:
        task, runs = self.task(id), self.runs(id)
        if (task.status.value, task.error_kind) not in self.allowed[id]:
            raise Violation(f"{id} is {task.status} ({task.error_kind}: {task.error}), not {self.allowed[id]}")
        if any("CROWDED" in line for line in runs):
            raise Violation(f"I4: {id} ran beside another one: {runs}")
        if task.agent != "external":
            self._check_runs(task, runs)

    def _check_runs(self, task: Task, runs: list[str]) -> None:
        """What its attempts did is what the log says of them."""
        id = task.id
        if runs and not self.house.started(id):
            raise Violation(f"I3: {id} never started, and did {runs}")
        tries = {tuple(line.split()[1 : 3 if id in self.interrupted else 2]) for line in runs}
        if len(runs) > self.retries[id] + 1 + (id in self.interrupted) or len(tries) < len(runs):
            raise Violation(f"{id} ran too often: {runs}")
        if task.status.value == "completed" and str(task.attempt) not in [line.split()[1] for line in runs]:
            raise Violation(f"{id} is completed after attempt {task.attempt} and did {runs}")


def until(holds: Callable[[], object], what: str, tell: Callable[[], object] = lambda: "") -> None:
    """Wait for it. Raises Violation."""
    end = time.monotonic() + PATIENCE
    nap = 0.002
    while not holds():
        if time.monotonic() > end:
            raise Violation(f"waited {PATIENCE:g} s for {what}; {tell()}")
        time.sleep(nap)
        nap = min(nap * 1.5, 0.05)


def _bears(process: Path, marks: tuple[bytes, ...]) -> bool:
    try:
        if is_dead(int(process.name)):
            return False
        return (
            marks[0] in (process / "environ").read_bytes().split(b"\0")
            or marks[1] in (process / "cmdline").read_bytes()
        )
    except OSError:
        return False


def is_dead(pid: int) -> bool:
    """Whether a process is gone; a zombie is."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _waits(pid: int) -> str:
    """What the kernel knows of what a process does."""
    with suppress(OSError):
        return f"{Path(f'/proc/{pid}/wchan').read_text()} {Path(f'/proc/{pid}/syscall').read_text().strip()}"
    return ""


def effort_of(pid: int) -> Effort:
    """What a process has done so far."""
    with suppress(OSError):
        used = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
        words = Path(f"/proc/{pid}/status").read_text().split()
        return Effort(used / 1e9, int(words[words.index("voluntary_ctxt_switches:") + 1]))
    return Effort()


def cmdline(pid: int) -> str:
    """What `ps -o args` shows; empty for one that is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def comm(pid: int) -> str:
    """What `ps -o comm` shows; empty for one that is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
