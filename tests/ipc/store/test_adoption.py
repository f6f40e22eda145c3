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
from tests.helpers.yard import MANY, Yard

BATCH = "background_tasks_batch"


def notices(yard: Yard, parent: str, after: int = 0) -> list[dict]:
    """The batches of a parent after a number."""
    return [json.loads(line.text) for line in yard.log.read(parent, after, MANY) if line.type == BATCH]


def told(yard: Yard, parent: str, after: int = 0) -> list[str]:
    """The tasks that a parent was told of, as often as it was."""
    return [task["id"] for notice in notices(yard, parent, after) for task in notice["tasks"]]


def hear(yard: Yard, parent: str, consumer: str = MODEL) -> list[str]:
    """What a consumer that acknowledges is told."""
    cursor = yard.log.cursor(parent, consumer)
    found = told(yard, parent, cursor)
    if lines := yard.log.read(parent, cursor, MANY):
        yard.log.acknowledge(parent, consumer, lines[-1].seq)
    return found


def batched(yard: Yard, parent: str) -> str:
    """A task that ended and was told of."""
    id = yard.run(parent_session_id=parent)
    assert yard.log.form_batch(parent, 5)
    return id


def test_the_heir_is_told_what_the_other_had_not_read_and_the_other_no_more(yard):
    read = batched(yard, "P")
    assert hear(yard, "P") == [read]
    unread, waiting = batched(yard, "P"), yard.run(parent_session_id="P")
    assert adopt(yard.database, "P", "Q").notices == 2
    assert hear(yard, "Q") == [unread, waiting]
    assert hear(yard, "P") == []
    assert yard.log.unbatched() == {}


def test_what_ends_later_is_told_to_the_heir_however_long_ago_it_was_launched(yard):
    pending, running = yard.launch(parent_session_id="P", priority=-1), yard.launch(parent_session_id="P")
    claimed = yard.start(running)
    assert adopt(yard.database, "P", "Q").tasks == 2
    yard.settle(claimed)
    yard.settle(yard.start(pending))
    yard.log.form_batch("Q", 5)
    assert told(yard, "Q") == [running, pending]
    assert told(yard, "P") == []
    assert notices(yard, "Q")[0]["allComplete"] is True


def test_what_is_launched_for_the_former_session_is_the_heirs(yard):
    adopt(yard.database, "P", "Q")
    assert yard.get(yard.launch(parent_session_id="P")).parent_session_id == "Q"


def test_adoptions_form_chains_in_whichever_order_they_come(yard):
    first = batched(yard, "P")
    adopt(yard.database, "P", "Q")
    second = yard.run(parent_session_id="Q")
    adopt(yard.database, "Q", "R")
    assert hear(yard, "R") == [first, second]
    assert {yard.get(yard.launch(parent_session_id=name)).parent_session_id for name in "PQR"} == {"R"}


def test_to_adopt_again_changes_nothing(yard):
    unread = batched(yard, "P")
    adopt(yard.database, "P", "Q")
    for _ in range(2):
        again = adopt(yard.database, "P", "Q")
        assert (again.tasks, again.notices) == (0, 0)
    assert told(yard, "Q") == [unread]


def test_a_session_that_comes_back_gets_all_back_once(yard):
    first = batched(yard, "P")
    adopt(yard.database, "P", "Q")
    second = batched(yard, "Q")
    adopt(yard.database, "Q", "P")
    assert hear(yard, "P") == [first, second]
    assert hear(yard, "Q") == []
    assert {yard.get(yard.launch(parent_session_id=name)).parent_session_id for name in "PQ"} == {"P"}


def test_a_notice_that_the_model_saw_before_is_not_told_again_to_the_heirs_model(yard):
    seen = batched(yard, "P")
    hear(yard, "P")
    yard.log.acknowledge("P", "slow", 1)  # somebody else has read nothing yet
    unseen = batched(yard, "P")
    adopt(yard.database, "P", "Q")
    assert hear(yard, "Q") == [unseen]
    assert hear(yard, "Q", "slow") == [seen, unseen]


def test_a_reader_that_remembers_its_last_number_misses_nothing_of_what_is_older(yard):
    unread = batched(yard, "P")
    own = batched(yard, "Q")
    last = notices(yard, "Q")[-1]["seq"]
    adopt(yard.database, "P", "Q")
    assert told(yard, "Q", last) == [unread]
    assert hear(yard, "Q") == [own, unread]


def test_all_is_complete_when_nothing_of_the_heirs_is_left(yard):
    batched(yard, "P")
    batched(yard, "P")
    own = yard.launch(parent_session_id="Q")
    adopt(yard.database, "P", "Q")
    assert [notice["allComplete"] for notice in notices(yard, "Q")] == [False, False]
    yard.queue.cancel(own)
    adopt(yard.database, "Q", "R")
    assert [notice["allComplete"] for notice in notices(yard, "R")] == [False, False, True]


def test_an_end_is_told_once_to_those_who_hear_of_everybody(yard):
    id = yard.run(parent_session_id="P")
    adopt(yard.database, "P", "Q")
    ends = [line for line in yard.log.read(None, 0, MANY) if line.type == "background_task_completed"]
    assert [json.loads(line.text)["taskId"] for line in ends] == [id]


@pytest.mark.parametrize(("parent", "successor", "field"), [("P", "P", "to"), ("*", "P", "from"), ("P", "*", "to")])
def test_nonsense_is_refused(yard, parent, successor, field):
    with pytest.raises(InvalidInput) as refusal:
        adopt(yard.database, parent, successor)
    assert refusal.value.field == field


@pytest.mark.parametrize("edge", ["before", "after"])
def test_killed_at_its_commit_it_has_happened_or_not_and_nothing_is_lost(yard, home, monkeypatch, tmp_path, edge):
    ids = [batched(yard, "P"), yard.run(parent_session_id="P")]
    running = yard.start(yard.launch(parent_session_id="P"))
    ordered(tmp_path, f"command database.commit@_Write._finish<_Write.__exit__<SqliteSessions.adopt {edge}")
    monkeypatch.setenv(WATCH, str(tmp_path))
    assert backburner(home, "adopt", "--from", "P", "--to", "Q").returncode == -9
    assert (told(yard, "Q") == []) is (edge == "before")
    (tmp_path / "order").unlink()
    assert backburner(home, "adopt", "--from", "P", "--to", "Q").returncode == 0
    yard.settle(running)
    yard.log.form_batch("Q", 5)
    assert hear(yard, "Q") == [*ids, running.id]
    assert hear(yard, "P") == []


def ordered(folder: Path, edge: str) -> None:
    """Have the first process that comes there killed."""
    (folder / "order").write_text(json.dumps({"token": "adopt", "kill": edge, "nth": 1}))


def test_a_batch_that_forms_meanwhile_is_told_once(yard, home):
    """Both are transactions: whichever comes first, the successor hears of each end once."""
    ids = [yard.run(parent_session_id="P") for _ in range(12)]
    yard.log.form_batch("P", 5)
    adopt(yard.database, "P", "Q")
    assert not yard.log.form_batch("P", 5)
    assert told(yard, "Q") == ids


def test_the_command_tells_what_changed_hands(yard, home):
    batched(yard, "P")
    yard.queue.launch(LaunchInput(command=("true",), parent_session_id="P"))
    done = backburner(home, "adopt", "--from", "P", "--to", "Q")
    assert (done.returncode, done.stdout) == (0, "Q took over 2 tasks and 1 notification from P\n")
    assert backburner(home, "adopt", "--from", "P", "--to", "P").returncode == 2
