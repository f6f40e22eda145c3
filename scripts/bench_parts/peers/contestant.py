"""Another system in a section: its workers, its enqueuing program, and the file in which its no-ops record their calls.

Its time ends with the last call, backburner's with the last end that is delivered, which favours the other system.
While others have their turns, its processes are stopped, so that its polling does not disturb them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scripts.bench_parts.harness import Absent, Contestant, Figures
from scripts.bench_parts.peers.environment import Postgres, Redis, python, version
from scripts.bench_parts.remote import Remote
from tests.helpers.blackbox import ROOT
from tests.helpers.processes import cpu_times

#: Seconds between two looks at the file, and after which a round is given up.
PAUSE, TIMEOUT = 0.002, 120.0


@dataclass(frozen=True)
class Spec:
    """How a system is run. `{python}`, `{url}` and `{module}` are replaced in its workers' commands."""

    name: str
    package: str
    settings: str
    workers: tuple[str, ...]
    #: Starts its server, if it needs one.
    server: Callable[[], Redis | Postgres] | None = None
    #: The share of the tasks of a round that a slow system runs.
    share: float = 1.0
    environment: dict[str, str] = field(default_factory=dict)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


class Peer(Contestant):
    """A Python queue under measurement."""

    def __init__(self, spec: Spec, count: int) -> None:
        super().__init__(spec.name)
        self._spec, self._count = spec, round(count * spec.share)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._server: Redis | Postgres | None = None
        self._enqueuer: Remote | None = None

    def open(self) -> None:
        """Install it once, start its server and its workers, and let them work. Raises Absent."""
        interpreter = python()
        self._folder = tempfile.TemporaryDirectory(prefix="bb-peer-", dir="/tmp")
        self._calls_file = Path(self._folder.name) / "calls"
        self._calls_file.touch()
        self._server = self._spec.server() if self._spec.server else None
        url = self._server.url if self._server else ""
        server = f", {type(self._server).__name__.lower()} with {self._server.settings}" if self._server else ""
        self.settings = f"{version(self._spec.package)}, {self._spec.settings}{server}"
        places = {"BENCH_FOLDER": self._folder.name, "BENCH_URL": url, "BENCH_CALLS": str(self._calls_file)}
        path = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(interpreter).parent}:{os.environ['PATH']}"}
        self._environment = {**os.environ, **places, **path, **self._spec.environment}
        module = f"scripts.bench_parts.peers.app_{self._spec.package}"
        self._enqueuer = Remote(f"{module}:enqueuer", environment=self._environment, python=interpreter)
        self._enqueuer.call(parent="", count=0)  # it creates what the workers need
        for command in self._spec.workers:
            self._processes.append(self._start(command.format(python=interpreter, url=url, module=module)))
        self._drain("warm-up", 20)
        self._signal(signal.SIGSTOP)

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            command.split(),
            env=self._environment,
            cwd=self._folder.name,
            stdout=quiet,
            stderr=quiet,
            start_new_session=True,
        )

    def round(self, number: int) -> Figures:
        """Drain the tasks of a new parent."""
        self._signal(signal.SIGCONT)
        cpu = self._cpu()
        rate = self._drain(f"round-{number}", self._count)
        spent = 1000 * (self._cpu() - cpu) / self._count
        self._signal(signal.SIGSTOP)
        return {"rate": rate, "CPU ms a task": spent}

    def _cpu(self) -> float:
        """Return the CPU of its workers and server, which lead process groups, and of the enqueuing program."""
        assert self._enqueuer is not None, "it was opened"
        leaders = {one.pid for one in self._processes} | ({self._server.pid} if self._server else set())
        members = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _group(pid) in leaders]
        return sum(sum(cpu_times(pid)) for pid in [*members, self._enqueuer.pid])

    def _drain(self, parent: str, count: int) -> float:
        began, calls = self._calls(parent, count)
        return count / (max(calls) - began)

    def _calls(self, parent: str, count: int) -> tuple[float, list[float]]:
        """Enqueue tasks; return when that began, and when each was called."""
        assert self._enqueuer is not None, "it was opened"
        self._calls_file.write_bytes(b"")
        enqueued = self._enqueuer.call(parent=parent, count=count)
        until = time.monotonic() + TIMEOUT
        while self._calls_file.read_bytes().count(b"\n") < count:
            if time.monotonic() > until:
                raise Absent(
                    f"only {self._calls_file.read_bytes().count(10)} of {count} calls were made in {TIMEOUT:g} s"
                )
            time.sleep(PAUSE)
        lines = [line.split() for line in self._calls_file.read_text().splitlines()]
        if sorted(token for _, token in lines) != sorted(f"{parent}-{place}" for place in range(count)):
            raise RuntimeError(f"{self.name} lost or repeated a call")
        return enqueued["began"], [float(at) for at, _ in lines]

    def _signal(self, number: signal.Signals) -> None:
        for one in self._processes:
            if one.poll() is None:
                os.killpg(one.pid, number)

    def close(self) -> None:
        """End all processes."""
        if self._enqueuer is not None:
            self._enqueuer.close()
        self._signal(signal.SIGKILL)
        for one in self._processes:
            one.wait()
        if self._server is not None:
            self._server.close()
