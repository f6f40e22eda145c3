"""Latencies of an idle system: from a launch to the first instruction, and from the end to the subscriber."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from scripts.bench_parts.bare import EVENT, Store, make
from scripts.bench_parts.harness import Contestant, Figures, Goal, Section, Size
from scripts.bench_parts.ours import BenchHome, EndSubscriber
from scripts.bench_parts.peers.idle import IdlePeer, IdleSpooler
from scripts.bench_parts.peers.specs import QUEUES
from scripts.bench_parts.remote import Remote
from scripts.bench_parts.timing import GAP, PROGRAM, Fifo, percentiles

#: A callable that does the same as the program.
CALL = "def mark(path):\n    with open(path, 'wb', 0) as file:\n        file.write(b'\\n')\n"


class Samples(NamedTuple):
    """Launches in an idle home, one after another."""

    home: BenchHome
    launcher: Remote
    fifo: Fifo
    gap: float = GAP

    def work(self) -> dict[str, object]:
        """Return the fields that define the task's work."""
        return {"command": [*PROGRAM, str(self.fifo.path)]}

    def take(self, parent: str, count: int) -> Figures:
        """Return the percentiles of `count` launches."""
        subscriber = self.home.subscriber(parent)
        task = self.home.task(**self.work())
        starts, ends = zip(*(self._one(subscriber, parent, task) for _ in range(count)), strict=True)
        subscriber.close()
        return {**percentiles("start", starts), **percentiles("event", ends)}

    def _one(self, subscriber: EndSubscriber, parent: str, task: dict[str, object]) -> tuple[float, float]:
        time.sleep(self.gap)
        with self.fifo as fifo:
            self.launcher.start(parent=parent, count=1, chunk=1, task=task)
            began, ended = fifo.wait(), fifo.wait()
            delivered, _ = subscriber.ends(1)
        return began - self.launcher.result()["began"], delivered - ended


class CallSamples(Samples):
    """Launches of Python callables."""

    def work(self) -> dict[str, object]:
        """Return a call that does what the program does."""
        return {"call": "mark:mark", "args": [str(self.fifo.path)]}


class Ours(Contestant):
    """Backburner: tasks are launched by the Python package, events are received over the socket."""

    def __init__(self, count: int, name: str, **settings: object) -> None:
        super().__init__(name)
        self._count, self._options = count, settings

    def open(self) -> None:
        """Start the supervisor, and workers that stay."""
        self._home = BenchHome.with_settings(**self._options)
        self.settings = self._home.description
        self._fifo = Fifo(self._home.project)
        (self._home.project / "mark.py").write_text(CALL)
        self._home.up()
        self._launcher = self._home.launcher()
        self._samples("warm-up", 3)

    def round(self, number: int) -> Figures:
        """Launch tasks one after another."""
        return self._samples(f"round-{number}", self._count)

    def _samples(self, parent: str, count: int) -> Figures:
        return self._kind(self._home, self._launcher, self._fifo, self._gap).take(parent, count)

    #: The kind of the launches.
    _kind: type[Samples] = Samples

    #: Seconds between two launches.
    _gap = GAP

    def close(self) -> None:
        """End the home."""
        self._home.close()


class Calls(Ours):
    """Launches of Python callables."""

    _kind = CallSamples


class NewWorker(Ours):
    """Launches when the last worker has exited already."""

    _gap = 0.5


class Bare(Contestant):
    """The raw limits: a pipe that wakes a spawning process; a commit and a round trip over a socket."""

    def __init__(self, count: int) -> None:
        super().__init__("bare", "pipe wake + posix_spawn; one commit (synchronous = NORMAL) + one socket round trip")
        self._count = count

    def open(self) -> None:
        """Start the two processes."""
        self._folder = tempfile.TemporaryDirectory(prefix="bb-bare-", dir="/tmp")
        folder = Path(self._folder.name)
        self._fifo = Fifo(folder)
        make(folder / "bare.db")
        self._store = Store(str(folder / "bare.db"), "NORMAL")
        self._synced = Store(str(folder / "bare.db"), "FULL")
        os.mkfifo(folder / "wake.fifo")
        self._remotes = [Remote("scripts.bench_parts.latency:spawner", str(folder / "wake.fifo"), str(self._fifo.path))]
        self._remotes.append(Remote("scripts.bench_parts.latency:echo", str(folder / "echo.sock")))
        for one in self._remotes:
            one.start()
        self._wake = os.open(folder / "wake.fifo", os.O_WRONLY)
        self._line = _connected(folder / "echo.sock")

    def round(self, number: int) -> Figures:
        """Measure each limit."""
        starts = [self._spawned() for _ in range(self._count)]
        events = [_timed(self._commit_and_send) for _ in range(self._count)]
        synced = [_timed(lambda: _commit(self._synced)) for _ in range(self._count)]
        return {**percentiles("start", starts), **percentiles("event", events), **percentiles("synced commit", synced)}

    def _spawned(self) -> float:
        time.sleep(GAP)
        with self._fifo as fifo:
            began = time.monotonic()
            os.write(self._wake, b"1")
            started = fifo.wait()
            fifo.wait()
        return started - began

    def _commit_and_send(self) -> None:
        _commit(self._store)
        self._line.sendall(b"1")
        self._line.recv(1)

    def close(self) -> None:
        """End the processes."""
        os.close(self._wake)
        self._line.close()
        for one in self._remotes:
            one.close()
        self._folder.cleanup()


def _connected(path: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + 30
    while True:
        try:
            line.connect(str(path))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return line


def _commit(store: Store) -> None:
    with store.write() as connection:
        connection.execute(EVENT, ("completed", time.time_ns() // 1_000_000, "latency", "{}"))


def _timed(action: Callable[[], None]) -> float:
    time.sleep(GAP)
    began = time.monotonic()
    action()
    return time.monotonic() - began


def spawner(wake: str, fifo: str) -> Callable[..., Any]:
    """Return a remote function that spawns the program for each byte."""

    def spawn() -> None:
        descriptor = os.open(wake, os.O_RDONLY)
        while os.read(descriptor, 1):
            program = [*PROGRAM, fifo]
            os.waitpid(os.posix_spawn(program[0], program, os.environ, setsid=True), 0)

    return spawn


def echo(path: str) -> Callable[..., Any]:
    """Return a remote function that sends back each byte."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def send_back() -> None:
        line, _ = server.accept()
        while piece := line.recv(1):
            line.sendall(piece)

    return send_back


def contestants(size: Size) -> list[Contestant]:
    """Return warm workers, new workers, full durability, the raw limits and the other systems."""
    count = size.pick(100, 20)
    found: list[Contestant] = [
        Ours(count, "normal", durability="normal"),
        Bare(count),
        Calls(count, "call", durability="normal"),
        Ours(count, "full", durability="full"),
        NewWorker(size.pick(20, 5), "new worker", durability="normal", worker_idle_s=0.1),
    ]
    peers = [IdleSpooler(count), *(IdlePeer(spec, count) for spec in QUEUES)]
    return [*found, *peers] if size.peers else found


def _goals() -> tuple[Goal, ...]:
    def at_most(what: str, ours: str, bound: float, *against: str, enough: float | None = None) -> Goal:
        return Goal(what, f"{ours}, ms", bound, tuple(f"{one}, ms" for one in against), False, enough)

    synced = "bare/synced commit"
    return (
        at_most("launch to first instruction of a command, p50", "normal/start p50", 2.3, "bare/start p50"),
        at_most("launch to call, p50", "call/start p50", 1.5, "bare/start p50"),
        at_most(
            "launch to first instruction against task-spooler, p50", "normal/start p50", 1.2, "task-spooler/start p50"
        ),
        at_most("launch to first instruction, p99", "normal/start p99", 3.0, "bare/start p99", enough=10.0),
        at_most("the same with a new worker, p50", "new worker/start p50", 60.0),
        at_most("end to its event, p50", "normal/event p50", 3.0, "bare/event p50"),
        at_most("end to its event, p99", "normal/event p99", 3.0, "bare/event p99", enough=10.0),
        at_most("launch to first instruction, full, p50", "full/start p50", 1.5, "normal/start p50", f"{synced} p50"),
        at_most("launch to first instruction, full, p99", "full/start p99", 1.5, "normal/start p99", f"{synced} p99"),
        at_most("end to its event, full, p50", "full/event p50", 1.5, "normal/event p50", f"{synced} p50"),
        at_most("end to its event, full, p99", "full/event p99", 1.5, "normal/event p99", f"{synced} p99"),
    )


SECTION = Section("latency", "latencies of an idle system, ms", contestants, _goals())
