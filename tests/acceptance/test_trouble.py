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
from tests.helpers.stage import PATIENCE, Stage, gone, lives, settings
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
def cramped(small: Path, stage: Stage) -> Stage:
    """A supervisor on a small disk."""
    assert stage.folder == small
    return stage.up(**BRISK)


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    filler = folder / "filler"
    with suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_launch_on_a_full_disk_is_a_temporary_error_and_goes_through_when_there_is_room(cramped: Stage):
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
    cramped.forget()


def test_a_result_waits_for_room_and_is_told_once(cramped: Stage, tmp_path: Path):
    said = tmp_path / "said"
    id = cramped.launch(sys.executable, "-S", "-c", SAY, str(tmp_path / "go"), str(said), parentSessionId="p")
    eventually(said.exists, PATIENCE)
    worker, pid = cramped.worker_of(id), cramped.pid(id)
    filler = fill(cramped.folder)
    while cramped.run("launch", "--", "true").returncode == 0:
        continue
    (tmp_path / "go").touch()
    eventually(lambda: gone([pid]), PATIENCE)
    assert lives(worker)
    filler.unlink()
    assert cramped.until(id).result == "went"
    assert len(cramped.ends(id)) == 1
    cramped.forget()


def test_up_on_a_full_disk_is_a_temporary_error(cramped: Stage):
    cramped.down(now=True)
    cramped.forget()
    filler = fill(cramped.folder)
    while (said := cramped.run("launch", "--", "true")).returncode == 0:
        continue
    assert said.returncode == 111
    assert cramped.run("up", "--detach").returncode == 111
    filler.unlink()
    cramped.up(**BRISK)


def test_a_full_disk_damages_nothing(cramped: Stage):
    filler = fill(cramped.folder)
    while cramped.run("launch", "--", "true").returncode == 0:
        continue
    filler.unlink()
    cramped.result("true")
    cramped.down(now=True)
    cramped.forget()
    assert flaws_of(cramped.home.database) == []


def test_a_home_that_is_moved_away_is_named_and_goes_on_when_it_is_back(live: Stage, tmp_path: Path):
    said = tmp_path / "said"
    id = live.launch(sys.executable, "-S", "-c", SAY, str(tmp_path / "go"), str(said))
    eventually(said.exists, PATIENCE)
    supervisor = live.pid_of("supervisor")
    live.forget()
    away = live.folder.with_name("away")
    live.folder.rename(away)
    (tmp_path / "go").touch()
    eventually(lambda: "will try again" in (away / "supervisor.log").read_text(), PATIENCE)
    assert live.run("list", "--json").stdout == "[]\n"
    assert not live.folder.exists()
    away.rename(live.folder)
    assert live.until(id).result == "went"
    assert live.pid_of("supervisor") == supervisor


ONLY_OWNER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]


def as_anybody(stage: Stage, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of one who may not do what permissions forbid; root may, unless it is kept from it."""
    command = [*(ONLY_OWNER if os.geteuid() == 0 else ()), *_command(stage, *words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


@contextmanager
def closed(stage: Stage) -> Iterator[None]:
    """Nobody may enter the home meanwhile."""
    stage.folder.chmod(0)
    yield
    stage.folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may do everything")
def test_a_home_that_may_not_be_entered_is_named_and_goes_on_when_it_may(stage: Stage, tmp_path: Path):
    (stage.folder / "config.toml").write_text(settings(BRISK))
    assert as_anybody(stage, "up", "--detach").returncode == 0
    said = tmp_path / "said"
    id = stage.launch(sys.executable, "-S", "-c", SAY, str(tmp_path / "go"), str(said), parentSessionId="p")
    eventually(said.exists, PATIENCE)
    roles = [stage.pid_of(role) for role in ("supervisor", "forkServer", "flusher")] + [stage.worker_of(id)]
    pid = stage.pid(id)
    stage.forget()
    with stage.home.log.open() as log, closed(stage):
        for words in (("list",), ("launch", "--", "true"), ("cancel", id), ("down",), ("up", "--detach")):
            refused = as_anybody(stage, *words)
            assert refused.returncode == 100
            assert f"the home {stage.folder} cannot be used: Permission denied" in refused.stderr
        (tmp_path / "go").touch()
        eventually(lambda: gone([pid]), PATIENCE)
        eventually(lambda: "will try again" in log.read(), PATIENCE)
    assert stage.until(id).result == "went"
    assert sum(batch["count"] for batch in stage.batches("p", 1)) == len(stage.ends(id)) == 1
    assert all(map(lives, roles[:3]))
    assert stage.result("true").status == "completed"
    assert stage.pid_of("supervisor") == roles[0]


def test_a_home_on_a_disk_that_is_read_only_is_named_and_works_again_when_it_is_not(small: Path, stage: Stage):
    id = stage.say("launch", "--", "echo", "hi").strip()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    try:
        for words in (("list",), ("launch", "--", "true"), ("up", "--detach"), ("down",), ("cancel", id)):
            refused = stage.run(*words)
            assert refused.returncode == 100
            assert f"the home {small} cannot be used: Read-only file system" in refused.stderr
        doctor = stage.run("doctor")
        assert (doctor.returncode, "Read-only" in doctor.stdout) == (1, True)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    stage.up(**BRISK)
    assert stage.until(id).result == "hi"
    stage.forget()


def test_a_home_that_was_made_anew_belongs_to_its_new_supervisor(live: Stage):
    old = [live.pid_of(role) for role in ("supervisor", "flusher")]
    live.forget()
    shutil.rmtree(live.folder)
    live.folder.mkdir(0o700)
    live.up(**BRISK)
    eventually(lambda: gone(old), PATIENCE)
    assert live.result("echo", "hi").result == "hi"
    live.down()
    live.forget()
    assert flaws_of(live.home.database) == []


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE is set by prlimit")
def test_a_backup_that_does_not_fit_leaves_nothing(live: Stage, tmp_path: Path):
    live.result("true")
    command = ["prlimit", "--fsize=20000", *_command(live, "backup", str(tmp_path / "saved"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode in (100, 111), done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if "saved" in path.name] == []


def _command(stage: Stage, *words: str) -> list[str]:
    from backburner.ipc.api.control import program

    return program("--home", str(stage.folder), *words)


def test_a_task_whose_input_does_not_fit_waits_for_room(cramped: Stage, tmp_path: Path):
    go, long = tmp_path / "go", "x" * 600_000
    os.mkfifo(go)
    cramped.say("limit", "one", "1")
    first = cramped.launch("cat", str(go), concurrencyKey="one")
    cramped.pid(first)
    id = cramped.launch("wc", "-c", stdin=long, concurrencyKey="one", parentSessionId="p")
    cramped.forget()
    filler = fill(cramped.folder)
    with filler.open("r+b") as file:
        file.truncate(max(0, filler.stat().st_size - 300_000))
    go.write_text("")
    eventually(lambda: "cannot be written now: No space left" in cramped.home.log.read_text(), PATIENCE)
    filler.unlink()
    task = cramped.until(id)
    assert (task.status, task.result, task.attempt) == ("completed", "600000", 1)
    assert len(cramped.ends(id)) == 1
    cramped.forget()


def test_a_copy_of_stdin_that_does_not_fit_is_a_temporary_error_and_leaves_nothing(cramped: Stage, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(bytes(2 * SIZE))
    said = cramped.run("launch", "--stdin", str(source), "--", "cat")
    assert (said.returncode, "No space left" in said.stderr) == (111, True)
    assert list((cramped.folder / "input").iterdir()) == []
    with cramped.client() as client, pytest.raises(Temporary):
        client.call("launch", command=["cat"], stdinFile=str(source))
    assert cramped.result("true").status == "completed"
    cramped.forget()
