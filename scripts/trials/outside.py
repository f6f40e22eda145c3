"""What the siege scripts share: a home of their own, the command line, the bus and the processes, seen from outside.

Nothing here imports backburner: what is checked and what checks it have no code in common.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]

_BOOTSTRAP = "import sys; from backburner.supervisor.cli import main; sys.exit(main())"


class Seen(NamedTuple):
    """A living process of the home, as /proc shows it."""

    pid: int
    ticks: int
    state: str
    name: str
    marks: dict[str, str]

    @property
    def who(self) -> tuple[int, int]:
        """What tells it from every other process of this boot."""
        return self.pid, self.ticks


class Place:
    """A home in a folder of its own, and the tree of backburner that is used on it."""

    def __init__(self, name: str, tree: Path = ROOT) -> None:
        """Make the folder; nothing is started. Its path is short: a socket's path is."""
        self.project = Path(tempfile.mkdtemp(prefix=f"bb-{name}-", dir="/tmp")).resolve()
        self.home = self.project / ".backburner"
        self.tree = tree

    def snapshot(self) -> None:
        """Use a copy of the tree as it is now: whoever edits it meanwhile is no part of what is tried."""
        tree = self.project / "tree"
        for folder in ("ipc", "supervisor", "backburner"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(self.tree / folder, tree / folder, symlinks=True, ignore=ignore)
        self.tree = tree

    def patch(self, file: str, was: str, becomes: str) -> None:
        """Change the copy in one place. A place that is not there any more ends the script."""
        path = self.tree / file
        text = path.read_text()
        if self.tree == ROOT or text.count(was) != 1:
            raise SystemExit(f"{file} has not exactly one {was!r} to change")
        path.write_text(text.replace(was, becomes))

    def configure(self, text: str) -> None:
        """Write the home's configuration."""
        self.home.mkdir(0o700, exist_ok=True)
        path = self.home / "config.toml"
        path.write_text(text)
        path.chmod(0o600)

    @property
    def environment(self) -> dict[str, str]:
        """Far from the user's own settings and sessions, and on this tree whatever is installed."""
        kept = {name: value for name, value in os.environ.items() if not _is_foreign(name)}
        return kept | {
            "BACKBURNER_HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.project / "no-configuration"),
            "PYTHONPATH": str(self.tree),
        }

    def command(self, *words: str) -> list[str]:
        """The command line of that tree."""
        return [sys.executable, "-P", "-c", _BOOTSTRAP, *words]

    def module(self, name: str, *words: str) -> list[str]:
        """The command line of a module of this folder; `module_environment` goes with it."""
        return [sys.executable, "-P", "-m", f"scripts.trials.{name}", *words]

    @property
    def module_environment(self) -> dict[str, str]:
        """As `environment`, where also the modules of this folder are found; backburner is that tree's."""
        return self.environment | {"PYTHONPATH": os.pathsep.join([str(self.tree), str(ROOT)])}

    def run(self, *words: str, patience: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command. Raises TimeoutExpired."""
        return subprocess.run(
            self.command(*words),
            env=self.environment,
            cwd=self.project,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )

    def processes(self) -> list[Seen]:
        """All living processes that were started with this home in their environment."""
        mine = os.getpid()
        found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit() and int(name) != mine)
        return [one for one in found if one is not None and one.marks.get("BACKBURNER_HOME") == str(self.home)]

    def role(self, name: str) -> list[Seen]:
        """The living processes of a role."""
        return [one for one in self.processes() if one.name == f"bb-{name}"]

    def kill_all(self) -> None:
        """End whatever is left in this home, by number."""
        for _ in range(100):
            left = self.processes()
            if not left:
                return
            for one in left:
                send(one.pid, 9)
            nap(0.02)

    def remove(self) -> None:
        """End what is left and delete the folder."""
        self.kill_all()
        shutil.rmtree(self.project, ignore_errors=True)


def _is_foreign(name: str) -> bool:
    return name.startswith(("BACKBURNER_", "CLAUDE", "XDG_", "PYTHON")) or name == "NOTIFY_SOCKET"


def look(pid: int) -> Seen | None:
    """One process, or None if it is gone, a zombie, or not ours to read."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    name, rest = stat[stat.index(b"(") + 1 : stat.rindex(b")")], stat[stat.rindex(b")") + 2 :].split()
    if rest[0] in (b"Z", b"X"):
        return None
    pairs = (item.partition(b"=") for item in raw.split(b"\0") if item.startswith((b"BACKBURNER_", b"SIEGE_")))
    marks = {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}
    return Seen(pid, int(rest[19]), rest[0].decode(), os.fsdecode(name), marks)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0.0
    fields = stat[stat.rindex(b")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Bytes of memory that only this process has, its shared pages left out: what it would give back if it went."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    wanted = ("Private_Clean:", "Private_Dirty:")
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(wanted))


def descriptors(pid: int) -> int:
    """How many files a process holds open."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def send(pid: int, number: int) -> bool:
    """Send a signal; whether there was somebody."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def nap(seconds: float) -> None:
    """These scripts watch from outside, where there is nothing that would wake them."""
    time.sleep(max(0.0, seconds))


def wait_for(what: str, seconds: float, predicate: Callable[[], object]) -> None:
    """Look until it is true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not predicate():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        nap(0.05)


class Journal:
    """A file of JSON lines that several processes may write: each line is one write(2), so none is torn by a kill."""

    def __init__(self, path: Path) -> None:
        """Append to that file."""
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, what: str, **facts: Any) -> None:
        """Write one line, with the time (seconds of the system's monotonic clock)."""
        line = json.dumps({"what": what, "at": time.monotonic(), **facts}) + "\n"
        os.write(self._descriptor, line.encode())


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal. A last one without its end was not written as far as anybody knows."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        yield json.loads(line)


class Wire:
    """A connection to the bus that knows nothing but JSON lines. Raises OSError where the other end goes away."""

    def __init__(self, home: Path, patience: float = 10.0) -> None:
        """Connect; every wait ends after `patience` seconds with TimeoutError, which is an OSError."""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(patience)
        self._connect(str(home / "bus.sock"), time.monotonic() + patience)
        self._unread = b""
        self._number = 0

    def _connect(self, path: str, until: float) -> None:
        while True:
            try:
                return self.socket.connect(path)
            except BlockingIOError:  # more are at the door than it has room for
                if time.monotonic() > until:
                    raise
                nap(0.01)

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask, and wait for the answer: the whole of it, with `result` or `error`."""
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while (message := self.read()).get("id") != self._number:
            pass
        return message

    def read(self) -> dict[str, Any]:
        """The next message. Raises OSError at the end."""
        while b"\n" not in self._unread:
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionError("the bus hung up")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found
