"""`restart`: another supervisor, the same tasks, and nobody misses a word."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from backburner.ipc.api import control
from backburner.ipc.bus.client import Client
from backburner.ipc.errors import NoSupervisor
from backburner.ipc.store.sqlite.file.database import SCHEMA
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import FOREVER, TIMEOUT, Instance
from tests.helpers.journals import wait_for_numbers
from tests.helpers.places import IPC
from tests.helpers.processes import are_gone, is_alive, kill
from tests.helpers.wait import eventually

#: Runs until a file appears, then ends with what is in it.
UNTIL = """
import os, sys, time
while not (os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1])):  # written whole
    time.sleep(0.02)
print(open(sys.argv[1]).read())
"""


def until(path: Path) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", UNTIL, str(path))


class Ear(threading.Thread):
    """A subscriber that remembers what it heard."""

    def __init__(self, instance: Instance, parent: str) -> None:
        super().__init__(daemon=True)
        self.client = Client(instance.home)
        self.heard: list[tuple[int, str]] = []
        self._parent = parent

    def run(self) -> None:
        for event in self.client.events(self._parent, after=0):
            self.heard.append((event.seq, event.type))

    def ends(self) -> int:
        return sum(kind == "background_task_completed" for _, kind in self.heard)


def test_there_is_nothing_to_restart_where_nothing_runs(instance: Instance):
    with pytest.raises(NoSupervisor):
        control.restart(instance.home)
    assert instance.run("restart").returncode == 4


def test_five_tasks_run_on_and_their_parent_misses_nothing(instance: Instance, tmp_path: Path):
    instance.up(**BRISK, default_concurrency=8)
    ids = [instance.launch(*until(tmp_path / "go"), parentSessionId="p") for _ in range(5)]
    pids = [instance.pid(id) for id in ids]
    ear = Ear(instance, "p")
    ear.start()
    eventually(lambda: len(ear.heard) >= 5, TIMEOUT)
    instance.check("restart")
    assert all(map(is_alive, pids))
    assert {worker["adopted"] for worker in instance.status()["workers"] if worker["taskId"]} == {True}
    (tmp_path / "go").write_text("went")
    assert [instance.until(id).result for id in ids] == ["went"] * 5
    last = instance.launch("true", parentSessionId="p")
    instance.until(last)
    eventually(lambda: ear.ends() == 6, TIMEOUT)
    told = [(event["seq"], event["type"]) for event in instance.events("p")]
    eventually(lambda: ear.heard[-1][0] >= told[-1][0], TIMEOUT)
    assert ear.heard[: len(told)] == told
    ear.client.close()
    ear.join()


def test_the_process_stays_and_all_it_needs_is_new(live: Instance):
    before = {role: live.pid_of(role) for role in ("supervisor", "forkServer", "flusher")}
    since = live.status()["supervisor"]["startedAt"]
    live.check("restart")
    after = {role: live.pid_of(role) for role in before}
    assert after["supervisor"] == before["supervisor"]
    assert live.status()["supervisor"]["startedAt"] > since
    assert after["forkServer"] != before["forkServer"]
    assert after["flusher"] != before["flusher"]
    eventually(lambda: are_gone([before["forkServer"], before["flusher"]]), TIMEOUT)
    assert live.result("echo", "hi").result == "hi"


def test_what_flags_said_is_said_to_the_successor(instance: Instance):
    instance.up(**BRISK, default_concurrency=7)
    instance.check("restart")
    instance.result("true")
    assert instance.key("command")["limit"] == 7


def test_launches_are_accepted_all_the_while(instance: Instance):
    instance.up(**BRISK, default_concurrency=8)
    over, ids = threading.Event(), []

    def launch() -> None:
        with Instance(instance.folder) as other:
            while not over.is_set():
                ids.append(other.launch("true"))
                over.wait(0.02)

    launcher = threading.Thread(target=launch)
    launcher.start()
    try:
        instance.check("restart")
    finally:
        over.set()
        launcher.join()
    assert len(ids) > 5
    assert {instance.until(id).status for id in ids} == {"completed"}


def test_an_adopted_task_is_cancelled_after_a_restart(live: Instance):
    id = live.launch_sleeper()
    pid = live.pid(id)
    live.check("restart")
    live.check("cancel", id)
    assert are_gone([pid])
    assert live.task(id).status == "cancelled"


def test_the_old_fork_server_leaves_when_its_last_worker_has(live: Instance, tmp_path: Path):
    id = live.launch(*until(tmp_path / "go"))
    live.pid(id)
    fork_server = live.pid_of("forkServer")
    live.check("restart")
    assert is_alive(fork_server)
    (tmp_path / "go").write_text("on")
    live.until(id)
    eventually(lambda: not is_alive(fork_server), TIMEOUT)
    assert list(live.folder.glob("forkserver-*")) == []


BARE = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        code = 'import os, signal; open(%r, "w").write(f"{os.getpid()}\\\\n"); signal.pause()' % sys.argv[1]
        os.execve(sys.executable, [sys.executable, "-S", "-c", code], {})
    os._exit(0)
os.wait()
signal.pause()
"""


def test_a_worker_that_dies_under_the_old_fork_server_leaves_no_stray(live: Instance, tmp_path: Path):
    id = live.launch(sys.executable, "-S", "-c", BARE, str(tmp_path / "pid"))
    (stray,) = wait_for_numbers(tmp_path / "pid", 1)
    worker = live.worker_of(id)
    live.check("restart")
    kill(worker)
    task = live.until(id)
    assert (task.status, task.error_kind) == ("error", "lost")
    eventually(lambda: are_gone([stray]), TIMEOUT)


def test_a_restart_into_a_broken_configuration_is_refused_and_changes_nothing(live: Instance):
    (live.folder / "config.toml").write_text("nonsense = 1\n")
    pid, flusher = live.pid_of("supervisor"), live.pid_of("flusher")
    assert live.run("restart").returncode == 100
    assert (live.pid_of("supervisor"), live.pid_of("flusher")) == (pid, flusher)
    assert live.result("true").status == "completed"


def test_two_restarts_in_a_row_leave_nobody_behind(live: Instance):
    id = live.launch(*FOREVER)
    live.pid(id)
    for _ in range(2):
        live.check("restart")
    live.down(now=True)
    assert live.until(id).error_kind == "interrupted"
    eventually(lambda: list(live.folder.glob("forkserver-*")) == [], TIMEOUT)
    assert os.path.exists(live.folder / "backburner.db")


NEWER = '''

@migrations()
def schema_of_tomorrow(tables: Tables) -> None:
    """Another column, another table."""
    tables.execute("ALTER TABLE tasks ADD COLUMN invented TEXT DEFAULT 'tomorrow'")
    tables.execute("CREATE TABLE inventions (name TEXT PRIMARY KEY) STRICT")
'''


@pytest.fixture
def newer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command of a release of this program that has a newer schema."""
    root = tmp_path / "newer"
    shutil.copytree(IPC.parent, root / "backburner", ignore=shutil.ignore_patterns("__pycache__"))
    file = root / "backburner" / "ipc" / "store" / "sqlite" / "file"
    change(file / "database.py", f"SCHEMA = {SCHEMA}\n", f"SCHEMA = {SCHEMA + 1}\n")
    change(root / "backburner" / "ipc" / "api" / "control.py", "sys.path.append(root)", "sys.path.insert(0, root)")
    with (file / "migrations.py").open("a") as migrations:
        migrations.write(NEWER)
    path = f"import sys; sys.path.insert(0, {str(root)!r})"
    bootstrap = f"{path}; from backburner.supervisor.cli import main; sys.exit(main())"

    def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", bootstrap, "--home", str(home), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)

    return run


def change(path: Path, was: str, becomes: str) -> None:
    text = path.read_text()
    assert text.count(was) == 1
    path.write_text(text.replace(was, becomes))


def test_a_release_with_a_newer_schema_takes_over_while_tasks_run_on(
    instance: Instance, tmp_path: Path, newer: Callable[..., subprocess.CompletedProcess[str]]
):
    instance.up(**BRISK, default_concurrency=2)
    running = [instance.launch(*until(tmp_path / "go"), parentSessionId="p", retries=1) for _ in range(2)]
    pids = [instance.pid(id) for id in running]
    waiting = instance.launch("echo", "next", parentSessionId="p")
    restarted = newer(instance.folder, "restart")
    assert restarted.returncode == 0, restarted.stderr
    assert all(map(is_alive, pids))
    assert {worker["adopted"] for worker in instance.status()["workers"] if worker["taskId"]} == {True}
    old = instance.run("list")
    assert (old.returncode, "upgrade" in old.stderr) == (100, True)
    (tmp_path / "go").write_text("went")
    assert [instance.until(id).result for id in running] == ["went"] * 2
    assert instance.until(waiting).result == "next"
    launched = newer(instance.folder, "run", "--", "echo", "hi")
    assert (launched.returncode, launched.stdout) == (0, "hi\n"), launched.stderr
    assert sum(batch["count"] for batch in instance.batches("p", 3)) == 3
    assert all(len(instance.ends(id)) == 1 and instance.task(id).attempt == 1 for id in running)
    with closing(sqlite3.connect(instance.home.database)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (SCHEMA + 1,)
        assert raw.execute("SELECT DISTINCT invented FROM tasks").fetchall() == [("tomorrow",)]
    assert newer(instance.folder, "down").returncode == 0
