"""One peer in a section: its workers, its enqueuing program, and the file in which its no-ops say that they ran.

A peer's time ends with its last call, ours with the last end told: that favours the peer. While others have their turn
its processes are stopped, so that its polling is nobody's burden.
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

from scripts.bench_parts.errands import Errand
from scripts.bench_parts.harness import Absent, Contestant, Figures
from scripts.bench_parts.ours import cpu_of
from scripts.bench_parts.peers.environment import Postgres, Redis, python, version
from scripts.trials.outside import ROOT

#: Seconds between two looks at the file, and until a round that does not end is given up.
NAP, PATIENCE = 0.002, 120.0


@dataclass(frozen=True)
class Spec:
    """How a peer is run: `{python}`, `{bin}`, `{url}` are filled into each word of its workers' commands."""

    name: str
    package: str
    settings: str
    workers: tuple[str, ...]
    #: Starts what stands behind it.
    server: Callable[[], Redis | Postgres] | None = None
    #: Of its tasks, a share of what others have in a round: it is slow.
    share: float = 1.0
    environment: dict[str, str] = field(default_factory=dict)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


class Peer(Contestant):
    """A Python queue."""

    def __init__(self, spec: Spec, count: int) -> None:
        super().__init__(spec.name)
        self._spec, self._count = spec, round(count * spec.share)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._server: Redis | Postgres | None = None
        self._enqueuer: Errand | None = None

    def open(self) -> None:
        """Install it the first time, start its server and its workers, have them work once. Raises Absent."""
        interpreter = python()
        self._folder = tempfile.TemporaryDirectory(prefix="bb-peer-", dir="/tmp")
        self._told = Path(self._folder.name) / "told"
        self._told.touch()
        self._server = self._spec.server() if self._spec.server else None
        url = self._server.url if self._server else ""
        server = f", {type(self._server).__name__.lower()} with {self._server.settings}" if self._server else ""
        self.settings = f"{version(self._spec.package)}, {self._spec.settings}{server}"
        places = {"BENCH_FOLDER": self._folder.name, "BENCH_URL": url, "BENCH_TOLD": str(self._told)}
        path = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(interpreter).parent}:{os.environ['PATH']}"}
        self._environment = {**os.environ, **places, **path, **self._spec.environment}
        module = f"scripts.bench_parts.peers.app_{self._spec.package}"
        self._enqueuer = Errand(f"{module}:enqueuer", environment=self._environment, python=interpreter)
        self._enqueuer.call(parent="nobody", count=0)  # it has made what the workers need
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
        """A fresh parent."""
        self._signal(signal.SIGCONT)
        cpu = self._cpu()
        rate = self._drain(f"round-{number}", self._count)
        spent = 1000 * (self._cpu() - cpu) / self._count
        self._signal(signal.SIGSTOP)
        return {"rate": rate, "CPU ms a task": spent}

    def _cpu(self) -> float:
        """Of its workers, its server and the enqueuing program; each but the last leads a group of processes."""
        assert self._enqueuer is not None, "it was opened"
        leaders = {one.pid for one in self._processes} | ({self._server.pid} if self._server else set())
        members = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _group(pid) in leaders]
        return sum(sum(cpu_of(pid)) for pid in [*members, self._enqueuer.pid])

    def _drain(self, parent: str, count: int) -> float:
        began, calls = self._calls(parent, count)
        return count / (max(calls) - began)

    def _calls(self, parent: str, count: int) -> tuple[float, list[float]]:
        """Enqueue so many: when that began, and when each was called."""
        assert self._enqueuer is not None, "it was opened"
        self._told.write_bytes(b"")
        enqueued = self._enqueuer.call(parent=parent, count=count)
        until = time.monotonic() + PATIENCE
        while self._told.read_bytes().count(b"\n") < count:
            if time.monotonic() > until:
                raise Absent(f"only {self._told.read_bytes().count(10)} of {count} calls were made in {PATIENCE:g} s")
            time.sleep(NAP)
        lines = [line.split() for line in self._told.read_text().splitlines()]
        if sorted(token for _, token in lines) != sorted(f"{parent}-{place}" for place in range(count)):
            raise RuntimeError(f"{self.name} lost or repeated a call")
        return enqueued["began"], [float(at) for at, _ in lines]

    def _signal(self, number: signal.Signals) -> None:
        for one in self._processes:
            if one.poll() is None:
                os.killpg(one.pid, number)

    def close(self) -> None:
        """End all of it."""
        if self._enqueuer is not None:
            self._enqueuer.close()
        self._signal(signal.SIGKILL)
        for one in self._processes:
            one.wait()
        if self._server is not None:
            self._server.close()
