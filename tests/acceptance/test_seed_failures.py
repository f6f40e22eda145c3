"""Where the design that this one descends from fails: each failure one test; scripts/mutations brings each back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner import BackgroundManager, TaskStatus
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import Instance
from tests.helpers.journals import wait_for_numbers
from tests.helpers.places import IMPORT_ROOT
from tests.helpers.processes import are_gone, is_alive, kill
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually

#: Seconds: what is waited for here comes in a fraction of one, or never.
PATIENCE = 6.0

NARROW = {**BRISK, "default_concurrency": 1}


@pytest.fixture
def narrow(instance: Instance) -> Instance:
    """A home in which one task of a key runs at a time; no supervisor yet."""
    instance.timeout = PATIENCE
    return instance


@pytest.fixture
def queue_db(home: Path) -> Iterator[QueueDatabase]:
    with QueueDatabase(home) as queue_db:
        yield queue_db


def test_pending_tasks_are_queued_again_after_a_restart(narrow: Instance):
    first = narrow.launch("true")
    narrow.up(**NARROW)
    assert narrow.until(first).status == "completed"
    narrow.launch_sleeper()
    waiting = [narrow.launch("true") for _ in range(3)]
    narrow.kill("supervisor")
    narrow.up(**NARROW)
    assert [narrow.task(id).status for id in waiting] == ["pending"] * 3
    narrow.check("cancel", *[task.id for task in map(narrow.task, narrow.queue.unfinished()) if task.pid])
    assert [narrow.until(id).status for id in waiting] == ["completed"] * 3


def test_running_tasks_do_not_stay_running_after_their_process_and_its_owner_died(narrow: Instance):
    narrow.up(**NARROW)
    id = narrow.launch_sleeper()
    after, pid, worker = narrow.launch("true"), narrow.pid(id), narrow.worker_of(id)
    narrow.kill("supervisor")
    kill(worker)
    narrow.up(**NARROW)
    task = narrow.until(id)
    assert (task.status, task.error_kind, task.slot) == ("error", "lost", None)
    assert not is_alive(pid)
    assert narrow.until(after).status == "completed"


def test_the_slot_of_a_task_that_ended_is_given_out_again(narrow: Instance):
    narrow.up(**NARROW, worker_idle_s=0.1)
    for command in ("true", "false", "no-such-program", "true"):
        assert narrow.until(narrow.launch(command)).status.ended
        eventually(lambda: narrow.status()["workers"] == [], PATIENCE)


def test_a_task_cancelled_while_queued_is_never_started(narrow: Instance, tmp_path: Path):
    narrow.up(**NARROW)
    first = narrow.launch_sleeper()
    queued = narrow.launch("touch", str(tmp_path / "started"))
    after = narrow.launch("true")
    narrow.queue.cancel(queued)
    narrow.queue.cancel(first)
    assert narrow.until(after).status == "completed"
    assert (narrow.task(queued).status, narrow.task(queued).attempt) == ("cancelled", 0)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.ERROR])
def test_cancelling_an_ended_task_changes_nothing(queue_db: QueueDatabase, status: TaskStatus):
    id = queue_db.run(status, parent_session_id="me")
    before = queue_db.get(id)
    with BackgroundManager(queue_db.home.folder) as manager:
        assert manager.cancel_task(id) is False
    assert queue_db.get(id) == before
    assert len(queue_db.log.read("me", 0, 100)) == 2  # started, ended


def test_an_old_claim_settles_nothing(queue_db: QueueDatabase):
    id = queue_db.launch(retries=1)
    old = queue_db.start(id)
    assert queue_db.settle(old, TaskStatus.PENDING, not_before=None) == "pending"
    new = queue_db.start(id)
    assert queue_db.settle(old, result="old") is None
    assert (queue_db.get(id).status, queue_db.get(id).result) == ("running", None)
    assert queue_db.settle(new, result="new") == "completed"
    assert queue_db.settle(new, TaskStatus.ERROR) is None
    assert (queue_db.get(id).status, queue_db.get(id).result) == ("completed", "new")


def test_the_first_verdict_stands_whoever_is_second(narrow: Instance):
    narrow.up(**NARROW)
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"
    id = narrow.launch(sys.executable, "-S", "-c", script)
    narrow.pid(id)
    with BackgroundManager(narrow.folder) as first, BackgroundManager(narrow.folder) as second:
        assert first.complete_task(id, "first") is True
        assert second.fail_task(id, "second") is False
        assert second.cancel_task(id) is False
    task = narrow.until(id)
    assert (task.status, task.result, task.error) == ("completed", "first", None)


def test_a_queue_whose_head_cannot_be_started_moves_on(narrow: Instance, tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    heads = [narrow.launch("no-such-program"), narrow.launch("/etc/passwd"), narrow.launch("true", cwd=str(folder))]
    after = narrow.launch("true")
    folder.rmdir()
    narrow.up(**NARROW)
    assert narrow.until(after).status == "completed"
    assert [narrow.task(id).error_kind for id in heads] == ["spawn"] * 3


def test_notices_outlive_the_process_that_holds_them(narrow: Instance):
    narrow.up(**{**NARROW, "notification_batch_window_ms": 600_000})
    id = narrow.launch("true", parentSessionId="me")
    narrow.until(id)
    eventually(lambda: narrow.status()["log"]["unbatched"] == 1, PATIENCE)
    narrow.kill("flusher")
    (batch,) = narrow.batches("me", 1)
    assert [task["id"] for task in batch["tasks"]] == [id]
    assert (batch["completedCount"], batch["allComplete"]) == (1, True)


def test_a_batch_is_all_complete_only_when_no_task_of_its_parent_is_left(narrow: Instance):
    narrow.up(**NARROW)
    first, last = (
        narrow.launch_sleeper(parentSessionId="me"),
        narrow.launch("true", parentSessionId="me", delayMs=600_000),
    )
    narrow.queue.cancel(first)
    (batch,) = narrow.batches("me", 1)
    assert (batch["count"], batch["allComplete"]) == (1, False)
    narrow.queue.cancel(last)
    assert [batch["allComplete"] for batch in narrow.batches("me", 2)] == [False, True]


def test_a_cancelled_task_counts_as_cancelled(narrow: Instance):
    narrow.up(**NARROW)
    id = narrow.launch_sleeper(parentSessionId="me")
    narrow.queue.cancel(id)
    (batch,) = narrow.batches("me", 1)
    counts = [batch[name] for name in ("count", "completedCount", "failedCount", "cancelledCount")]
    assert counts == [1, 0, 0, 1]
    assert batch["message"] == "1 background task cancelled."


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what a process writes in /proc/self/io")
def test_what_a_change_writes_does_not_grow_with_history(queue_db: QueueDatabase):
    few = written(queue_db, 20)
    for _ in range(15):
        for one in queue_db.queue.launch_many([yard_launch() for _ in range(100)]):
            queue_db.queue.cancel(one.id)
    assert written(queue_db, 20) < 1.5 * few


def yard_launch():
    from backburner import LaunchInput

    return LaunchInput(command=("true",), description="history", concurrency_key="history")


def written(queue_db: QueueDatabase, tasks: int) -> int:
    """Bytes that so many tasks write, from launch to end."""
    queue_db.database.checkpoint()
    before = bytes_written()
    for _ in range(tasks):
        queue_db.run()
    return bytes_written() - before


def bytes_written() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def test_a_callback_that_throws_breaks_nothing(narrow: Instance, caplog: pytest.LogCaptureFixture):
    narrow.up(**NARROW)
    heard: list[str] = []

    def throw(task: object) -> None:
        raise RuntimeError("from a callback")

    with BackgroundManager(narrow.folder) as manager:
        manager.on_start(throw)
        manager.on_complete(throw)
        manager.on_complete(lambda task: heard.append(task.id))
        ids = [manager.launch(command=("true",)).id for _ in range(3)]
        assert [task.status for task in manager.wait(*ids, timeout=PATIENCE)] == ["completed"] * 3
    assert heard == ids
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


def test_processes_do_not_overwrite_each_others_state(narrow: Instance):
    words = [sys.executable, "-P", "-c", LAUNCHER, str(IMPORT_ROOT), str(narrow.folder)]
    launchers = [subprocess.Popen([*words, name], stdin=subprocess.PIPE, text=True) for name in "abcd"]
    for launcher in launchers:
        launcher.communicate("go\n", timeout=30)
        assert launcher.returncode == 0
    with BackgroundManager(narrow.folder) as manager:
        found = sorted(task.description or "" for task in manager.get_all_tasks())
    assert found == sorted(f"{name} {number}" for name in "abcd" for number in range(20))


def test_a_corrupt_file_is_told_of_and_left_as_it_is(narrow: Instance):
    narrow.launch("true")
    narrow.close_database()
    for path in narrow.folder.glob("backburner.db*"):
        path.unlink()
    rubbish = b'{"tasks": {"bg-1": {"status": "pend' * 500
    narrow.home.database.write_bytes(rubbish)
    for words in (("launch", "--", "true"), ("up",), ("list",)):
        done = narrow.run(*words)
        assert done.returncode == 100, done
        assert "not a database" in done.stderr
    assert narrow.home.database.read_bytes() == rubbish


# changed knowingly


def test_without_a_model_tasks_compete_by_their_agent(narrow: Instance):
    ids = [narrow.launch("true"), narrow.launch(call="time:time"), narrow.launch(agent="external")]
    assert [narrow.task(id).concurrency_key for id in ids] == ["command", "python", "external"]
    assert narrow.task(narrow.launch("true", model="opus")).concurrency_key == "opus"
    assert narrow.task(narrow.launch("true", model="opus", concurrencyKey="k")).concurrency_key == "k"


def test_a_running_task_is_cancelled_when_its_tree_is_gone_and_not_before(narrow: Instance, tmp_path: Path):
    narrow.up(**NARROW)
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 600; done"
    id = narrow.launch("sh", "-c", script)
    pids = wait_for_numbers(tmp_path / "pid", 1)
    asked = narrow.queue.cancel(id)
    assert (asked.status, asked.stopping) == ("running", True)
    after = narrow.launch("true")
    narrow.until(after)
    assert are_gone(pids)
    assert narrow.task(id).status == "cancelled"


def test_the_json_file_is_an_export_and_an_import_and_not_the_store(narrow: Instance, tmp_path: Path):
    id = narrow.launch("true", description="to be saved")
    text = narrow.check("export", "--seed")
    assert json.loads(text)["tasks"][id]["status"] == "pending"
    assert [path.name for path in narrow.folder.glob("*.json")] == []
    narrow.close_database()
    other = Instance(tmp_path / "other")
    other.folder.mkdir(mode=0o700)
    (tmp_path / "background-manager.json").write_text(text)
    other.check("import", str(tmp_path / "background-manager.json"))
    with other:
        assert (other.task(id).status, other.task(id).description) == ("pending", "to be saved")
