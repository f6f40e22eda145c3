"""Somebody sets the clock, the machine sleeps, or it is booted anew: nothing becomes stale, early or stuck."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backburner.ipc import clock
from backburner.ipc.store.sqlite.file.database import JUMP
from backburner.ipc.store.values import Filter
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import FOREVER, TIMEOUT, Instance, as_toml
from tests.helpers.places import ROOT
from tests.helpers.processes import kill
from tests.helpers.wait import eventually

HOUR = 3_600_000

COMPILER = shutil.which("cc")


class Warp:
    """The clocks of the processes that are started from now on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._wall = self._slept = 0
        self.set(0)

    def set(self, milliseconds: int) -> None:
        """Set the wall clock forward or back."""
        self._wall += milliseconds
        self._write()

    def sleep(self, milliseconds: int) -> None:
        """Have the machine have slept."""
        self._slept += milliseconds
        self._write()

    def _write(self) -> None:
        with open(self._file, "r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("@qq", self._wall, self._slept))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What shows other clocks to the processes that load it."""
    if COMPILER is None or sys.platform != "linux":
        pytest.skip("there is no compiler for what shows other clocks")
    path = tmp_path_factory.mktemp("warp") / "warp.so"
    source = ROOT / "tests" / "helpers" / "fake_clock.c"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", str(path), str(source)], check=True)
    return path


@pytest.fixture
def warp(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warp:
    warp = Warp(tmp_path / "warp")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("WARP", str(tmp_path / "warp"))
    return warp


@pytest.fixture
def warped(warp: Warp, instance: Instance) -> Iterator[Instance]:
    """A supervisor that goes by clocks that a test sets. All that reads the time is started as a command."""
    instance.up(**BRISK, polling_interval_ms=50, stale_timeout_ms=600_000, max_queue_wait_s=600)
    yield instance
    warp.set(0)


def launched(instance: Instance, *words: str) -> str:
    return instance.check("launch", *words).strip()


def seen(instance: Instance, warp: Callable[[], object]) -> None:
    """Do something to the clock, and have the supervisor see it."""
    warp()
    eventually(lambda: "the wall clock was set by" in instance.home.log.read_text(), TIMEOUT, "the step to be seen")


# somebody sets it


def test_the_clock_is_set_back_and_a_delay_is_no_longer_for_it(warped: Instance, warp: Warp):
    id = launched(warped, "--delay", "1.5", "--", "true")
    chain = launched(warped, "--delay", "1", "--after", id, "--", "true")
    seen(warped, lambda: warp.set(-HOUR))
    assert warped.until(id).status == "completed"
    assert warped.until(chain).status == "completed"


def test_the_clock_is_set_back_and_a_retry_comes_when_it_should(warp: Warp, instance: Instance, tmp_path: Path):
    instance.up(**{**BRISK, "retry_base_ms": 4000})
    script = f"test -e {tmp_path}/go"
    id = launched(instance, "--retries", "3", "--", "sh", "-c", script)
    instance.until(id, "pending")
    eventually(lambda: instance.task(id).attempt == 1 and instance.task(id).status == "pending", TIMEOUT)
    (tmp_path / "go").touch()
    seen(instance, lambda: warp.set(-HOUR))
    assert instance.until(id).status == "completed"


def test_the_clock_is_set_forward_and_nothing_comes_early_or_is_too_old(warped: Instance, warp: Warp):
    delayed = launched(warped, "--delay", "10m", "--", "true")
    warped.check("pause", "quiet")
    waiting = launched(warped, "--key", "quiet", "--", "true")
    outside = warped.launch(agent="external", prompt="x", timeoutMs=600_000)
    running = launched(warped, "--timeout", "10m", "--", *FOREVER)
    warped.pid(running)
    warped.until(outside, "running")
    seen(warped, lambda: warp.set(1000 * HOUR))
    assert warped.until(launched(warped, "--", "true")).status == "completed"
    tasks = {task["id"]: task for task in json.loads(warped.check("list", "--json"))}
    assert [tasks[id]["status"] for id in (delayed, waiting, outside, running)] == [
        *("pending", "pending", "running", "running")
    ]
    assert tasks[delayed]["waitingFor"] == "delay"
    assert clock.parse(tasks[delayed]["notBefore"]) - clock.now() > 1000 * HOUR
    warped.check("resume", "quiet")
    assert warped.until(waiting).status == "completed"
    assert [event for event in warped.events() if event["type"] == "background_task_stale"] == []


def test_what_was_launched_after_the_clock_was_set_is_not_moved_with_it(warped: Instance, warp: Warp):
    warp.set(-HOUR)
    id = launched(warped, "--delay", "10m", "--", "true")
    seen(warped, lambda: None)
    assert warped.until(launched(warped, "--", "true")).status == "completed"
    left = clock.parse(json.loads(warped.check("show", "--json", id))["notBefore"]) + HOUR - clock.now()
    assert 0 < left < 600_000
    assert warped.task(id).status == "pending"


# the machine sleeps


def test_a_night_asleep_uses_up_nobodys_patience(warped: Instance, warp: Warp):
    timed = launched(warped, "--timeout", "10m", "--", *FOREVER)
    silent = launched(warped, "--", *FOREVER)
    delayed = launched(warped, "--delay", "1h", "--", "echo", "good", "morning")
    worker, supervisor = warped.worker_of(silent), warped.pid_of("supervisor")
    warped.pid(timed)
    warp.sleep(8 * HOUR)
    assert warped.until(delayed).result == "good morning"  # its hour is over
    assert "the wall clock was set" not in warped.home.log.read_text()
    assert (warped.task(timed).status, warped.task(silent).status) == ("running", "running")
    assert (warped.worker_of(silent), warped.pid_of("supervisor")) == (worker, supervisor)
    assert [event for event in warped.events() if event["type"] == "background_task_stale"] == []
    warped.check("cancel", timed)
    assert warped.task(timed).status == "cancelled"


# it is booted anew


def reboot(instance: Instance) -> None:
    """Kill everything at once, and have all that is written be of a boot before this one."""
    pids = [instance.pid_of(role) for role in ("supervisor", "forkServer", "flusher")]
    pids += [one["pid"] for one in instance.status()["workers"]]
    pids += [task.pid for task in instance.queue.whole(Filter(limit=None)) if task.pid]
    for pid in pids:
        kill(pid)
    instance.close_database()
    with closing(sqlite3.connect(instance.home.database)) as raw, raw:
        raw.execute("UPDATE settings SET value = 'the boot before' WHERE name = 'boot'")
        raw.execute("UPDATE processes SET boot = 'the boot before', pid = ?", (os.getpid(),))


def test_a_new_boot_buries_what_ran_keeps_what_waits_and_repeats_no_number(instance: Instance):
    instance.up(**BRISK, default_concurrency=2)
    (instance.folder / "config.toml").write_text(as_toml(BRISK))
    lost = instance.launch_sleeper(parentSessionId="p", concurrencyKey="one")
    again = instance.launch_sleeper(retries=1, concurrencyKey="two")
    outside = instance.launch(agent="external", prompt="x")
    instance.until(outside, "running")
    delayed = instance.launch("echo", "hi", delayMs=1500)
    after = instance.launch("true", afterAny=[lost])
    seq, claim = instance.events()[-1]["seq"], claims(instance)
    reboot(instance)
    instance.up(**BRISK)
    assert instance.until(lost).error_kind == "lost"
    eventually(lambda: instance.task(again).attempt == 2, TIMEOUT, "another try")
    assert instance.until(delayed).result == "hi"
    assert instance.until(after).status == "completed"
    assert instance.task(outside).status == "running"
    assert instance.batches("p", 1)[0]["allComplete"] is True
    new = [event["seq"] for event in instance.events() if event["seq"] > seq]
    assert min(new) > seq + JUMP // 2
    assert claims(instance) > claim + JUMP // 2


def claims(instance: Instance) -> int:
    with closing(sqlite3.connect(instance.home.database)) as raw:
        return int(raw.execute("SELECT seq FROM sqlite_sequence WHERE name = 'claims'").fetchone()[0])
