"""What commands show on a terminal, taken from tmux, in a state directory whose tasks are always the same."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Self

from backburner.ipc.model.claim import Settlement
from backburner.ipc.model.task import TaskStatus
from tests.helpers.blackbox import ROOT, Place
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually

#: The captures, by name.
FOLDER = ROOT / "tests" / "data" / "screens"
#: The sizes of the terminals: columns and lines.
SIZES = ((60, 15), (80, 24), (200, 50))
#: Seconds to wait for a screen.
PATIENCE = 30.0

MINUTE, HOUR = 60_000, 3_600_000

#: What differs from one capture to the next, and what stands for it.
_CHANGING = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d", "YYYY-MM-DD hh:mm"),
    (r"\d\d:\d\d:\d\d", "hh:mm:ss"),
    (r"pid \d+", "pid N"),
    (r"(?m)^\d+ +(?=build )", "N       "),
    (r"(\d+\.)?\d+ [kM]B", "N MB"),
    (r"waiting \d+ s", "waiting N s"),
)


def has_tmux() -> bool:
    """Return True if tmux is installed."""
    return shutil.which("tmux") is not None


def file_of(name: str, size: tuple[int, int]) -> Path:
    """Return the file of a capture."""
    return FOLDER / f"{name}-{size[0]}x{size[1]}.txt"


def task_id(number: int) -> str:
    """Return the ID of a task of the scene."""
    return f"bg-{number:08x}-0000-4000-8000-000000000000"


class Screen(NamedTuple):
    """A command, and the text that is shown when its screen is complete."""

    words: tuple[str, ...]
    ready: str = r"\[exit code \d+\]"


#: The screens that are kept.
SCREENS = {
    "list": Screen(("list",)),
    "list-watch": Screen(("list", "--watch"), "updated at"),
    "status": Screen(("status",)),
    "show": Screen(("show", task_id(0xE2))),
    "wait": Screen(("wait", task_id(0xA1), task_id(0xA2), task_id(0xB1)), r"2 running"),
    "run": Screen(("run", "-d", "Build the docs", "--", "sh", "-c", "echo one; echo two; exit 3")),
}


class Scene:
    """A state directory with tasks in all states, and its supervisor."""

    def __init__(self) -> None:
        self.place = Place.create("screen")
        self.place.configure("[model_concurrency]\ndocs = 1\n")
        _fill(self.place)
        self.place.check("up", "--detach")
        eventually(self._is_running, PATIENCE, "the start of the task")
        _set_times(self.place, 0xA3, -HOUR - 5 * MINUTE, -HOUR - 5 * MINUTE, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.place.remove()

    def capture(self, name: str) -> dict[tuple[int, int], str]:
        """Return the screen of a command at each size."""
        panes = {size: Pane(self.place, SCREENS[name], size) for size in SIZES}
        try:
            return {size: self._normalised(pane.complete()) for size, pane in panes.items()}
        finally:
            for pane in panes.values():
                pane.close()

    def _is_running(self) -> bool:
        return bool(self.place.rows("SELECT 1 FROM tasks WHERE id = ? AND status = 'running'", task_id(0xA3)))

    def _normalised(self, screen: str) -> str:
        text = screen.replace(str(self.place.project), "/home/me/project")
        for pattern, replacement in _CHANGING:
            text = re.sub(pattern, replacement, text)
        return "".join(f"{line.rstrip()}\n" for line in text.rstrip("\n").split("\n"))


class Pane:
    """A command in its own tmux server."""

    def __init__(self, place: Place, screen: Screen, size: tuple[int, int]) -> None:
        self._screen = screen
        self._environment = place.environment | {
            "TMUX_TMPDIR": str(place.project),
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "TZ": _noon(),
            "PAGER": "cat",
        }
        self._environment.pop("TMUX", None)
        self._tmux = ["tmux", "-u", "-L", f"{size[0]}-{id(self)}", "-f", "/dev/null"]
        line = f'{shlex.join(place.command(*screen.words))}; printf "[exit code %s]" $?; exec cat'
        self._call("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), "-c", str(place.project), line)

    def complete(self) -> str:
        """Return the screen when it is complete. Raises WaitTimeout."""

        def look() -> str | None:
            text = self._call("capture-pane", "-p")
            return text if re.search(self._screen.ready, text) else None

        return (
            eventually(look, PATIENCE, lambda: f"{self._screen.ready!r} in {self._call('capture-pane', '-p')!r}") or ""
        )

    def close(self) -> None:
        """End the command and its terminal."""
        self._call("kill-server")

    def _call(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], env=self._environment, capture_output=True, text=True, check=True)
        return done.stdout


def _noon() -> str:
    """Return a time zone in which it is between 12 and 13 o'clock, so that recent times have no date."""
    return f"TST{time.gmtime().tm_hour - 12:+d}"


def _fill(place: Place) -> None:
    """Create tasks in all states, except those that need a process."""
    with QueueDatabase(place.home, model_concurrency={"docs": 1}) as database:
        scene = _Tasks(place, database)
        scene.running(0xA1, key="anthropic/claude-opus-4", prompt="Review the authentication module\nand report.")
        scene.running(0xA2, key="docs", description="Translate the manual 日本語 🎉", prompt="…")
        scene.pending(0xB1, concurrency_key="docs", description="Build the docs again", command=("make", "docs"))
        scene.pending(0xB2, after=(task_id(0xB1),), command=("make", "publish"))
        scene.pending(0xB3, delay_ms=24 * HOUR, description="Nightly backup", command=("backup",))
        scene.pending(0xA3, concurrency_key="build", description="Compile the kernel", command=("sleep", "3600"))
        scene.ended(0xE1, ("make", "test"))
        scene.ended(0xE2, ("cargo", "build", "--release"), error_kind="exit", exit_code=101, error="exit code 101")
        scene.ended(0xE3, ("./fuzz", "--minutes", "5"), error_kind="signal", signal=11, error="killed by SIGSEGV")
        scene.ended(0xE4, ("sh", "-c", " && ".join(["./configure", *["make -j4 check"] * 9])))
    _change(place, 0xE2, attempt=3, max_attempts=3)
    _change(place, 0xA1, progress="7 tool calls: Read")
    for number, queued, started, ended in (
        (0xA1, -127, -125, None),
        (0xA2, -61, -61, None),
        (0xB1, -183, None, None),
        (0xB2, -183, None, None),
        (0xB3, -183, None, None),
        (0xE1, -30, -30, -29),
        (0xE2, -31, -31, -30),
        (0xE3, -50, -45, -40),
        (0xE4, -26 * 60, -26 * 60, -25 * 60),
    ):
        _set_times(place, number, *(None if at is None else at * MINUTE for at in (queued, started, ended)))


class _Tasks:
    """Creates tasks whose processes are not needed."""

    def __init__(self, place: Place, database: QueueDatabase) -> None:
        self._folder, self._database = str(place.project), database

    def pending(self, number: int, **fields: Any) -> None:
        self._database.launch(id=task_id(number), cwd=self._folder, **fields)

    def running(self, number: int, key: str, **fields: Any) -> None:
        self.pending(number, agent="external", concurrency_key=key, **fields)
        assert self._database.claim(key, owner=None) is not None

    def ended(self, number: int, command: Sequence[str], **error: Any) -> None:
        self.pending(number, command=tuple(command))
        claimed = self._database.claim("command")
        assert claimed is not None
        status = TaskStatus.ERROR if error else TaskStatus.COMPLETED
        self._database.queue.settle(Settlement(number=claimed.number, claim=claimed.claim, status=status, **error))


def _set_times(place: Place, number: int, queued: int | None, started: int | None, ended: int | None) -> None:
    """Set the times of a task, in milliseconds from now on. The durations until now do not end near a full minute."""
    now = time.time_ns() // 1_000_000 - 15_000
    queued_at, started_at, completed_at = (None if at is None else now + at for at in (queued, started, ended))
    _change(place, number, queued_at=queued_at, started_at=started_at, completed_at=completed_at)


def _change(place: Place, number: int, **columns: object) -> None:
    """Change columns of a task for which no command exists."""
    names = ", ".join(f"{name} = ?" for name in columns)
    with closing(sqlite3.connect(place.home / "backburner.db", timeout=10, isolation_level=None)) as connection:
        connection.execute(f"UPDATE tasks SET {names} WHERE id = ?", (*columns.values(), task_id(number)))
