"""A full disk or an inaccessible home gives a clear error, loses nothing, and work continues afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backburner.ipc.api.control import program
from backburner.ipc.errors import Temporary
from backburner.ipc.store.sqlite.file.damaged import flaws_of
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance, as_toml, is_removed
from tests.helpers.processes import are_gone, is_alive
from tests.helpers.wait import eventually

#: Prints a line and creates the second file, then runs until the first file exists.
PRINT_AND_WAIT = """
import os, sys, time
print("done", flush=True)
open(sys.argv[2], "w").close()
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
"""

#: The bytes of a test's disk.
SIZE = 3 * 1024 * 1024


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """Mount a small disk at the home."""
    options = f"size={SIZE},mode=700"
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "backburner-test", str(home)],
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


@pytest.fixture
def on_small_disk(small_disk: Path, instance: Instance) -> Instance:
    """Start a supervisor on a small disk."""
    assert instance.folder == small_disk
    return instance.up(**BRISK)


def fill(folder: Path) -> Path:
    """Fill the disk with one file, and return it."""
    filler = folder / "filler"
    with suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def launch_until_refused(instance: Instance) -> subprocess.CompletedProcess[str]:
    """Launch until the disk is full for the database too: a write-ahead log that has grown still has some space."""
    while (done := instance.run("launch", "--", "true")).returncode == 0:
        continue
    return done


def test_launch_on_a_full_disk_is_a_temporary_error(on_small_disk: Instance):
    filler = fill(on_small_disk.folder)
    refused = launch_until_refused(on_small_disk)
    assert refused.returncode == 111
    assert "Traceback" not in refused.stderr
    assert str(on_small_disk.folder) in refused.stderr
    supervisor = on_small_disk.pid_of("supervisor")
    filler.unlink()
    assert on_small_disk.result("true").status == "completed"
    assert on_small_disk.pid_of("supervisor") == supervisor
    on_small_disk.close_store()


def test_result_is_stored_and_reported_once_after_the_disk_was_full(on_small_disk: Instance, tmp_path: Path):
    printed = tmp_path / "printed"
    id = on_small_disk.launch(
        sys.executable, "-S", "-c", PRINT_AND_WAIT, str(tmp_path / "go"), str(printed), parentSessionId="p"
    )
    eventually(printed.exists, TIMEOUT)
    worker, pid = on_small_disk.worker_of(id), on_small_disk.pid(id)
    filler = fill(on_small_disk.folder)
    launch_until_refused(on_small_disk)
    (tmp_path / "go").touch()
    eventually(lambda: are_gone([pid]), TIMEOUT)
    assert is_alive(worker)
    filler.unlink()
    assert on_small_disk.until(id).result == "done"
    assert len(on_small_disk.ends(id)) == 1
    on_small_disk.close_store()


def test_up_on_a_full_disk_is_a_temporary_error(on_small_disk: Instance):
    on_small_disk.down(now=True)
    on_small_disk.close_store()
    filler = fill(on_small_disk.folder)
    assert launch_until_refused(on_small_disk).returncode == 111
    assert on_small_disk.run("up", "--detach").returncode == 111
    filler.unlink()
    on_small_disk.up(**BRISK)


def test_full_disk_does_not_damage_the_database(on_small_disk: Instance):
    filler = fill(on_small_disk.folder)
    launch_until_refused(on_small_disk)
    filler.unlink()
    on_small_disk.result("true")
    on_small_disk.down(now=True)
    on_small_disk.close_store()
    assert flaws_of(on_small_disk.home.database) == []


def test_roles_continue_after_the_home_was_moved_away_and_back(live: Instance, tmp_path: Path):
    printed = tmp_path / "printed"
    id = live.launch(sys.executable, "-S", "-c", PRINT_AND_WAIT, str(tmp_path / "go"), str(printed))
    eventually(printed.exists, TIMEOUT)
    supervisor = live.pid_of("supervisor")
    live.close_store()
    away = live.folder.with_name("away")
    live.folder.rename(away)
    (tmp_path / "go").touch()
    eventually(lambda: "will try again" in (away / "supervisor.log").read_text(), TIMEOUT)
    assert live.run("list", "--json").stdout == "[]\n"
    assert not live.folder.exists()
    away.rename(live.folder)
    assert live.until(id).result == "done"
    assert live.pid_of("supervisor") == supervisor


#: Runs a command as root without the right to ignore permissions.
WITHOUT_OVERRIDE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]


def run_unprivileged(instance: Instance, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command that permissions apply to, even if the test runs as root."""
    command = [*(WITHOUT_OVERRIDE if os.geteuid() == 0 else ()), *_command(instance, *words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


@contextmanager
def inaccessible(instance: Instance) -> Iterator[None]:
    """Take away all permissions of the home within the block."""
    instance.folder.chmod(0)
    yield
    instance.folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root ignores permissions")
def test_roles_continue_after_the_home_was_inaccessible(instance: Instance, tmp_path: Path):
    (instance.folder / "config.toml").write_text(as_toml(BRISK))
    assert run_unprivileged(instance, "up", "--detach").returncode == 0
    printed = tmp_path / "printed"
    id = instance.launch(
        sys.executable, "-S", "-c", PRINT_AND_WAIT, str(tmp_path / "go"), str(printed), parentSessionId="p"
    )
    eventually(printed.exists, TIMEOUT)
    roles = [instance.pid_of(role) for role in ("supervisor", "forkServer", "flusher")] + [instance.worker_of(id)]
    pid = instance.pid(id)
    instance.close_store()
    with instance.home.log.open() as log, inaccessible(instance):
        for words in (("list",), ("launch", "--", "true"), ("cancel", id), ("down",), ("up", "--detach")):
            refused = run_unprivileged(instance, *words)
            assert refused.returncode == 100
            assert f"the home {instance.folder} cannot be used: Permission denied" in refused.stderr
        (tmp_path / "go").touch()
        eventually(lambda: are_gone([pid]), TIMEOUT)
        eventually(lambda: "will try again" in log.read(), TIMEOUT)
    assert instance.until(id).result == "done"
    assert sum(batch["count"] for batch in instance.batches("p", 1)) == len(instance.ends(id)) == 1
    assert all(map(is_alive, roles[:3])), instance.home.log.read_text()
    assert instance.result("true").status == "completed"
    assert instance.pid_of("supervisor") == roles[0]


def test_commands_refuse_a_home_on_a_read_only_disk(small_disk: Path, instance: Instance):
    id = instance.run("launch", "--", "echo", "hi").stdout.strip()  # this process keeps the write gate open
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        for words in (("list",), ("launch", "--", "true"), ("up", "--detach"), ("down",), ("cancel", id)):
            refused = instance.run(*words)
            assert refused.returncode == 100
            assert f"the home {small_disk} cannot be used: Read-only file system" in refused.stderr
        doctor = instance.run("doctor")
        assert (doctor.returncode, "Read-only" in doctor.stdout) == (1, True)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    instance.up(**BRISK)
    assert instance.until(id).result == "hi"
    instance.close_store()


def test_recreated_home_belongs_to_the_new_supervisor(live: Instance):
    old = [live.pid_of(role) for role in ("supervisor", "flusher")]
    live.close_store()
    eventually(lambda: is_removed(live.folder), TIMEOUT)
    live.folder.mkdir(0o700)
    live.up(**BRISK)
    eventually(lambda: are_gone(old), TIMEOUT)
    assert live.result("echo", "hi").result == "hi"
    live.down()
    live.close_store()
    assert flaws_of(live.home.database) == []


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE is set by prlimit")
def test_backup_that_does_not_fit_leaves_no_file(live: Instance, tmp_path: Path):
    live.result("true")
    command = ["prlimit", "--fsize=20000", *_command(live, "backup", str(tmp_path / "saved"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode in (100, 111), done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if "saved" in path.name] == []


def _command(instance: Instance, *words: str) -> list[str]:
    return program("--home", str(instance.folder), *words)


def test_task_whose_input_does_not_fit_on_the_disk_waits(on_small_disk: Instance, tmp_path: Path):
    go, long = tmp_path / "go", "x" * 600_000
    os.mkfifo(go)
    on_small_disk.check("limit", "one", "1")
    first = on_small_disk.launch("cat", str(go), concurrencyKey="one")
    on_small_disk.pid(first)
    id = on_small_disk.launch("wc", "-c", stdin=long, concurrencyKey="one", parentSessionId="p")
    on_small_disk.close_store()
    filler = fill(on_small_disk.folder)
    with filler.open("r+b") as file:
        file.truncate(max(0, filler.stat().st_size - 300_000))
    go.write_text("")
    eventually(lambda: "cannot be written now: No space left" in on_small_disk.home.log.read_text(), TIMEOUT)
    filler.unlink()
    task = on_small_disk.until(id)
    assert (task.status, task.result, task.attempt) == ("completed", "600000", 1)
    assert len(on_small_disk.ends(id)) == 1
    on_small_disk.close_store()


def test_launch_with_stdin_that_does_not_fit_is_a_temporary_error(on_small_disk: Instance, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(bytes(2 * SIZE))
    refused = on_small_disk.run("launch", "--stdin", str(source), "--", "cat")
    assert (refused.returncode, "No space left" in refused.stderr) == (111, True)
    assert list((on_small_disk.folder / "input").iterdir()) == []
    with on_small_disk.client() as client, pytest.raises(Temporary):
        client.call("launch", command=["cat"], stdinFile=str(source))
    assert on_small_disk.result("true").status == "completed"
    on_small_disk.close_store()


@pytest.mark.parametrize("deleted", [("-wal", "-shm"), ("-wal",), ("-shm",)])
def test_deleted_log_is_noticed_by_all_processes(live: Instance, deleted: tuple[str, ...]):
    before = live.result("true").id
    kept = live.launch("true", delayMs=600_000)
    live.close_store()
    for name in deleted:
        (live.folder / f"backburner.db{name}").unlink()
    eventually(lambda: live.run_here("run", "--", "true").returncode == 0, TIMEOUT, "a task to run")
    assert [live.task(id).status for id in (before, kept)] == ["completed", "pending"]
    assert live.check("doctor", "--json").count('"level": "problem"') == 0
    live.check("run", "--", "true")


def test_deleted_socket_is_created_again(live: Instance):
    live.home.socket.unlink()
    assert live.run("up", "--detach").returncode == 0
    eventually(live.home.socket.exists, TIMEOUT, "the socket")
    with live.client() as client:
        assert client.call("ping")["pid"] == live.pid_of("flusher")
