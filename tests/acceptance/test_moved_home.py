"""A state directory that is reached by a link, copied or moved while processes of it run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner.ipc.home import Home
from backburner.ipc.machine import proc
from backburner.supervisor.execution.process_tree import HOME_ID_MARK, HOME_MARK, marked_processes
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.processes import kill
from tests.helpers.wait import eventually

#: A daemon in its own session, which its task leaves behind, writes its process ID to this file.
_DAEMON = (
    "import os, signal, sys\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    open(sys.argv[1], 'w').write(str(os.getpid()))\n"
    "signal.pause()\n"
)


@pytest.fixture
def copy(live: Instance, home: Path) -> Iterator[Instance]:
    """Copy a state directory whose supervisor runs a task."""
    live.launch_sleeper()
    folder = home.parent / "copy" / ".backburner"
    shutil.copytree(home, folder, ignore=shutil.ignore_patterns("*.wake", "*.sock"))
    with Instance(folder) as instance:
        yield instance
        instance.run("down", "--now")


@pytest.mark.parametrize("words", [("up", "--detach"), ("cancel",), ("clear", "--yes")])
def test_copied_home_leaves_the_processes_of_the_original_alone(live: Instance, copy: Instance, words: tuple[str, ...]):
    id = json.loads(live.check("list", "--json"))[0]["id"]
    worker, pid = live.worker_of(id), live.pid(id)
    done = copy.run(*words, *([id] if words == ("cancel",) else []))
    assert done.returncode == 0, done.stderr
    copy.run("up", "--detach")
    if words[0] != "clear":
        assert copy.until(id).status in ("error", "cancelled")
    assert "adopted" not in copy.home.log.read_text().partition(str(copy.folder))[2]
    assert copy.run("down", "--now").returncode == 0
    assert (live.worker_of(id), live.pid(id), live.task(id).status) == (worker, pid, "running")
    assert not proc.has_ended(pid)


def test_restored_backup_of_another_home_leaves_its_processes_alone(live: Instance, home: Path):
    id = live.launch_sleeper()
    live.check("backup", str(home.parent / "backup.db"))
    with Instance(home.parent / "restored" / ".backburner") as other:
        assert other.run("restore", str(home.parent / "backup.db")).returncode == 0
        other.up(**BRISK)
        assert other.until(id).error_kind == "lost"
        other.down(now=True)
    assert live.task(id).status == "running"
    assert not proc.has_ended(live.pid(id))


@pytest.mark.parametrize("way", ["link", "move"])
def test_processes_are_found_by_another_path_of_their_home(instance: Instance, home: Path, way: str):
    other = home.parent / "other"
    if way == "link":
        other.symlink_to(home)
    instance.up(**BRISK)
    file = home.parent / "daemon"
    id = instance.launch(sys.executable, "-S", "-c", _DAEMON, str(file), retries=1)
    daemon = int(eventually(lambda: file.exists() and file.read_text(), TIMEOUT))
    for role in ("supervisor", "forkServer"):
        instance.kill(role)
    kill(instance.worker_of(id))
    instance.close_store()
    if way == "move":
        home.rename(other)
    with Instance(other) as again:
        again.up(**BRISK)
        eventually(lambda: again.task(id).attempt == 2, TIMEOUT)
        assert proc.has_ended(daemon)
        again.down(now=True)
    if way == "move":
        other.rename(home)


def test_mark_of_an_earlier_release_is_compared_as_a_folder(home: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(home)
    Home(home).prepare()
    for environment, found in (
        ({HOME_MARK: str(tmp_path / "link")}, True),
        ({HOME_MARK: str(home), HOME_ID_MARK: "1:1"}, False),
        ({HOME_MARK: "/nowhere", HOME_ID_MARK: Home(home).id}, True),
    ):
        marks = {"BACKBURNER_CLAIM": "7", "PATH": "/usr/bin:/bin", **environment}
        with subprocess.Popen(["sleep", "60"], env=marks) as process:
            eventually(lambda: proc.name(process.pid) == "sleep")
            assert (marked_processes(home).get(process.pid) == 7) is found
            process.kill()


@pytest.fixture
def moved(live: Instance, home: Path) -> Iterator[Instance]:
    """Move the project of a state directory whose supervisor runs."""
    live.result("true")
    live.close_store()
    project = home.parent.rename(home.parent.with_name(f"{home.parent.name}-moved"))
    with Instance(project / home.name) as instance:
        yield instance
        instance.run("down", "--now")
    project.rename(home.parent)


def findings(instance: Instance) -> dict[str, str]:
    return {one["check"]: one["mend"] for one in json.loads(instance.run_here("doctor", "--json").stdout)["findings"]}


def test_moved_home_is_named_with_the_command_that_repairs_it(moved: Instance, home: Path):
    assert json.loads(moved.check("status", "--json"))["movedFrom"] == str(home)
    assert "backburner up --detach" in moved.check("status")
    assert findings(moved)["moved"] == "backburner up --detach"


@pytest.mark.parametrize("words", [("up", "--detach"), ("down",), ("launch", "--up", "--", "true")])
def test_moved_home_works_after_one_command(moved: Instance, words: tuple[str, ...]):
    before = moved.status()
    done = moved.run(*words)
    assert done.returncode == 0, done.stderr
    for role in ("supervisor", "flusher", "forkServer"):
        eventually(lambda role=role: proc.has_ended(before[role]["pid"]), TIMEOUT, f"the end of the {role}")
    assert moved.run("up", "--detach").returncode == 0
    assert moved.run("run", "--", "echo", "hi").stdout == "hi\n"
    assert (moved.status()["movedFrom"], "moved" in findings(moved)) == (None, False)
    assert moved.run("down").returncode == 0


def test_task_of_a_moved_home_ends_with_its_new_supervisor(live: Instance, home: Path):
    id = live.launch_sleeper()
    live.close_store()
    project = home.parent.rename(home.parent.with_name(f"{home.parent.name}-moved"))
    with Instance(project / home.name) as again:
        again.up(**BRISK)
        assert again.status()["workers"][0]["adopted"]
        pid = again.pid(id)
        assert again.run("down", "--now").returncode == 0
        assert proc.has_ended(pid)
        assert again.task(id).error_kind == "interrupted"
    project.rename(home.parent)
