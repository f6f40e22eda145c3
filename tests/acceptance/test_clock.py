"""No task becomes stale, early or stuck when the clock is set, the machine is suspended, or it boots again."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backburner.ipc import clock
from backburner.ipc.model.query import Filter
from backburner.ipc.model.task import Task
from backburner.ipc.store.sqlite.file.counters import JUMP
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import FOREVER, TIMEOUT, Instance, as_toml
from tests.helpers.places import ROOT
from tests.helpers.processes import kill
from tests.helpers.wait import eventually

HOUR = 3_600_000

COMPILER = shutil.which("cc")


class FakeClock:
    """Set the clocks of the processes that are started from now on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._wall = self._slept = 0
        self.set(0)

    def set(self, milliseconds: int) -> None:
        """Set the wall clock forward or back."""
        self._wall += milliseconds
        self._write()

    def suspend(self, milliseconds: int) -> None:
        """Add time during which the machine was suspended."""
        self._slept += milliseconds
        self._write()

    def _write(self) -> None:
        with open(self._file, "r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("@qq", self._wall, self._slept))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library that fakes the clocks of the processes that load it."""
    if COMPILER is None or sys.platform != "linux":
        pytest.skip("no compiler for the library that fakes clocks")
    path = tmp_path_factory.mktemp("fake-clock") / "fake-clock.so"
    source = ROOT / "tests" / "helpers" / "fake_clock.c"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", str(path), str(source)], check=True)
    return path


@pytest.fixture
def fake_clock(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake_clock = FakeClock(tmp_path / "fake-clock")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAKE_CLOCK", str(tmp_path / "fake-clock"))
    return fake_clock


@pytest.fixture
def on_fake_clock(fake_clock: FakeClock, instance: Instance) -> Iterator[Instance]:
    """Start a supervisor with clocks that the test sets. Commands that read times use the same clocks."""
    instance.up(**BRISK, polling_interval_ms=50, stale_timeout_ms=600_000, max_queue_wait_s=600)
    yield instance
    fake_clock.set(0)


def command(instance: Instance, *words: str) -> str:
    """Run a command that must succeed, in a process with the fake clock, and return its output."""
    done = instance.run(*words)
    assert done.returncode == 0, done
    return done.stdout


def launched(instance: Instance, *words: str) -> str:
    return command(instance, "launch", *words).strip()


def wait_for_step(instance: Instance) -> None:
    """Wait until the supervisor has noticed that the clock was set."""
    eventually(lambda: "the wall clock was set by" in instance.home.log.read_text(), TIMEOUT, "the step to be noticed")


# a clock that is set


def test_delay_is_not_extended_when_the_clock_is_set_back(on_fake_clock: Instance, fake_clock: FakeClock):
    id = launched(on_fake_clock, "--delay", "1.5", "--", "true")
    chain = launched(on_fake_clock, "--delay", "1", "--after", id, "--", "true")
    fake_clock.set(-HOUR)
    wait_for_step(on_fake_clock)
    assert on_fake_clock.until(id).status == "completed"
    assert on_fake_clock.until(chain).status == "completed"


def waits_for_retry(task: Task) -> bool:
    return task.status == "pending" and task.attempt > 0


def test_retry_is_not_postponed_when_the_clock_is_set_back(fake_clock: FakeClock, instance: Instance, tmp_path: Path):
    instance.up(**{**BRISK, "retry_base_ms": 4000, "retry_max_ms": 4000})
    script = f"test -e {tmp_path}/go"
    id = launched(instance, "--retries", "100", "--", "sh", "-c", script)  # a random delay may be too short to be seen
    eventually(lambda: waits_for_retry(instance.task(id)), TIMEOUT)
    (tmp_path / "go").touch()
    fake_clock.set(-HOUR)
    wait_for_step(instance)
    assert instance.until(id).status == "completed"


def test_nothing_starts_early_or_expires_when_the_clock_is_set_forward(on_fake_clock: Instance, fake_clock: FakeClock):
    delayed = launched(on_fake_clock, "--delay", "10m", "--", "true")
    command(on_fake_clock, "pause", "quiet")
    waiting = launched(on_fake_clock, "--key", "quiet", "--", "true")
    external = on_fake_clock.launch(agent="external", prompt="x", timeoutMs=600_000)
    running = launched(on_fake_clock, "--timeout", "10m", "--", *FOREVER)
    on_fake_clock.pid(running)
    on_fake_clock.until(external, "running")
    fake_clock.set(1000 * HOUR)
    wait_for_step(on_fake_clock)
    assert on_fake_clock.until(launched(on_fake_clock, "--", "true")).status == "completed"
    tasks = {task["id"]: task for task in json.loads(command(on_fake_clock, "list", "--json"))}
    assert [tasks[id]["status"] for id in (delayed, waiting, external, running)] == [
        *("pending", "pending", "running", "running")
    ]
    assert tasks[delayed]["waitingFor"] == "delay"
    assert clock.parse(tasks[delayed]["notBefore"]) - clock.now() > 1000 * HOUR
    command(on_fake_clock, "resume", "quiet")
    assert on_fake_clock.until(waiting).status == "completed"
    assert [event for event in on_fake_clock.events() if event["type"] == "background_task_stale"] == []


def test_delay_of_a_task_launched_after_a_clock_step_is_not_moved(on_fake_clock: Instance, fake_clock: FakeClock):
    fake_clock.set(-HOUR)
    id = launched(on_fake_clock, "--delay", "10m", "--", "true")
    wait_for_step(on_fake_clock)
    assert on_fake_clock.until(launched(on_fake_clock, "--", "true")).status == "completed"
    left = clock.parse(json.loads(command(on_fake_clock, "show", "--json", id))["notBefore"]) + HOUR - clock.now()
    assert 0 < left < 600_000
    assert on_fake_clock.task(id).status == "pending"


# a suspended machine


def test_suspended_machine_causes_no_timeout_and_no_stale_task(on_fake_clock: Instance, fake_clock: FakeClock):
    timed = launched(on_fake_clock, "--timeout", "10m", "--", *FOREVER)
    silent = launched(on_fake_clock, "--", *FOREVER)
    delayed = launched(on_fake_clock, "--delay", "1h", "--", "echo", "good", "morning")
    worker, supervisor = on_fake_clock.worker_of(silent), on_fake_clock.pid_of("supervisor")
    on_fake_clock.pid(timed)
    fake_clock.suspend(8 * HOUR)
    assert on_fake_clock.until(delayed).result == "good morning"  # the machine was suspended for longer
    assert "the wall clock was set" not in on_fake_clock.home.log.read_text()
    assert (on_fake_clock.task(timed).status, on_fake_clock.task(silent).status) == ("running", "running")
    assert (on_fake_clock.worker_of(silent), on_fake_clock.pid_of("supervisor")) == (worker, supervisor)
    assert [event for event in on_fake_clock.events() if event["type"] == "background_task_stale"] == []
    command(on_fake_clock, "cancel", timed)
    assert on_fake_clock.task(timed).status == "cancelled"


# a new boot


def reboot(instance: Instance) -> None:
    """Kill everything at once, and have the database say that all of it belongs to an earlier boot."""
    pids = [instance.pid_of(role) for role in ("supervisor", "forkServer", "flusher")]
    pids += [one["pid"] for one in instance.status()["workers"]]
    pids += [task.pid for task in instance.queue.with_inputs(Filter(limit=None)) if task.pid]
    for pid in pids:
        kill(pid)
    instance.close_store()
    with closing(sqlite3.connect(instance.home.database)) as raw, raw:
        raw.execute("UPDATE settings SET value = 'the boot before' WHERE name = 'boot'")
        raw.execute("UPDATE processes SET boot = 'the boot before', pid = ?", (os.getpid(),))


def test_new_boot_rescues_running_tasks_keeps_pending_ones_and_repeats_no_number(instance: Instance):
    instance.up(**BRISK, default_concurrency=2)
    (instance.folder / "config.toml").write_text(as_toml(BRISK))
    lost = instance.launch_sleeper(parentSessionId="p", concurrencyKey="one")
    retried = instance.launch_sleeper(retries=1, concurrencyKey="two")
    external = instance.launch(agent="external", prompt="x")
    instance.until(external, "running")
    delayed = instance.launch("echo", "hi", delayMs=1500)
    after = instance.launch("true", afterAny=[lost])
    seq, claim = instance.events()[-1]["seq"], claims(instance)
    reboot(instance)
    instance.up(**BRISK)
    assert instance.until(lost).error_kind == "lost"
    eventually(lambda: instance.task(retried).attempt == 2, TIMEOUT, "another attempt")
    assert instance.until(delayed).result == "hi"
    assert instance.until(after).status == "completed"
    assert instance.task(external).status == "running"
    assert instance.batches("p", 1)[0]["allComplete"] is True
    new = [event["seq"] for event in instance.events() if event["seq"] > seq]
    assert min(new) > seq + JUMP // 2
    assert claims(instance) > claim + JUMP // 2


def claims(instance: Instance) -> int:
    with closing(sqlite3.connect(instance.home.database)) as raw:
        return int(raw.execute("SELECT seq FROM sqlite_sequence WHERE name = 'claims'").fetchone()[0])
