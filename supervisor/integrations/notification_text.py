"""The text of a notification for an agent's model. It has a fixed maximum length, and no task can imitate its frame."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...ipc import clock
from ...ipc.model.batch import format_batch_notification
from ...ipc.model.task import command_line
from ...ipc.text.screen import one_line

#: The maximum and the minimum size of a text, in bytes. Clients cut a longer one, and show a small part of it.
MAX_LENGTH, MIN_LENGTH = 7_800, 1_000
#: The first and the last line of a text.
BEGIN, END = "<background-tasks>", "</background-tasks>"
#: The maximum lengths of a title and a result. The second pair counts if not all tasks fit with the first, and so on.
LENGTHS = ((80, 400), (80, 200), (40, 100))
#: The maximum length of a session's name in a command.
MAX_SESSION = 200

#: What replaces characters that could begin or end a tag, or the title of a task.
_MARKUP = str.maketrans({"<": "&lt;", ">": "&gt;"})
_BRACKETS = str.maketrans("[]", "()")

Document = Mapping[str, Any]


def notification_text(batches: Sequence[Document], session: str, room: int = MAX_LENGTH) -> str:
    """Return the batches of a session as one text: the counts, the failed tasks, the other tasks, and how to read on.

    The counts cover all tasks. Tasks without a line are counted in the last one. The text has at most `room` bytes, but
    `MIN_LENGTH` bytes are always used if it needs them.
    """
    tasks = [task for batch in batches for task in batch["tasks"]]
    tasks.sort(key=lambda task: task["status"] != "error")
    head = _counts(batches) + (" You have no unfinished tasks." if batches[-1]["allComplete"] else "")
    tail = f"Full output: the tool `output`, or: backburner output {tasks[0]['id']}"
    total = sum(batch["count"] for batch in batches)
    room = max(MIN_LENGTH, min(room, MAX_LENGTH)) - _length([BEGIN, head, tail, _more(total, session), END])
    shown: list[str] = []
    for lengths in LENGTHS:
        shown = _that_fit((f"- {_task_line(task, *lengths)}" for task in tasks), room)
        if len(shown) == len(tasks):
            break
    more = [_more(total - len(shown), session)] if total > len(shown) else []
    return "\n".join([BEGIN, head, *shown, *more, tail, END])


def plain_line(text: str) -> str:
    """Return a text on one line, as a terminal shows it at the end, without tags."""
    return one_line(text).translate(_MARKUP)


def _counts(batches: Sequence[Document]) -> str:
    count, completed, failed = (
        sum(batch[name] for batch in batches) for name in ("count", "completedCount", "failedCount")
    )
    return format_batch_notification(count, completed, failed)


def _more(count: int, session: str) -> str:
    name = plain_line(session)
    of_session = f" --parent {shlex.quote(name)}" if name == session and len(name) <= MAX_SESSION else ""
    return f"and {count} more: the tool `list`, or: backburner list{of_session}"


def _that_fit(lines: Iterable[str], room: int) -> list[str]:
    """Return the first lines, as many as have this length together."""
    shown = []
    for line in lines:
        room -= _length([line])
        if room < 0:
            break
        shown.append(line)
    return shown


def _length(lines: Iterable[str]) -> int:
    """Return the size of lines with their line ends."""
    return sum(len(line.encode(errors="replace")) + 1 for line in lines)


def _task_line(task: Document, max_title: int, max_result: int) -> str:
    """Return one line: «bg-1 [count lines] completed in 12.0 s: 41 lines»."""
    title = task.get("description") or command_line(task.get("command") or ()) or task.get("call") or task["agent"]
    kind = f" ({task['errorKind']})" if task.get("errorKind") else ""
    result = task.get("result") if task["status"] == "completed" else task.get("error") or task.get("result")
    name = _shortened(title, max_title).translate(_BRACKETS)
    line = f"{task['id']} [{name}] {task['status']}{kind}{_duration(task)}{_leftovers(task)}"
    return f"{line}: {_shortened(result, max_result)}" if result else line


def _leftovers(task: Document) -> str:
    count = task.get("leftovers") or 0
    if not count:
        return ""
    processes = "1 process that it left behind was" if count == 1 else f"{count} processes that it left behind were"
    return f"; {processes} ended (leave_children keeps them)"


def _duration(task: Document) -> str:
    if not (task.get("startedAt") and task.get("completedAt")):
        return ""
    return f" in {(clock.parse(task['completedAt']) - clock.parse(task['startedAt'])) / 1000:.1f} s"


def _shortened(text: str, length: int) -> str:
    """Return the beginning of a text. The markup of a long text is not replaced before it is cut."""
    line = plain_line(text[: 20 * length])
    return line if len(line) <= length else f"{line[:length]}…"
