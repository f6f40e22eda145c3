"""One session takes over what another waits for: nothing is lost, nothing is told twice, whatever is killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backburner.ipc.errors import InvalidInput
from backburner.ipc.failpoints import WATCH
from backburner.ipc.model.event import MODEL
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.store.sessions import adopt
from tests.helpers.commands import backburner
from tests.helpers.queue_db import MANY, QueueDatabase

BATCH = "background_tasks_batch"


def notices(queue_db: QueueDatabase, parent: str, after: int = 0) -> list[dict]:
    """The batches of a parent after a number."""
    return [json.loads(line.text) for line in queue_db.log.read(parent, after, MANY) if line.type == BATCH]


def told(queue_db: QueueDatabase, parent: str, after: int = 0) -> list[str]:
    """The tasks that a parent was told of, as often as it was."""
    return [task["id"] for notice in notices(queue_db, parent, after) for task in notice["tasks"]]


def hear(queue_db: QueueDatabase, parent: str, consumer: str = MODEL) -> list[str]:
    """What a consumer that acknowledges is told."""
    cursor = queue_db.log.cursor(parent, consumer)
    found = told(queue_db, parent, cursor)
    if lines := queue_db.log.read(parent, cursor, MANY):
        queue_db.log.acknowledge(parent, consumer, lines[-1].seq)
    return found


def batched(queue_db: QueueDatabase, parent: str) -> str:
    """A task that ended and was told of."""
    id = queue_db.run(parent_session_id=parent)
    assert queue_db.log.form_batch(parent, 5)
    return id


def test_the_heir_is_told_what_the_other_had_not_read_and_the_other_no_more(queue_db):
    read = batched(queue_db, "P")
    assert hear(queue_db, "P") == [read]
    unread, waiting = batched(queue_db, "P"), queue_db.run(parent_session_id="P")
    assert adopt(queue_db.database, "P", "Q").notices == 2
    assert hear(queue_db, "Q") == [unread, waiting]
    assert hear(queue_db, "P") == []
    assert queue_db.log.unbatched() == {}


def test_what_ends_later_is_told_to_the_heir_however_long_ago_it_was_launched(queue_db):
    pending, running = queue_db.launch(parent_session_id="P", priority=-1), queue_db.launch(parent_session_id="P")
    claimed = queue_db.start(running)
    assert adopt(queue_db.database, "P", "Q").tasks == 2
    queue_db.settle(claimed)
    queue_db.settle(queue_db.start(pending))
    queue_db.log.form_batch("Q", 5)
    assert told(queue_db, "Q") == [running, pending]
    assert told(queue_db, "P") == []
    assert notices(queue_db, "Q")[0]["allComplete"] is True


def test_what_is_launched_for_the_former_session_is_the_heirs(queue_db):
    adopt(queue_db.database, "P", "Q")
    assert queue_db.get(queue_db.launch(parent_session_id="P")).parent_session_id == "Q"


def test_adoptions_form_chains_in_whichever_order_they_come(queue_db):
    first = batched(queue_db, "P")
    adopt(queue_db.database, "P", "Q")
    second = queue_db.run(parent_session_id="Q")
    adopt(queue_db.database, "Q", "R")
    assert hear(queue_db, "R") == [first, second]
    assert {queue_db.get(queue_db.launch(parent_session_id=name)).parent_session_id for name in "PQR"} == {"R"}


def test_to_adopt_again_changes_nothing(queue_db):
    unread = batched(queue_db, "P")
    adopt(queue_db.database, "P", "Q")
    for _ in range(2):
        again = adopt(queue_db.database, "P", "Q")
        assert (again.tasks, again.notices) == (0, 0)
    assert told(queue_db, "Q") == [unread]


def test_a_session_that_comes_back_gets_all_back_once(queue_db):
    first = batched(queue_db, "P")
    adopt(queue_db.database, "P", "Q")
    second = batched(queue_db, "Q")
    adopt(queue_db.database, "Q", "P")
    assert hear(queue_db, "P") == [first, second]
    assert hear(queue_db, "Q") == []
    assert {queue_db.get(queue_db.launch(parent_session_id=name)).parent_session_id for name in "PQ"} == {"P"}


def test_a_notice_that_the_model_saw_before_is_not_told_again_to_the_heirs_model(queue_db):
    seen = batched(queue_db, "P")
    hear(queue_db, "P")
    queue_db.log.acknowledge("P", "slow", 1)  # somebody else has read nothing yet
    unseen = batched(queue_db, "P")
    adopt(queue_db.database, "P", "Q")
    assert hear(queue_db, "Q") == [unseen]
    assert hear(queue_db, "Q", "slow") == [seen, unseen]


def test_a_reader_that_remembers_its_last_number_misses_nothing_of_what_is_older(queue_db):
    unread = batched(queue_db, "P")
    own = batched(queue_db, "Q")
    last = notices(queue_db, "Q")[-1]["seq"]
    adopt(queue_db.database, "P", "Q")
    assert told(queue_db, "Q", last) == [unread]
    assert hear(queue_db, "Q") == [own, unread]


def test_all_is_complete_when_nothing_of_the_heirs_is_left(queue_db):
    batched(queue_db, "P")
    batched(queue_db, "P")
    own = queue_db.launch(parent_session_id="Q")
    adopt(queue_db.database, "P", "Q")
    assert [notice["allComplete"] for notice in notices(queue_db, "Q")] == [False, False]
    queue_db.queue.cancel(own)
    adopt(queue_db.database, "Q", "R")
    assert [notice["allComplete"] for notice in notices(queue_db, "R")] == [False, False, True]


def test_an_end_is_told_once_to_those_who_hear_of_everybody(queue_db):
    id = queue_db.run(parent_session_id="P")
    adopt(queue_db.database, "P", "Q")
    ends = [line for line in queue_db.log.read(None, 0, MANY) if line.type == "background_task_completed"]
    assert [json.loads(line.text)["taskId"] for line in ends] == [id]


@pytest.mark.parametrize(("parent", "successor", "field"), [("P", "P", "to"), ("*", "P", "from"), ("P", "*", "to")])
def test_nonsense_is_refused(queue_db, parent, successor, field):
    with pytest.raises(InvalidInput) as refusal:
        adopt(queue_db.database, parent, successor)
    assert refusal.value.field == field


@pytest.mark.parametrize("edge", ["before", "after"])
def test_killed_at_its_commit_it_has_happened_or_not_and_nothing_is_lost(queue_db, home, monkeypatch, tmp_path, edge):
    ids = [batched(queue_db, "P"), queue_db.run(parent_session_id="P")]
    running = queue_db.start(queue_db.launch(parent_session_id="P"))
    ordered(tmp_path, f"command database.commit@_Write._finish<_Write.__exit__<SqliteSessions.adopt {edge}")
    monkeypatch.setenv(WATCH, str(tmp_path))
    assert backburner(home, "adopt", "--from", "P", "--to", "Q").returncode == -9
    assert (told(queue_db, "Q") == []) is (edge == "before")
    (tmp_path / "order").unlink()
    assert backburner(home, "adopt", "--from", "P", "--to", "Q").returncode == 0
    queue_db.settle(running)
    queue_db.log.form_batch("Q", 5)
    assert hear(queue_db, "Q") == [*ids, running.id]
    assert hear(queue_db, "P") == []


def ordered(folder: Path, edge: str) -> None:
    """Have the first process that comes there killed."""
    (folder / "order").write_text(json.dumps({"token": "adopt", "kill": edge, "nth": 1}))


def test_a_batch_that_forms_meanwhile_is_told_once(queue_db, home):
    """Both are transactions: whichever comes first, the successor hears of each end once."""
    ids = [queue_db.run(parent_session_id="P") for _ in range(12)]
    queue_db.log.form_batch("P", 5)
    adopt(queue_db.database, "P", "Q")
    assert not queue_db.log.form_batch("P", 5)
    assert told(queue_db, "Q") == ids


def test_the_command_tells_what_changed_hands(queue_db, home):
    batched(queue_db, "P")
    queue_db.queue.launch(LaunchInput(command=("true",), parent_session_id="P"))
    done = backburner(home, "adopt", "--from", "P", "--to", "Q")
    assert (done.returncode, done.stdout) == (0, "Q took over 2 tasks and 1 notification from P\n")
    assert backburner(home, "adopt", "--from", "P", "--to", "P").returncode == 2
