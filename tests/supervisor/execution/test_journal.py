"""The journal of a worker."""

from __future__ import annotations

import os

from backburner.supervisor.execution.journal import MAX_SIZE, Journal, entries_by_claim
from tests.helpers.queue_db import QueueDatabase


def test_long_journal_is_truncated_at_the_start_of_a_series(queue_db: QueueDatabase):
    journal = Journal(queue_db.home, queue_db.owner)
    while journal.path.stat().st_size <= MAX_SIZE:
        journal.note_end(1, {"stdout": "x" * 60_000})
    journal.start_over()
    assert journal.path.stat().st_size == 0
    journal.note_start(2)
    assert [entry.claim for entry in journal.read()] == [2]
    os.close(journal.descriptor)


def test_torn_line_is_left_out(queue_db: QueueDatabase):
    journal = Journal(queue_db.home, queue_db.owner)
    journal.note_start(1)
    journal.note_end(1, {"result": "well"})
    whole = journal.path.read_bytes()
    for size in range(whole.index(b"\n") + 1, len(whole)):
        journal.path.write_bytes(whole[:size])
        assert [entry.kind for entry in entries_by_claim(queue_db.home, queue_db.owner)[1]] == ["s"]
    journal.path.write_bytes(whole)
    assert [entry.kind for entry in entries_by_claim(queue_db.home, queue_db.owner)[1]] == ["s", "e"]
    os.close(journal.descriptor)


def test_end_line_with_a_wrong_checksum_is_left_out(queue_db: QueueDatabase):
    journal = Journal(queue_db.home, queue_db.owner)
    journal.note_end(1, {"result": "well"})
    journal.path.write_bytes(journal.path.read_bytes().replace(b"well", b"hell"))
    assert entries_by_claim(queue_db.home, queue_db.owner) == {}
    os.close(journal.descriptor)
