"""What an agent says of its failure, as a person reads it: providers answer in JSON, and agents pass it on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

#: The longest cause that is told, and the longest text that is looked at for one, in characters.
LONGEST, MOST = 500, 10_000

#: So many covers around each other are looked into: no provider has as many, and a stack has an end.
DEEPEST = 20

#: Where providers say what is wrong and with which status, and what they put around it.
MESSAGES = ("message", "detail")
STATUSES = ("code", "statusCode", "status_code", "status")
COVERS = ("error", "data")

_DECODER = json.JSONDecoder()


def cause(text: str) -> str:
    """A text as the end of a sentence, in one line; empty where it has no words."""
    words = " ".join(text.split())  # some programs break their lines as for a terminal
    return f": {words[:LONGEST]}" if words else ""


def plain(text: str) -> str:
    """A text, with what JSON in it says in that JSON's place."""
    return "".join(_parts(text[:MOST]))


def _parts(text: str) -> Iterator[str]:
    at = 0
    while (begin := text.find("{", at)) >= 0:
        yield text[at:begin]
        document, at = _document(text, begin)
        yield _words(document) or text[begin:at]
    yield text[at:]


def _document(text: str, begin: int) -> tuple[Any, int]:
    """The object that begins there, and its end; a brace alone is none."""
    try:
        return _DECODER.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None, begin + 1


def _words(document: Any, deep: int = 0) -> str:
    """Its status and its message, which may hold JSON itself; empty where it says nothing."""
    if not isinstance(document, dict) or deep > DEEPEST:
        return ""
    message = _first(document, MESSAGES, str)
    if not message:
        return next((words for name in COVERS if (words := _words(document.get(name), deep + 1))), "")
    said, status = plain(message), _first(document, STATUSES, int)
    return said if status is None or str(status) in said else f"{status} {said}"


def _first(document: dict[str, Any], names: tuple[str, ...], kind: type) -> Any:
    return next((document[name] for name in names if isinstance(document.get(name), kind)), None)
