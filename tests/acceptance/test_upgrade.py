"""The commands of this release in a home of release 0.1."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.errors import OlderProcesses, Permanent
from backburner.ipc.machine.distribution import version
from backburner.ipc.store.sqlite.file.database import SCHEMA
from tests.acceptance.conftest import BRISK
from tests.helpers.blackbox import Place
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.older import (
    OLD_SCHEMA,
    create_older_home,
    process,
    register,
    restore_older_home,
    schema_of,
)
from tests.helpers.places import ROOT, checkout_only
from tests.helpers.wait import eventually


@pytest.fixture
def older(instance: Instance) -> Instance:
    create_older_home(instance.home)
    return instance


def test_up_migrates_a_home_in_which_nothing_runs(older: Instance):
    older.up(**BRISK)
    assert schema_of(older.home) == SCHEMA
    statuses = {task["id"]: task["status"] for task in json.loads(older.check("list", "--json"))}
    assert (statuses["bg-completed"], statuses["bg-cancelled"]) == ("completed", "cancelled")
    assert older.until("bg-pending").status == "completed"
    assert older.until("bg-waiting").status == "completed"
    lost = older.until("bg-running")  # its worker is not known: it may have been started
    assert (lost.status, lost.error_kind) == ("error", "lost")
    assert older.events("p", 2)[0]["seq"] == 3


@pytest.mark.parametrize("words", [["up"], ["up", "--detach"], ["restart"], ["list"], ["launch", "--", "true"]])
def test_command_names_the_processes_to_stop_and_changes_nothing(older: Instance, words: list[str]):
    with process(older.home, "supervisor", "nursery") as supervisor, process(older.home) as worker:
        register(older.home, "supervisor", supervisor)
        register(older.home, "worker", worker)
        refused = older.run(*words)
        assert refused.returncode == Permanent.exit_code == OlderProcesses.exit_code
        assert f"supervisor {supervisor}, fork server {supervisor}, worker {worker}" in refused.stderr
        assert "First: backburner down" in refused.stderr
    assert schema_of(older.home) == OLD_SCHEMA


def test_up_names_processes_that_an_older_supervisor_left(older: Instance):
    with process(older.home, "flusher") as flusher, process(older.home) as worker:
        register(older.home, "worker", worker)
        refused = older.run("up")
        assert refused.returncode == Permanent.exit_code
        assert f"First: kill {flusher} {worker} " in refused.stderr
    assert schema_of(older.home) == OLD_SCHEMA


def test_doctor_names_the_older_processes(older: Instance):
    with process(older.home, "nursery") as fork_server:
        found = {one["check"]: one for one in json.loads(older.run("doctor", "--json").stdout)["findings"]}
    assert f"fork server {fork_server}" in found["schema"]["what"]
    assert schema_of(older.home) == OLD_SCHEMA


@pytest.fixture
def restored(instance: Instance) -> Instance:
    restore_older_home(instance.home)
    return instance


def tasks(instance: Instance) -> dict[str, dict[str, Any]]:
    """Return the tasks by their description, or by their key if they have none."""
    listed = json.loads(instance.check("list", "--json"))
    return {task["description"] or task["concurrencyKey"]: task for task in listed}


def test_home_that_release_0_1_wrote_keeps_its_tasks(restored: Instance):
    found = tasks(restored)
    assert schema_of(restored.home) == SCHEMA
    assert {name: task["status"] for name, task in found.items()} == {
        "build": "completed",
        "command": "error",
        "after": "error",
        "db/a": "pending",
        "paused": "pending",
        "long": "pending",
    }
    assert [found[name]["errorKind"] for name in ("command", "after", "long")] == ["exit", "dependency", "interrupted"]
    assert (found["db/a"]["uniqueKey"], found["db/a"]["maxAttempts"]) == ("nightly", 3)
    assert restored.check("output", found["build"]["id"]) == "hi\n"
    assert found["db/a"]["id"] in restored.check("launch", "--no-up", "--unique", "nightly", "--", "true")


def test_home_that_release_0_1_wrote_keeps_its_limits_and_its_log(restored: Instance):
    keys = {row["key"]: (row["limit"], row["paused"]) for row in json.loads(restored.check("status", "--json"))["keys"]}
    assert (keys["build"], keys["db/*"], keys["paused"]) == ((1, False), (2, False), (3, True))
    assert restored.check("listen", "--parent", "p2", "--until-now") == ""  # all was acknowledged
    batch = json.loads(restored.check("listen", "--parent", "p2", "--after", "0", "--until-now"))
    assert (batch["seq"], batch["message"]) == (8, "1 background task completed successfully.")


def test_home_that_release_0_1_wrote_keeps_the_successor_of_a_session(restored: Instance):
    launched = json.loads(restored.check("launch", "--no-up", "--json", "--parent", "p", "--", "true"))
    assert launched["parentSessionId"] == "p2"


def test_pending_task_of_release_0_1_runs_after_the_upgrade(restored: Instance):
    waiting = tasks(restored)
    restored.check("cancel", waiting["long"]["id"], waiting["db/a"]["id"])
    restored.check("resume", "paused")
    restored.up(**BRISK)
    assert restored.until(waiting["paused"]["id"]).result == "paused"
    assert restored.events("q", 3)[0]["seq"] > 9


class Upgraded(Place):
    """A state directory, and a source tree that was replaced after the start of the supervisor."""

    started_from: Path

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"PYTHONPATH": str(self.started_from)}


@pytest.fixture
def upgraded(tmp_path: Path) -> Iterator[Place]:
    place = Upgraded.create("upgraded")
    place.snapshot()
    place.started_from = place.tree
    place.check("up", "--detach")
    for path in [*place.tree.rglob("*.py"), *place.tree.rglob("*.sql"), *place.tree.rglob("*.toml")]:
        path.write_text("raise SystemExit('a file of the new version')\n")
    for cache in [*place.tree.rglob("__pycache__")]:
        shutil.rmtree(cache)
    place.started_from = ROOT
    yield place
    place.run("down", "--now")
    place.remove()


@checkout_only
def test_processes_read_nothing_of_a_version_that_replaces_theirs(upgraded: Place):
    assert upgraded.run("run", "--", "sh", "-c", "echo out; exit 3").returncode == 3
    assert upgraded.run("run", "--call", "os:getpid").returncode == 0
    assert upgraded.run("run", "--timeout", "100ms", "--", "sleep", "60").returncode == 1
    id = upgraded.check("launch", "--parent", "ses", "--retries", "1", "--", "sleep", "60").strip()
    (worker,) = eventually(lambda: [one for one in status_of(upgraded)["workers"] if one["taskId"] == id], TIMEOUT)
    os.kill(worker["pid"], signal.SIGKILL)
    eventually(lambda: json.loads(upgraded.check("show", "--json", id))["attempt"] == 2, TIMEOUT)
    upgraded.check("cancel", id)
    upgraded.check("reload")
    upgraded.check("prune")
    assert "a file of the new version" not in (upgraded.home / "supervisor.log").read_text()
    assert [status_of(upgraded)[role]["version"] for role in ("supervisor", "forkServer")] == [version()] * 2


def status_of(place: Place) -> dict[str, Any]:
    return dict(json.loads(place.check("status", "--json")))
