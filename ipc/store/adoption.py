"""A session takes over what another one waits for: its tasks, and the notices that it has not read.

A client may go on under another id: `/clear` makes a new one, a conversation that is continued or forked has another
than the client's servers were started with. So each process of a client is remembered with the session it was last
seen with, and when it is seen with another one, that adopts the former.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..errors import InvalidInput
from ..machine.identity import Identity
from ..model.event import MODEL
from ..validation import Text
from .applied_config import applied_configuration
from .events import acknowledge, cursors, form_batch, last_seq, more_to_come, tell
from .sessions import clear_successor, is_held, note_served, note_session, served_for, session_of, set_successor
from .sqlite.database import Database, Transaction

#: Who hears of all parents, and is none.
EVERYONE = "*"

_NAME = Text(max_bytes=1024, non_empty=True)


@dataclass(frozen=True)
class Adopted:
    """How many tasks changed hands, and how many notices are told again."""

    tasks: int
    notices: int


def adopt(database: Database, parent: str, successor: str) -> Adopted:
    """Have `successor` be told of all that `parent` was not told yet, and of what its tasks come to; one transaction.

    What waits for its window is told at once. Notices that some consumer of `parent` has not acknowledged are told
    to `successor` with new numbers, so that no reader of its events has passed them; whoever acknowledged one of them
    for `parent` has acknowledged it for `successor`, unless something else is unread there. What is launched for
    `parent` later is `successor`'s, until `parent` adopts. Raises InvalidInput, Temporary.
    """
    _refuse_nonsense(parent, successor)
    most = applied_configuration(database).notification_max_batch
    with database.write() as transaction:
        while form_batch(transaction, parent, most):
            pass
        tasks = transaction.run("adopt_tasks", {"parent": parent, "successor": successor})
        notices = _hand_over(transaction, parent, successor)
        set_successor(transaction, parent, successor)
    database.home.wake("flusher")
    return Adopted(tasks, notices)


def arrive(database: Database, process: Identity, session: str, successor: str) -> None:
    """A client's process goes on in a session: what it was last seen with is adopted, unless a living process has it.

    Raises InvalidInput, Temporary.
    """
    for former in _formers(database, process) - {session}:
        if not _is_held(database, former, process):
            adopt(database, former, session)
    appear(database, process, session, successor)


def appear(database: Database, process: Identity, session: str, successor: str) -> None:
    """A client's process is seen with a session, which is its own successor from now on.

    Who adopted it before (`successor`, or it is its own) is adopted, unless a living process has that session. Raises
    InvalidInput, Temporary.
    """
    if successor != session and not _is_held(database, successor, process):
        adopt(database, successor, session)
    with database.write(durable=False) as transaction:
        clear_successor(transaction, session)
        note_session(transaction, process, session)
        note_served(transaction, process, session)


def _formers(database: Database, process: Identity) -> set[str]:
    with database.read() as transaction:
        found = (session_of(transaction, process), served_for(transaction, process))
    return {one for one in found if one is not None}


def _is_held(database: Database, session: str, process: Identity) -> bool:
    with database.read() as transaction:
        return is_held(transaction, session, process)


def _refuse_nonsense(parent: str, successor: str) -> None:
    for name, said in (("from", parent), ("to", successor)):
        _NAME.check(said, name)
        if said == EVERYONE:
            raise InvalidInput(f"{name}: expected one session, got '*'.", field=name)
    if parent == successor:
        raise InvalidInput(f"to: expected another session than {parent}.", field="to")


def _hand_over(transaction: Transaction, parent: str, successor: str) -> int:
    """Tell the successor what is unread, and leave nothing unread behind; how much that was."""
    read = {MODEL: 0} | cursors(transaction, parent)
    caught_up = [consumer for consumer in read if _caught_up(transaction, successor, consumer)]
    old = transaction.all("list_batches", {"parent": parent, "after": min(read.values())})
    new = [_tell_again(transaction, successor, row is old[-1], row["body"]) for row in old]
    for consumer in caught_up:
        passed = sum(row["seq"] <= read[consumer] for row in old)
        acknowledge(transaction, successor, consumer, new[passed - 1] if passed else 0)
    for consumer in read:
        acknowledge(transaction, parent, consumer, last_seq(transaction))
    return len(new)


def _caught_up(transaction: Transaction, parent: str, consumer: str) -> bool:
    after = cursors(transaction, parent).get(consumer, 0)
    return not transaction.value("has_unread_event", {"parent": parent, "after": after})


def _tell_again(transaction: Transaction, parent: str, is_last: bool, body: str) -> int:
    """Put a batch into a parent's log, as it was but for `allComplete`; its number."""
    complete = is_last and not more_to_come(transaction, parent, 0)
    again = json.loads(body) | {"allComplete": complete}
    tell(transaction, parent, json.dumps(again, ensure_ascii=False, separators=(",", ":")), 0)
    return last_seq(transaction)
