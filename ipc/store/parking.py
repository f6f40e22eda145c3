"""Parked workers. Each waits in its slot until a launch claims a task for it, without the supervisor.

The store records each parked worker. The transaction that deletes the record decides how the slot is used: a launch
starts its task there, while the supervisor or the worker takes the slot back. After the commit, a launch sends the task
to the worker. A worker that does not receive it finds its running task in the store.
"""

from __future__ import annotations

import json
from zlib import crc32

from ..home import Home
from ..model.claim import Assignment, ReadyTask, Slot, Taken

#: The size in bytes from which an empty message, which only wakes the worker, replaces a message. A pipe takes twice as
#: much without blocking.
MESSAGE_LIMIT = 32 * 1024


def pipe_of(owner: int) -> str:
    """Return the name of the pipe that wakes a worker, for `Home.wake`."""
    return f"output/worker-{owner}"


def send(home: Home, assignment: Assignment) -> bool:
    """Send a task to the worker for which it was claimed. Return False if the worker does not read its pipe."""
    taken = assignment.taken
    body = json.dumps([taken.claim, taken.slot.group, taken.slot.number, taken.started_at, taken.task])
    line = f"{crc32(body.encode())} {body}"
    return home.wake(pipe_of(assignment.owner), line if len(line) < MESSAGE_LIMIT else "")


def decode_message(line: bytes) -> Taken | None:
    """Return the task in a message, or None if the message is damaged or only wakes the worker."""
    checksum, _, body = line.partition(b" ")
    if not body or not checksum.isdigit() or int(checksum) != crc32(body):
        return None
    claim, group, slot, started_at, task = json.loads(body)
    same_release = len(task) == len(ReadyTask._fields)
    return Taken(ReadyTask._make(task), claim, Slot(group, slot), started_at) if same_release else None
