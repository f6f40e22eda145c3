"""`doctor` reports problems and their fixes without a supervisor, and changes nothing."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.home import Home
from backburner.ipc.machine.distribution import INSTALL_COMMAND
from backburner.supervisor.doctor import processes
from backburner.supervisor.doctor.storage import check_engine
from tests.helpers.places import ROOT
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually
from tests.supervisor.cli.conftest import Cli, Tasks


def problems(cli: Cli, code: int = 1) -> dict[str, dict[str, Any]]:
    """Run `doctor` and return the problems by check."""
    printed = cli("doctor", "--json")
    assert printed.code == code, printed.out + printed.err
    return {one["check"]: one for one in printed.json["findings"] if one["level"] == "problem"}


def looks(folder: Path) -> set[tuple[str, int, int, int]]:
    found = [(str(path), path.lstat()) for path in (folder, *folder.rglob("*"))]
    return {(name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found}


def test_doctor_finds_no_problem_in_an_empty_state_directory(cli: Cli, home: Path):
    before = looks(home)
    assert problems(cli, 0) == {}
    assert looks(home) == before


def test_doctor_does_not_create_a_missing_state_directory(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BACKBURNER_HOME", str(tmp_path / "none"))
    assert cli("doctor").code == 0
    assert not (tmp_path / "none").exists()


def test_doctor_changes_no_file(cli: Cli, tasks: Tasks, home: Path):
    tasks.ended()
    before = looks(home)
    assert problems(cli, 0) == {}
    assert looks(home) == before


def test_every_problem_has_a_reason_and_a_fix(cli: Cli, tasks: Tasks, home: Path):
    tasks.pending()
    home.chmod(0o755)
    for finding in problems(cli).values():
        assert finding["what"]
        assert finding["why"]
        assert finding["mend"]
    printed = cli("doctor").out
    assert printed.startswith("problem: ")
    assert "  fix: backburner up --detach\n" in printed
    assert printed.splitlines()[-1].startswith(f"2 problems in {home} (")


def test_doctor_reports_pending_tasks_without_a_supervisor(cli: Cli, tasks: Tasks):
    tasks.pending()
    assert problems(cli)["supervisor"]["mend"] == "backburner up --detach"


def test_doctor_reports_a_running_task_without_a_worker(cli: Cli, home: Path):
    with QueueDatabase(home) as queue_db:
        id = queue_db.launch()
        queue_db.start(id)
    assert id in problems(cli)["orphans"]["what"]


def test_doctor_reports_a_process_of_an_ended_attempt(cli: Cli, tasks: Tasks, home: Path):
    tasks.ended()
    marks = {"BACKBURNER_HOME": str(home), "BACKBURNER_CLAIM": "77", "PATH": os.environ["PATH"]}
    with subprocess.Popen(["sleep", "60"], env=marks) as stray:
        try:
            eventually(lambda: "strays" in {one["check"] for one in cli("doctor", "--json").json["findings"]})
            assert problems(cli)["strays"]["mend"] == f"kill {stray.pid}"
        finally:
            stray.kill()


@pytest.mark.parametrize(("name", "mode"), [("", 0o755), ("backburner.db", 0o644)], ids=["folder", "file"])
def test_doctor_reports_readable_files_and_its_fix_works(cli: Cli, tasks: Tasks, home: Path, name: str, mode: int):
    tasks.ended()
    (home / name).chmod(mode)
    found = problems(cli)["permissions"]["mend"]
    assert found.endswith(f" {home / name}")
    subprocess.run(found.split(), check=True)
    assert problems(cli, 0) == {}


def test_doctor_reports_a_state_directory_that_others_can_write(cli: Cli, home: Path):
    home.chmod(0o777)
    assert "home" in problems(cli)


def test_doctor_reports_a_configuration_mistake(cli: Cli, home: Path):
    (home / "config.toml").write_text("nonsense = 1\n")
    (home / "config.toml").chmod(0o600)
    assert "nonsense" in problems(cli)["configuration"]["what"]


def test_doctor_reports_a_damaged_database_and_its_fix_works(cli: Cli, home: Path):
    (home / "backburner.db").write_bytes(b"rubbish" * 4000)
    (home / "backburner.db").chmod(0o600)
    assert problems(cli)["integrity"]["mend"] == "backburner salvage"
    assert cli("salvage").code == 0
    assert problems(cli, 0) == {}


def test_doctor_reports_a_damaged_page(cli: Cli, home: Path):
    with QueueDatabase(home) as queue_db:
        for _ in range(200):
            queue_db.run(description="x" * 300)
    with open(home / "backburner.db", "r+b") as file:
        file.seek(-4096 * 3, os.SEEK_END)
        file.write(bytes(range(256)) * 16)
    assert "integrity" in problems(cli)


def test_doctor_reports_a_newer_schema_and_how_to_install(cli: Cli, tasks: Tasks, home: Path):
    tasks.ended()
    with closing(sqlite3.connect(home / "backburner.db")) as raw:
        raw.execute("PRAGMA user_version = 99")
    found = problems(cli)["schema"]
    assert "99" in found["what"]
    assert INSTALL_COMMAND in found["mend"]


HOLD = """
import sys
from pathlib import Path
from backburner.ipc.machine.lock import Lock
assert Lock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("lock", "check"), [("gate", "gate"), ("supervisor", "roles")])
def test_doctor_reports_a_stopped_process_that_blocks_others(cli: Cli, tasks: Tasks, home: Path, lock: str, check: str):
    tasks.ended()
    command = [sys.executable, "-c", HOLD, str(home / f"{lock}.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.send_signal(signal.SIGSTOP)
        try:
            eventually(lambda: Path(f"/proc/{other.pid}/stat").read_text().split()[2] == "T")
            printed = cli("doctor", "--json").json["findings"]
            assert f"kill -CONT {other.pid}" in [one["mend"] for one in printed if one["check"] == check]
        finally:
            other.kill()


def test_doctor_reports_a_bus_that_accepts_but_does_not_answer(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "TIMEOUT", 0.1)
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(home / "bus.sock"))
        bus.listen()
        assert [finding.check for finding in processes._check_bus(Home(home))] == ["bus"]


READ = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM tasks").fetchone()
print("reads", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/locks")
def test_doctor_reports_a_reader_that_pins_the_log(cli: Cli, tasks: Tasks, home: Path, monkeypatch: pytest.MonkeyPatch):
    tasks.ended()
    monkeypatch.setattr("backburner.supervisor.doctor.storage.LONG_LOG", 1000)
    command = [sys.executable, "-c", READ, str(home / "backburner.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        tasks.ended()
        assert str(other.pid) in problems(cli)["wal"]["what"]
        other.communicate(b"")


def test_doctor_reports_a_disk_that_is_almost_full(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backburner.supervisor.doctor.storage.MIN_FREE_BYTES", 2**62)
    assert "space" in problems(cli)


@pytest.mark.parametrize(("version", "is_too_old"), [("3.7.0", True), ("3.40.1", False), ("3.52.0", False)])
def test_only_a_sqlite_that_is_too_old_is_reported(version: str, is_too_old: bool):
    assert [one.check for one in check_engine(version)] == ["sqlite"] * is_too_old


def test_doctor_names_the_running_task_that_fills_the_disk(
    cli: Cli, tasks: Tasks, home: Path, monkeypatch: pytest.MonkeyPatch
):
    ids = {tasks.running(), tasks.running()}
    monkeypatch.setattr("backburner.supervisor.doctor.storage.MIN_FREE_BYTES", 2**62)
    assert "outputs" not in problems(cli)
    largest = tasks.queue.store.hosts.running()[1]
    Home(home).output(largest.claim, "stderr").write_bytes(b"x" * 3_000_000)
    assert largest.id in ids
    assert problems(cli)["outputs"]["mend"] == f"backburner cancel {largest.id}"


def test_doctor_reports_a_missing_proc(cli: Cli, tasks: Tasks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backburner.ipc.machine.proc.is_readable", lambda: False)
    assert set(problems(cli)) == {"proc"}


def test_doctor_prints_the_size_of_the_state_directory(cli: Cli, tasks: Tasks):
    tasks.pending()
    assert cli("doctor", "--json").json["sizeBytes"] > 0
    assert cli("doctor").out.endswith(" kB)\n")


def test_doctor_reports_a_distribution_with_the_same_package(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "importlib.metadata.packages_distributions", lambda: {"backburner": ["backburner-supervisor", "backburner-mcp"]}
    )
    found = problems(cli)["names"]
    assert "The distribution backburner-mcp" in found["what"]
    assert INSTALL_COMMAND in found["mend"]
