"""A full disk, a home that goes away: a clear word, nothing lost, and on it goes when the cause is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ipc.database import flaws_of
from tests.acceptance.conftest import BRISK
from tests.helpers.moment import eventually
from tests.helpers.stage import PATIENCE, Stage, gone, lives

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
    from ipc.control import program

    return program("--home", str(stage.folder), *words)
