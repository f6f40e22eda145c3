"""The messages of a client, checked before the server reads them, and the arguments of its calls.

Every request gets an answer, so that no client waits for one in vain. Models write some arguments as text.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from typing import Any

from mcp import types

from ...ipc.validation import Anything, MapOf, Record, Shape, Text

#: The error codes of JSON-RPC.
PARSE_ERROR, INVALID_REQUEST = -32700, -32600

Document = dict[str, Any]

_TEXT, _OBJECT = Text(), MapOf(Anything())


class CheckedInput:
    """The lines of a client. Lines that are no messages are refused and left out."""

    def __init__(self, lines: AsyncIterable[bytes], refuse: Callable[[Document], None]) -> None:
        """Read from `lines`, and pass the answers to refused messages to `refuse`."""
        self._lines, self._refuse = lines, refuse

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield the messages, each as a line of text."""
        async for raw in self._lines:
            line = raw.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
            if not line.strip():
                continue
            if refusal := refusal_of(line):
                self._refuse(refusal)
            else:
                yield with_arguments(line)


def refusal_of(line: str) -> Document | None:
    """Return the error answer to a line that is no valid message, or None if it is one."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _error(None, PARSE_ERROR, f"not JSON: {error}")
    if not isinstance(document, dict):
        return _error(None, INVALID_REQUEST, "expected an object")
    id = document.get("id")
    if "method" in document and "id" in document and not _is_id(id):
        return _error(None, INVALID_REQUEST, "id: expected text or a whole number")
    if _has_lone_surrogate(line, document):
        return _error(id, INVALID_REQUEST, "expected text without lone surrogates")
    try:
        types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return _error(id, INVALID_REQUEST, "not a message of JSON-RPC 2.0")
    return None


def with_arguments(line: str) -> str:
    """Return a message whose `arguments` are an object, if they are one as JSON text."""
    if '"tools/call"' not in line or '"arguments"' not in line:
        return line
    document = json.loads(line)
    params = document.get("params")
    given = params.get("arguments") if isinstance(params, dict) else None
    if not isinstance(given, str):
        return line
    arguments = _read(_OBJECT, given)
    return line if arguments is given else json.dumps({**document, "params": {**params, "arguments": arguments}})


def lenient(params: Record, arguments: Mapping[str, Any]) -> Document:
    """Return arguments as the fields expect them: a list, an object or a number may be text, and null means absent."""
    given = {name: value for name, value in arguments.items() if value is not None}
    read = {
        name: _read(params.fields[name], value) if name in params.fields else value for name, value in given.items()
    }
    return {name: value for name, value in read.items() if value is not None}


def _read(shape: Shape[Any] | None, value: Any) -> Any:
    """Return the JSON value of a text if only that has the shape."""
    if shape is None or not isinstance(value, str) or shape.fits(value):
        return value
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return document if shape.mismatch(document) is None else value


def _has_lone_surrogate(line: str, document: Document) -> bool:
    # Only an escape can make one, because the line was decoded from bytes.
    return "\\ud" in line.lower() and not _TEXT.fits(json.dumps(document, ensure_ascii=False).replace("\0", ""))


def _is_id(id: object) -> bool:
    return (isinstance(id, int) and not isinstance(id, bool)) or (isinstance(id, str) and _TEXT.fits(id))


def _error(id: object, code: int, message: str) -> Document:
    return {"jsonrpc": "2.0", "id": id if _is_id(id) else None, "error": {"code": code, "message": message}}
