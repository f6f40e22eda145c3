"""Reading the event log in order."""

from __future__ import annotations

from backburner.ipc.model.event import ALL_SESSIONS
from backburner.ipc.store.log_reader import LogReader, start_of
from tests.helpers.queue_db import QueueDatabase


def read(queue_db: QueueDatabase, after: int, parent: str = "ses-1") -> list[tuple[int, str]]:
    reader = LogReader(queue_db.log, parent, after)
    return [(event.seq, event.type.rpartition("_")[2]) for event in reader.events()]


def delete_events(queue_db: QueueDatabase, last: int) -> None:
    queue_db.store.maintenance.delete_events(list(range(1, last + 1)), {"ses-1": last, ALL_SESSIONS: last}, before=0)


def test_reader_continues_after_a_number(queue_db):
    queue_db.run(parent_session_id="ses-1")
    queue_db.run(parent_session_id="ses-2")
    assert read(queue_db, 0) == [(1, "started"), (2, "completed")]
    assert read(queue_db, 1) == [(2, "completed")]
    assert read(queue_db, 3, ALL_SESSIONS) == [(4, "completed")]


def test_reader_reports_deleted_events_once(queue_db):
    queue_db.run(parent_session_id="ses-1")
    delete_events(queue_db, 1)
    reader = LogReader(queue_db.log, "ses-1", 0)
    first, second = reader.events()
    assert (first.type, first.seq, first.data) == ("log_truncated", 1, {"firstSeq": 2})
    assert (first.parent_session_id, second.seq) == ("ses-1", 2)
    assert list(reader.events()) == []
    assert read(queue_db, 1) == [(2, "completed")]


def test_reader_reports_that_all_events_were_deleted(queue_db):
    queue_db.run(parent_session_id="ses-1")
    delete_events(queue_db, 2)
    assert read(queue_db, 0, ALL_SESSIONS) == [(2, "truncated")]


def test_reader_with_a_number_of_another_log_reads_everything(queue_db):
    queue_db.run(parent_session_id="ses-1")
    assert read(queue_db, 1000) == [(0, "truncated"), (1, "started"), (2, "completed")]


def test_reader_starts_after_the_number_the_cursor_or_the_newest_event(queue_db):
    queue_db.run(parent_session_id="ses-1")
    queue_db.log.acknowledge("ses-1", "default", 1)
    assert start_of(queue_db.log, "ses-1", None, 0) == 0
    assert start_of(queue_db.log, "ses-1", None, None) == 1
    assert start_of(queue_db.log, "ses-1", "model", None) == 0
    assert start_of(queue_db.log, ALL_SESSIONS, None, None) == 2
