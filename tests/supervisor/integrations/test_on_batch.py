"""The user's `on_batch` command runs for a batch until it succeeds, however often it fails."""

from __future__ import annotations

import json
import os
from pathlib import Path
from selectors import DefaultSelector

import pytest

from backburner.ipc.model.event import ALL_SESSIONS
from backburner.ipc.store.values import PAGE_BYTES
from backburner.supervisor.integrations import on_batch
from backburner.supervisor.integrations.on_batch import BatchCommand
from backburner.supervisor.integrations.people import CONSUMER
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually

#: Records the call, waits while the file `hold` exists, and fails as often as the file `failures` specifies.
SCRIPT = """\
#!/bin/sh
echo called >> "$1/calls"
while [ -e "$1/hold" ]; do sleep 0.05; done
[ "$(wc -l < "$1/calls")" -gt "$(cat "$1/failures")" ]
"""
LONG = 10_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a command that the user's configuration names."""
    script = tmp_path / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    configure(tmp_path)
    return tmp_path


def configure(folder: Path | None) -> None:
    """Name the folder's command, or none, in the user's configuration."""
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "backburner" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"on_batch = {json.dumps([str(folder / 'script'), str(folder)] if folder else [])}\n")


def fail(folder: Path, times: int) -> None:
    (folder / "failures").write_text(str(times))


def calls(folder: Path) -> int:
    path = folder / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


def batch(queue_db: QueueDatabase) -> None:
    queue_db.run(parent_session_id="P")
    queue_db.log.form_batch("P", 5)


def publish(queue_db: QueueDatabase, command: BatchCommand, after: int = 0) -> None:
    """Show the command all events after a number, as the flusher does."""
    while lines := queue_db.log.page(None, after, 256)[0]:
        command.observe(lines, after)
        after = lines[-1].seq


def deliver_all(queue_db: QueueDatabase, command: BatchCommand) -> None:
    """Take turns until all batches are delivered."""
    publish(queue_db, command)

    def delivered() -> bool:
        command.turn()
        return queue_db.log.cursor(ALL_SESSIONS, CONSUMER) == queue_db.log.last_seq()

    eventually(delivered, 50)


def test_command_is_retried_until_it_succeeds_with_few_log_lines(queue_db, folder, monkeypatch, capsys):
    monkeypatch.setattr(on_batch, "LAST_DELAY", 0.0)
    fail(folder, 20)
    command = BatchCommand(DefaultSelector(), queue_db.store)
    batch(queue_db)
    deliver_all(queue_db, command)
    assert calls(folder) == 21
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == on_batch.MAX_LOGGED + 1
    assert "10 times; will try again" in lines[-2]
    assert "after 20 failures" in lines[-1]


def test_next_flusher_retries_a_batch_that_has_failed_often(queue_db, folder, monkeypatch):
    monkeypatch.setattr(on_batch, "LAST_DELAY", 0.0)
    fail(folder, 15)
    command = BatchCommand(DefaultSelector(), queue_db.store)
    batch(queue_db)
    publish(queue_db, command)
    eventually(lambda: (command.turn(), calls(folder) >= 12)[1], 50)
    command.stop()
    deliver_all(queue_db, BatchCommand(DefaultSelector(), queue_db.store))
    assert calls(folder) >= 16


def test_reconfigured_command_is_tried_at_once(queue_db, folder, monkeypatch):
    monkeypatch.setattr(on_batch, "FIRST_DELAY", LONG)
    monkeypatch.setattr(on_batch, "LAST_DELAY", LONG)
    fail(folder, 1)
    command = BatchCommand(DefaultSelector(), queue_db.store)
    batch(queue_db)
    publish(queue_db, command)
    eventually(lambda: (command.turn() or 0.0) > on_batch.TIMEOUT, 50, "a pause after the failure")
    command.configure()
    deliver_all(queue_db, command)
    assert calls(folder) == 2


def test_published_batches_are_delivered_without_reading_the_log(queue_db, folder, monkeypatch):
    fail(folder, 0)
    command = BatchCommand(DefaultSelector(), queue_db.store)
    command.turn()
    batch(queue_db)
    lines, _ = queue_db.log.page(None, 0, 256)
    with monkeypatch.context() as patched:
        patched.setattr(type(queue_db.log), "page", lambda *_arguments: pytest.fail("the log was read"))
        command.observe(lines, 0)
        eventually(lambda: (command.turn(), calls(folder) == 1)[1], 50)
    deliver_all(queue_db, command)
    assert calls(folder) == 1


def test_batches_of_a_missing_page_are_read_from_the_log(queue_db, folder):
    fail(folder, 0)
    command = BatchCommand(DefaultSelector(), queue_db.store)
    command.turn()
    batch(queue_db)
    missed = queue_db.log.last_seq()
    batch(queue_db)
    publish(queue_db, command, missed)
    deliver_all(queue_db, command)
    assert calls(folder) == 2


def test_batches_beyond_the_limit_are_read_from_the_log(queue_db, folder, monkeypatch):
    monkeypatch.setattr(on_batch, "PAGE", 8)
    fail(folder, 0)
    command = BatchCommand(DefaultSelector(), queue_db.store)
    command.turn()
    for _ in range(10):
        batch(queue_db)
    publish(queue_db, command)
    assert len(command._waiting) <= 8
    deliver_all(queue_db, command)
    assert calls(folder) == 10


def test_large_batches_that_wait_do_not_fill_the_memory(queue_db, folder):
    fail(folder, 0)
    command = BatchCommand(DefaultSelector(), queue_db.store)
    command.turn()
    for _ in range(3):
        queue_db.run(parent_session_id="P", metadata={"text": "x" * 600_000})
        queue_db.log.form_batch("P", 1)
    publish(queue_db, command)
    assert sum(len(line.frame) for line in command._waiting) <= PAGE_BYTES
    deliver_all(queue_db, command)
    assert calls(folder) == 3


@pytest.mark.parametrize("how", ["when it has ended", "while it runs"])
@pytest.mark.parametrize("failures", [0, 1])
def test_command_removed_and_added_again_gets_no_old_batches(queue_db, folder, how, failures):
    fail(folder, failures)
    (folder / "hold").touch()
    command = BatchCommand(DefaultSelector(), queue_db.store)
    batch(queue_db)
    batch(queue_db)
    publish(queue_db, command)
    eventually(lambda: (command.turn(), calls(folder) == 1)[1], 50)
    configure(None)
    command.configure()
    if how == "when it has ended":
        (folder / "hold").unlink()
        eventually(lambda: command.turn() is None, 50)
        assert CONSUMER not in queue_db.log.cursors(ALL_SESSIONS)
    batch(queue_db)
    configure(folder)
    command.configure()
    batch(queue_db)
    publish(queue_db, command)
    (folder / "hold").unlink(missing_ok=True)
    deliver_all(queue_db, command)
    assert calls(folder) == 2


@pytest.mark.parametrize(
    ("failures", "delay"), [(1, 1.0), (2, 2.0), (9, 256.0), (10, 300.0), (11, 300.0), (10**6, 300.0)]
)
def test_delay_between_tries_grows_up_to_a_bound(failures, delay):
    assert on_batch.delay_after(failures) == delay
