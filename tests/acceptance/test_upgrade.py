"""The commands of this release in a home of release 0.1."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backburner.ipc.errors import OlderProcesses, Permanent
from backburner.ipc.store.sqlite.file.database import SCHEMA
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import Instance
from tests.helpers.older import (
    OLD_SCHEMA,
    create_older_home,
    process,
    register,
    restore_older_home,
    schema_of,
)


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
