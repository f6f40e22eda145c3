"""`restart` replaces the supervisor. Tasks run on, and subscribers miss no event."""

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

#: Waits for a file, prints its text, and exits.
WAIT_FOR_FILE = """
import os, sys, time
while not (os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1])):  # written whole
    time.sleep(0.02)
print(open(sys.argv[1]).read())
"""


def wait_for_file(path: Path) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", WAIT_FOR_FILE, str(path))


class Subscriber(threading.Thread):
    """Receives and keeps the events of one parent."""

    def __init__(self, instance: Instance, parent: str) -> None:
        super().__init__(daemon=True)
        self.client = Client(instance.home)
        self.received: list[tuple[int, str]] = []
        self._parent = parent

    def run(self) -> None:
        for event in self.client.events(self._parent, after=0):
            self.received.append((event.seq, event.type))

    def ends(self) -> int:
        return sum(kind == "background_task_completed" for _, kind in self.received)


def test_restart_without_a_supervisor_exits_with_4(instance: Instance):
    with pytest.raises(NoSupervisor):
        control.restart(instance.home)
    assert instance.run("restart").returncode == 4


def test_tasks_and_subscriptions_survive_a_restart(instance: Instance, tmp_path: Path):
    instance.up(**BRISK, default_concurrency=8)
    ids = [instance.launch(*wait_for_file(tmp_path / "go"), parentSessionId="p") for _ in range(5)]
    pids = [instance.pid(id) for id in ids]
    subscriber = Subscriber(instance, "p")
    subscriber.start()
    eventually(lambda: len(subscriber.received) >= 5, TIMEOUT)
    instance.check("restart")
    assert all(map(is_alive, pids))
    assert {worker["adopted"] for worker in instance.status()["workers"] if worker["taskId"]} == {True}
    (tmp_path / "go").write_text("done")
    assert [instance.until(id).result for id in ids] == ["done"] * 5
    last = instance.launch("true", parentSessionId="p")
    instance.until(last)
    eventually(lambda: subscriber.ends() == 6, TIMEOUT)
    expected = [(event["seq"], event["type"]) for event in instance.events("p")]
    eventually(lambda: subscriber.received[-1][0] >= expected[-1][0], TIMEOUT)
    assert subscriber.received[: len(expected)] == expected
    subscriber.client.close()
    subscriber.join()


def test_restart_keeps_the_supervisors_pid_and_replaces_fork_server_and_flusher(live: Instance):
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


def test_settings_from_flags_survive_a_restart(instance: Instance):
    instance.up(**BRISK, default_concurrency=7)
    instance.check("restart")
    instance.result("true")
    assert instance.key("command")["limit"] == 7


def test_launches_are_accepted_during_a_restart(instance: Instance):
    instance.up(**BRISK, default_concurrency=8)
    stopped, ids = threading.Event(), []

    def launch() -> None:
        with Instance(instance.folder) as other:
            while not stopped.is_set():
                ids.append(other.launch("true"))
                stopped.wait(0.02)

    launcher = threading.Thread(target=launch)
    launcher.start()
    try:
        instance.check("restart")
    finally:
        stopped.set()
        launcher.join()
    assert len(ids) > 5
    assert {instance.until(id).status for id in ids} == {"completed"}


def test_adopted_task_can_be_cancelled_after_a_restart(live: Instance):
    id = live.launch_sleeper()
    pid = live.pid(id)
    live.check("restart")
    live.check("cancel", id)
    assert are_gone([pid])
    assert live.task(id).status == "cancelled"


def test_old_fork_server_exits_after_its_last_worker(live: Instance, tmp_path: Path):
    id = live.launch(*wait_for_file(tmp_path / "go"))
    live.pid(id)
    fork_server = live.pid_of("forkServer")
    live.check("restart")
    assert is_alive(fork_server)
    (tmp_path / "go").write_text("on")
    live.until(id)
    eventually(lambda: not is_alive(fork_server), TIMEOUT)
    assert list(live.folder.glob("forkserver-*")) == []


#: Starts a daemon without an environment, which records its pid.
BARE_DAEMON = """
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


def test_worker_that_dies_under_the_old_fork_server_leaves_no_stray(live: Instance, tmp_path: Path):
    id = live.launch(sys.executable, "-S", "-c", BARE_DAEMON, str(tmp_path / "pid"))
    (stray,) = wait_for_numbers(tmp_path / "pid", 1)
    worker = live.worker_of(id)
    live.check("restart")
    kill(worker)
    task = live.until(id)
    assert (task.status, task.error_kind) == ("error", "lost")
    eventually(lambda: are_gone([stray]), TIMEOUT)


def test_restart_with_an_invalid_configuration_is_refused(live: Instance):
    (live.folder / "config.toml").write_text("nonsense = 1\n")
    pid, flusher = live.pid_of("supervisor"), live.pid_of("flusher")
    assert live.run("restart").returncode == 100
    assert (live.pid_of("supervisor"), live.pid_of("flusher")) == (pid, flusher)
    assert live.result("true").status == "completed"


def test_two_restarts_leave_no_process_behind(live: Instance):
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
def newer_schema(tables: Tables) -> None:
    """Add a column and a table."""
    tables.execute("ALTER TABLE tasks ADD COLUMN invented TEXT DEFAULT 'tomorrow'")
    tables.execute("CREATE TABLE inventions (name TEXT PRIMARY KEY) STRICT")
'''


@pytest.fixture
def newer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command of a release with a newer schema."""
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


def test_release_with_a_newer_schema_takes_over_while_tasks_run(
    instance: Instance, tmp_path: Path, newer: Callable[..., subprocess.CompletedProcess[str]]
):
    instance.up(**BRISK, default_concurrency=2)
    running = [instance.launch(*wait_for_file(tmp_path / "go"), parentSessionId="p", retries=1) for _ in range(2)]
    pids = [instance.pid(id) for id in running]
    waiting = instance.launch("echo", "next", parentSessionId="p")
    restarted = newer(instance.folder, "restart")
    assert restarted.returncode == 0, restarted.stderr
    assert all(map(is_alive, pids))
    assert {worker["adopted"] for worker in instance.status()["workers"] if worker["taskId"]} == {True}
    old = instance.run("list")
    assert (old.returncode, "upgrade" in old.stderr) == (100, True)
    (tmp_path / "go").write_text("done")
    assert [instance.until(id).result for id in running] == ["done"] * 2
    assert instance.until(waiting).result == "next"
    launched = newer(instance.folder, "run", "--", "echo", "hi")
    assert (launched.returncode, launched.stdout) == (0, "hi\n"), launched.stderr
    assert sum(batch["count"] for batch in instance.batches("p", 3)) == 3
    assert all(len(instance.ends(id)) == 1 and instance.task(id).attempt == 1 for id in running)
    with closing(sqlite3.connect(instance.home.database)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (SCHEMA + 1,)
        assert raw.execute("SELECT DISTINCT invented FROM tasks").fetchall() == [("tomorrow",)]
    assert newer(instance.folder, "down").returncode == 0
