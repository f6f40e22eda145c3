"""The answers of the tools. Clients refuse a long answer, so each has a maximum size and names the way to the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...ipc.errors import BackburnerError
from ...ipc.model.task import Task

Answer = dict[str, Any]

#: The maximum size of a message to the client with its notifications, and of a tool's answer in it, in bytes.
MAX_MESSAGE, MAX_ANSWER = 20_000, 14_000
#: The maximum number of characters of a text in a summary, of an error message, and of items of a list.
MAX_TEXT, MAX_ERROR, MAX_ITEMS = 400, 2_000, 20
#: The same of a text in a summary that is too large otherwise.
MIN_TEXT = 60
#: The maximum number of characters of a name, which callers need as a whole.
MAX_NAME = 1024

#: The fields of a task that a model has set itself, or does not need.
OMITTED = frozenset(
    "cwd parentMessageId slot pid priority maxAttempts metadata resultTruncated prompt args kwargs"
    " envNames envDropped umask interpreter".split()
)
#: The fields that callers use as they are.
NAMES = frozenset("id parentSessionId sessionId agent model concurrencyKey uniqueKey resumes".split())

#: The advice of an answer that does not contain everything.
CUT = "A text that ends in … is cut. The whole: the tool `output`, or: backburner show {id}"
MORE = "Not all tasks fit in this answer. {way}"


def summary(task: Task) -> Answer:
    """Return a task's fields for the model, without empty fields, and with long texts and lists cut."""
    fields = replace(task, prompt=None, args=None, kwargs=None).to_json()
    for length in (MAX_TEXT, MIN_TEXT):
        kept = {name: _cut(name, value, length) for name, value in fields.items() if name not in OMITTED}
        summed = {name: value for name, value in kept.items() if value not in (None, [], {}, False)}
        if size(summed) <= MAX_ANSWER // 2:
            return summed
    return {"id": task.id, "status": task.status, "description": "…"}


def summary_with_hint(task: Task) -> Answer:
    """Return the summary of a task, with the way to the whole if something is cut."""
    summed = summary(task)
    return summed | ({"hint": CUT.format(id=task.id)} if _is_cut(summed) else {})


def fitting(tasks: Iterable[Task]) -> tuple[list[Answer], bool]:
    """Return the summaries of the first tasks, as many as fit in an answer. The second value is True if these are all.

    There is at least one, if there are tasks.
    """
    summaries: list[Answer] = []
    room = MAX_ANSWER - MAX_TEXT - MAX_NAME
    for task in tasks:
        summed = summary(task)
        room -= size(summed)
        if room < 0 and summaries:
            return summaries, False
        summaries.append(summed)
    return summaries, True


def list_answer(name: str, listed: tuple[list[Answer], bool], way: str, **more: Any) -> Answer:
    """Return an answer with a list of summaries, and with the way to the rest if it is not whole."""
    summaries, is_all = listed
    hints = [] if is_all else [MORE.format(way=way)]
    cut = next((summed["id"] for summed in summaries if _is_cut(summed)), None)
    hints += [] if cut is None else [CUT.format(id=cut)]
    return {name: summaries, **more, **({"hint": " ".join(hints)} if hints else {})}


def error_text(error: BackburnerError) -> str:
    """Return the message of an error for the model."""
    text = storable(str(error))
    return text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]}…"


def storable(text: str) -> str:
    """Return a text with its lone surrogates written as `\\udce9`. They stand for bytes that are not UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def size(answer: object) -> int:
    """Return the size of an answer within a message. Its quotes and line ends are escaped twice."""
    text = json.dumps(answer, ensure_ascii=False)
    return len(json.dumps(text, ensure_ascii=False).encode(errors="replace"))


def _cut(name: str, value: Any, length: int) -> Any:
    if name in NAMES:
        return _shortened(value, MAX_NAME)
    if isinstance(value, list):
        return _cut_list(value, length)
    return _shortened(value, length)


def _cut_list(items: list[Any], room: int) -> list[Any]:
    """Return the first items. Together they have the length of one text."""
    kept: list[Any] = []
    for item in items[:MAX_ITEMS]:
        if room <= 0:
            break
        kept.append(_shortened(item, room))
        room -= len(str(item))
    return kept if len(kept) == len(items) else [*kept, f"… {len(items) - len(kept)} more"]


def _shortened(value: Any, length: int) -> Any:
    return f"{value[:length]}…" if isinstance(value, str) and len(value) > length else value


def _is_cut(summed: Mapping[str, Any]) -> bool:
    return any(_ends_cut(value) for value in summed.values())


def _ends_cut(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, str) and (item.endswith("…") or item.startswith("… ")) for item in value)
    return isinstance(value, str) and value.endswith("…")
