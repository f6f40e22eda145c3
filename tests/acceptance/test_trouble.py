"""A full disk, a home that goes away: a clear word, nothing lost, and on it goes when the cause is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backburner.ipc.errors import Temporary
from backburner.ipc.store.sqlite.file.damaged import flaws_of
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance, as_toml
from tests.helpers.processes import are_gone, is_alive
from tests.helpers.wait import eventually

#: Has said what it has to say before the disk is full, and ends when it is.
SAY = """
import os, sys, time
print("went", flush=True)
open(sys.argv[2], "w").close()
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
"""

#: How large the disk of a test is.
SIZE = 3 * 1024 * 1024


@pytest.fixture
def small(home: Path) -> Iterator[Path]:
    """A home on a disk of its own that is soon full."""
    options = f"size={SIZE},mode=700"
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "backburner-test", str(home)],
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"no disk may be mounted here: {done.stderr.strip()}")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


@pytest.fixture
def cramped(small: Path, instance: Instance) -> Instance:
    """A supervisor on a small disk."""
    assert instance.folder == small
    return instance.up(**BRISK)


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    filler = folder / "filler"
    with suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_launch_on_a_full_disk_is_a_temporary_error_and_goes_through_when_there_is_room(cramped: Instance):
    filler = fill(cramped.folder)
    refused = 0
    for _ in range(200):  # the log has some room of its own left
        said = cramped.run("launch", "--json", "--", "true")
        if said.returncode:
            refused = said.returncode
            break
    assert refused == 111
    assert "Traceback" not in said.stderr
    assert str(cramped.folder) in said.stderr
    supervisor = cramped.pid_of("supervisor")
    filler.unlink()
    assert cramped.result("true").status == "completed"
    assert cramped.pid_of("supervisor") == supervisor
    cramped.close_database()


def test_a_result_waits_for_room_and_is_told_once(cramped: Instance, tmp_path: Path):
    said = tmp_path / "said"
    id = cramped.launch(sys.executable, "-S", "-c", SAY, str(tmp_path / "go"), str(said), parentSessionId="p")
    eventually(said.exists, TIMEOUT)
    worker, pid = cramped.worker_of(id), cramped.pid(id)
    filler = fill(cramped.folder)
    while cramped.run("launch", "--", "true").returncode == 0:
        continue
    (tmp_path / "go").touch()
    eventually(lambda: are_gone([pid]), TIMEOUT)
    assert is_alive(worker)
    filler.unlink()
    assert cramped.until(id).result == "went"
    assert len(cramped.ends(id)) == 1
    cramped.close_database()


def test_up_on_a_full_disk_is_a_temporary_error(cramped: Instance):
    cramped.down(now=True)
    cramped.close_database()
    filler = fill(cramped.folder)
    while (said := cramped.run("launch", "--", "true")).returncode == 0:
        continue
    assert said.returncode == 111
    assert cramped.run("up", "--detach").returncode == 111
    filler.unlink()
    cramped.up(**BRISK)


def test_a_full_disk_damages_nothing(cramped: Instance):
    filler = fill(cramped.folder)
    while cramped.run("launch", "--", "true").returncode == 0:
        continue
    filler.unlink()
    cramped.result("true")
    cramped.down(now=True)
    cramped.close_database()
    assert flaws_of(cramped.home.database) == []


def test_a_home_that_is_moved_away_is_named_and_goes_on_when_it_is_back(live: Instance, tmp_path: Path):
    said = tmp_path / "said"
    id = live.launch(sys.executable, "-S", "-c", SAY, str(tmp_path / "go"), str(said))
    eventually(said.exists, TIMEOUT)
    supervisor = live.pid_of("supervisor")
    live.close_database()
    away = live.folder.with_name("away")
    live.folder.rename(away)
    (tmp_path / "go").touch()
    eventually(lambda: "will try again" in (away / "supervisor.log").read_text(), TIMEOUT)
    assert live.run("list", "--json").stdout == "[]\n"
    assert not live.folder.exists()
    away.rename(live.folder)
    assert live.until(id).result == "went"
    assert live.pid_of("supervisor") == supervisor


ONLY_OWNER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]


def as_anybody(instance: Instance, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of one who may not do what permissions forbid; root may, unless it is kept from it."""
    command = [*(ONLY_OWNER if os.geteuid() == 0 else ()), *_command(instance, *words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


@contextmanager
def closed(instance: Instance) -> Iterator[None]:
    """Nobody may enter the home meanwhile."""
    instance.folder.chmod(0)
    yield
    instance.folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may do everything")
def test_a_home_that_may_not_be_entered_is_named_and_goes_on_when_it_may(instance: Instance, tmp_path: Path):
    (instance.folder / "config.toml").write_text(as_toml(BRISK))
    assert as_anybody(instance, "up", "--detach").returncode == 0
    said = tmp_path / "said"
    id = instance.launch(sys.executable, "-S", "-c", SAY, str(tmp_path / "go"), str(said), parentSessionId="p")
    eventually(said.exists, TIMEOUT)
    roles = [instance.pid_of(role) for role in ("supervisor", "forkServer", "flusher")] + [instance.worker_of(id)]
    pid = instance.pid(id)
    instance.close_database()
    with instance.home.log.open() as log, closed(instance):
        for words in (("list",), ("launch", "--", "true"), ("cancel", id), ("down",), ("up", "--detach")):
            refused = as_anybody(instance, *words)
            assert refused.returncode == 100
            assert f"the home {instance.folder} cannot be used: Permission denied" in refused.stderr
        (tmp_path / "go").touch()
        eventually(lambda: are_gone([pid]), TIMEOUT)
        eventually(lambda: "will try again" in log.read(), TIMEOUT)
    assert instance.until(id).result == "went"
    assert sum(batch["count"] for batch in instance.batches("p", 1)) == len(instance.ends(id)) == 1
    assert all(map(is_alive, roles[:3]))
    assert instance.result("true").status == "completed"
    assert instance.pid_of("supervisor") == roles[0]


def test_a_home_on_a_disk_that_is_read_only_is_named_and_works_again_when_it_is_not(small: Path, instance: Instance):
    id = instance.check("launch", "--", "echo", "hi").strip()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    try:
        for words in (("list",), ("launch", "--", "true"), ("up", "--detach"), ("down",), ("cancel", id)):
            refused = instance.run(*words)
            assert refused.returncode == 100
            assert f"the home {small} cannot be used: Read-only file system" in refused.stderr
        doctor = instance.run("doctor")
        assert (doctor.returncode, "Read-only" in doctor.stdout) == (1, True)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    instance.up(**BRISK)
    assert instance.until(id).result == "hi"
    instance.close_database()


def test_a_home_that_was_made_anew_belongs_to_its_new_supervisor(live: Instance):
    old = [live.pid_of(role) for role in ("supervisor", "flusher")]
    live.close_database()
    shutil.rmtree(live.folder)
    live.folder.mkdir(0o700)
    live.up(**BRISK)
    eventually(lambda: are_gone(old), TIMEOUT)
    assert live.result("echo", "hi").result == "hi"
    live.down()
    live.close_database()
    assert flaws_of(live.home.database) == []


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE is set by prlimit")
def test_a_backup_that_does_not_fit_leaves_nothing(live: Instance, tmp_path: Path):
    live.result("true")
    command = ["prlimit", "--fsize=20000", *_command(live, "backup", str(tmp_path / "saved"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode in (100, 111), done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if "saved" in path.name] == []


def _command(instance: Instance, *words: str) -> list[str]:
    from backburner.ipc.api.control import program

    return program("--home", str(instance.folder), *words)


def test_a_task_whose_input_does_not_fit_waits_for_room(cramped: Instance, tmp_path: Path):
    go, long = tmp_path / "go", "x" * 600_000
    os.mkfifo(go)
    cramped.check("limit", "one", "1")
    first = cramped.launch("cat", str(go), concurrencyKey="one")
    cramped.pid(first)
    id = cramped.launch("wc", "-c", stdin=long, concurrencyKey="one", parentSessionId="p")
    cramped.close_database()
    filler = fill(cramped.folder)
    with filler.open("r+b") as file:
        file.truncate(max(0, filler.stat().st_size - 300_000))
    go.write_text("")
    eventually(lambda: "cannot be written now: No space left" in cramped.home.log.read_text(), TIMEOUT)
    filler.unlink()
    task = cramped.until(id)
    assert (task.status, task.result, task.attempt) == ("completed", "600000", 1)
    assert len(cramped.ends(id)) == 1
    cramped.close_database()


def test_a_copy_of_stdin_that_does_not_fit_is_a_temporary_error_and_leaves_nothing(cramped: Instance, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(bytes(2 * SIZE))
    said = cramped.run("launch", "--stdin", str(source), "--", "cat")
    assert (said.returncode, "No space left" in said.stderr) == (111, True)
    assert list((cramped.folder / "input").iterdir()) == []
    with cramped.client() as client, pytest.raises(Temporary):
        client.call("launch", command=["cat"], stdinFile=str(source))
    assert cramped.result("true").status == "completed"
    cramped.close_database()
