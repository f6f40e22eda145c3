"""One test for each failure of the seed design (`scripts/mutations` brings each failure back)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backburner import BackgroundManager, LaunchInput, TaskStatus
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import Instance
from tests.helpers.journals import wait_for_numbers
from tests.helpers.places import IMPORT_ROOT
from tests.helpers.processes import are_gone, is_alive, kill
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually

#: Seconds until a test fails. What these tests wait for takes a fraction of a second.
TIMEOUT = 6.0

ONE_AT_A_TIME = {**BRISK, "default_concurrency": 1}


@pytest.fixture
def instance(instance: Instance) -> Instance:
    """Return the instance with a short timeout, in which nothing runs yet."""
    instance.timeout = TIMEOUT
    return instance


def test_pending_tasks_are_queued_again_after_a_restart(instance: Instance):
    first = instance.launch("true")
    instance.up(**ONE_AT_A_TIME)
    assert instance.until(first).status == "completed"
    instance.launch_sleeper()
    waiting = [instance.launch("true") for _ in range(3)]
    instance.kill("supervisor")
    instance.up(**ONE_AT_A_TIME)
    assert [instance.task(id).status for id in waiting] == ["pending"] * 3
    instance.check("cancel", *[task.id for task in map(instance.task, instance.queue.unfinished()) if task.pid])
    assert [instance.until(id).status for id in waiting] == ["completed"] * 3


def test_running_task_ends_after_its_process_and_worker_died(instance: Instance):
    instance.up(**ONE_AT_A_TIME)
    id = instance.launch_sleeper()
    after, pid, worker = instance.launch("true"), instance.pid(id), instance.worker_of(id)
    instance.kill("supervisor")
    kill(worker)
    instance.up(**ONE_AT_A_TIME)
    task = instance.until(id)
    assert (task.status, task.error_kind, task.slot) == ("error", "lost", None)
    assert not is_alive(pid)
    assert instance.until(after).status == "completed"


def test_slot_of_an_ended_task_is_given_out_again(instance: Instance):
    instance.up(**ONE_AT_A_TIME, worker_idle_s=0.1)
    for command in ("true", "false", "no-such-program", "true"):
        assert instance.until(instance.launch(command)).status.ended
        eventually(lambda: instance.status()["workers"] == [], TIMEOUT)


def test_task_cancelled_while_pending_is_never_started(instance: Instance, tmp_path: Path):
    instance.up(**ONE_AT_A_TIME)
    first = instance.launch_sleeper()
    queued = instance.launch("touch", str(tmp_path / "started"))
    after = instance.launch("true")
    instance.queue.cancel(queued)
    instance.queue.cancel(first)
    assert instance.until(after).status == "completed"
    assert (instance.task(queued).status, instance.task(queued).attempt) == ("cancelled", 0)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.ERROR])
def test_cancel_of_an_ended_task_changes_nothing(queue_db: QueueDatabase, status: TaskStatus):
    id = queue_db.run(status, parent_session_id="me")
    before = queue_db.get(id)
    with BackgroundManager(queue_db.home.folder) as manager:
        assert manager.cancel_task(id) is False
    assert queue_db.get(id) == before
    assert len(queue_db.log.read("me", 0, 100)) == 2  # started, ended


def test_settlement_under_an_old_claim_changes_nothing(queue_db: QueueDatabase):
    id = queue_db.launch(retries=1)
    old = queue_db.start(id)
    assert queue_db.settle(old, TaskStatus.PENDING, not_before=None) == "pending"
    new = queue_db.start(id)
    assert queue_db.settle(old, result="old") is None
    assert (queue_db.get(id).status, queue_db.get(id).result) == ("running", None)
    assert queue_db.settle(new, result="new") == "completed"
    assert queue_db.settle(new, TaskStatus.ERROR) is None
    assert (queue_db.get(id).status, queue_db.get(id).result) == ("completed", "new")


def test_first_verdict_stands(instance: Instance):
    instance.up(**ONE_AT_A_TIME)
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"
    id = instance.launch(sys.executable, "-S", "-c", script)
    instance.pid(id)
    with BackgroundManager(instance.folder) as first, BackgroundManager(instance.folder) as second:
        assert first.complete_task(id, "first") is True
        assert second.fail_task(id, "second") is False
        assert second.cancel_task(id) is False
    task = instance.until(id)
    assert (task.status, task.result, task.error) == ("completed", "first", None)


def test_queue_continues_after_a_task_that_cannot_be_started(instance: Instance, tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    heads = [
        instance.launch("no-such-program"),
        instance.launch("/etc/passwd"),
        instance.launch("true", cwd=str(folder)),
    ]
    after = instance.launch("true")
    folder.rmdir()
    instance.up(**ONE_AT_A_TIME)
    assert instance.until(after).status == "completed"
    assert [instance.task(id).error_kind for id in heads] == ["spawn"] * 3


def test_unbatched_ends_survive_a_killed_flusher(instance: Instance):
    instance.up(**{**ONE_AT_A_TIME, "notification_batch_window_ms": 600_000})
    id = instance.launch("true", parentSessionId="me")
    instance.until(id)
    eventually(lambda: instance.status()["log"]["unbatched"] == 1, TIMEOUT)
    instance.kill("flusher")
    (batch,) = instance.batches("me", 1)
    assert [task["id"] for task in batch["tasks"]] == [id]
    assert (batch["completedCount"], batch["allComplete"]) == (1, True)


def test_all_complete_is_true_only_when_the_parent_has_no_unfinished_task(instance: Instance):
    instance.up(**ONE_AT_A_TIME)
    first, last = (
        instance.launch_sleeper(parentSessionId="me"),
        instance.launch("true", parentSessionId="me", delayMs=600_000),
    )
    instance.queue.cancel(first)
    (batch,) = instance.batches("me", 1)
    assert (batch["count"], batch["allComplete"]) == (1, False)
    instance.queue.cancel(last)
    assert [batch["allComplete"] for batch in instance.batches("me", 2)] == [False, True]


def test_batch_counts_a_cancelled_task_as_cancelled(instance: Instance):
    instance.up(**ONE_AT_A_TIME)
    id = instance.launch_sleeper(parentSessionId="me")
    instance.queue.cancel(id)
    (batch,) = instance.batches("me", 1)
    counts = [batch[name] for name in ("count", "completedCount", "failedCount", "cancelledCount")]
    assert counts == [1, 0, 0, 1]
    assert batch["message"] == "1 background task cancelled."


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what a process writes in /proc/self/io")
def test_bytes_written_per_task_do_not_grow_with_history(queue_db: QueueDatabase):
    few = written(queue_db, 20)
    for _ in range(15):
        launches = [LaunchInput(command=("true",), description="history", concurrency_key="history")] * 100
        for one in queue_db.queue.launch_many(launches):
            queue_db.queue.cancel(one.id)
    assert written(queue_db, 20) < 1.5 * few


def written(queue_db: QueueDatabase, tasks: int) -> int:
    """Return the bytes that are written for these tasks, from launch to end."""
    queue_db.store.checkpoint()
    before = bytes_written()
    for _ in range(tasks):
        queue_db.run()
    return bytes_written() - before


def bytes_written() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def test_callback_that_raises_does_not_stop_others(instance: Instance, caplog: pytest.LogCaptureFixture):
    instance.up(**ONE_AT_A_TIME)
    completed: list[str] = []

    def throw(task: object) -> None:
        raise RuntimeError("from a callback")

    with BackgroundManager(instance.folder) as manager:
        manager.on_start(throw)
        manager.on_complete(throw)
        manager.on_complete(lambda task: completed.append(task.id))
        ids = [manager.launch(command=("true",)).id for _ in range(3)]
        assert [task.status for task in manager.wait(*ids, timeout=TIMEOUT)] == ["completed"] * 3
    assert completed == ids
    assert "from a callback" in caplog.text


LAUNCHER = """
import sys
sys.path.append(sys.argv[1])
from backburner import BackgroundManager
with BackgroundManager(sys.argv[2]) as manager:
    sys.stdin.readline()
    for number in range(20):
        manager.launch(command=["true"], description=f"{sys.argv[3]} {number}")
"""


def test_tasks_of_four_concurrent_launchers_are_all_kept(instance: Instance):
    words = [sys.executable, "-P", "-c", LAUNCHER, str(IMPORT_ROOT), str(instance.folder)]
    launchers = [subprocess.Popen([*words, name], stdin=subprocess.PIPE, text=True) for name in "abcd"]
    for launcher in launchers:
        launcher.communicate("go\n", timeout=30)
        assert launcher.returncode == 0
    with BackgroundManager(instance.folder) as manager:
        found = sorted(task.description or "" for task in manager.get_all_tasks())
    assert found == sorted(f"{name} {number}" for name in "abcd" for number in range(20))


def test_corrupt_database_is_reported_and_left_unchanged(instance: Instance):
    instance.launch("true")
    instance.close_store()
    for path in instance.folder.glob("backburner.db*"):
        path.unlink()
    rubbish = b'{"tasks": {"bg-1": {"status": "pend' * 500
    instance.home.database.write_bytes(rubbish)
    for words in (("launch", "--", "true"), ("up",), ("list",)):
        done = instance.run(*words)
        assert done.returncode == 100, done
        assert "not a database" in done.stderr
    assert instance.home.database.read_bytes() == rubbish


# deliberate changes from the seed


def test_key_of_a_task_without_a_model_is_its_agent(instance: Instance):
    ids = [instance.launch("true"), instance.launch(call="time:time"), instance.launch(agent="external")]
    assert [instance.task(id).concurrency_key for id in ids] == ["command", "python", "external"]
    assert instance.task(instance.launch("true", model="opus")).concurrency_key == "opus"
    assert instance.task(instance.launch("true", model="opus", concurrencyKey="k")).concurrency_key == "k"


def test_task_is_cancelled_only_after_its_process_tree_is_gone(instance: Instance, tmp_path: Path):
    instance.up(**ONE_AT_A_TIME)
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 600; done"
    id = instance.launch("sh", "-c", script)
    pids = wait_for_numbers(tmp_path / "pid", 1)
    task = instance.queue.cancel(id)
    assert (task.status, task.stopping) == ("running", True)
    after = instance.launch("true")
    instance.until(after)
    assert are_gone(pids)
    assert instance.task(id).status == "cancelled"


def test_seed_json_can_be_exported_and_imported_and_is_not_the_store(instance: Instance, tmp_path: Path):
    id = instance.launch("true", description="to be exported")
    text = instance.check("export", "--seed")
    assert json.loads(text)["tasks"][id]["status"] == "pending"
    assert [path.name for path in instance.folder.glob("*.json")] == []
    instance.close_store()
    other = Instance(tmp_path / "other")
    other.folder.mkdir(mode=0o700)
    (tmp_path / "background-manager.json").write_text(text)
    other.check("import", str(tmp_path / "background-manager.json"))
    with other:
        assert (other.task(id).status, other.task(id).description) == ("pending", "to be exported")
