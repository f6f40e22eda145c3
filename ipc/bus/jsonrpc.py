"""Encode and decode messages: JSON-RPC 2.0, one message a line. There is no I/O here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BackburnerError

#: The maximum nesting of a message. The inputs of a task have a lower limit, so that they fit into a message.
MAX_DEPTH = 128

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

Id = str | int | float | None

_text = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class RpcError(BackburnerError):
    """A request was refused, or a message is invalid."""

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None, id: Id = None) -> None:
        """Keep the parts of the error object. `id` is the request's ID, if it could be read."""
        super().__init__(message, field=(data or {}).get("field"))
        self.rpc_code = code
        self.data = data
        self.id = id


@dataclass(frozen=True)
class Request:
    """A call from a client. A request without an ID is a notification, and gets no response."""

    id: Id
    method: str
    params: dict[str, Any]
    is_notification: bool = False


@dataclass(frozen=True)
class Response:
    """The response of a server, with a result or an error."""

    id: Id
    result: Any = None
    error: RpcError | None = None


@dataclass(frozen=True)
class Notification:
    """A message of a server that is not a response."""

    method: str
    params: dict[str, Any]


def decode_request(line: bytes) -> Request:
    """Return the request in a line from a client. Raises RpcError."""
    document = _object(line)
    id = document.get("id")
    if not _is_id(id):
        raise RpcError(INVALID_REQUEST, "An id is a string, a number or null.", {"field": "id"})
    method = _method(document, id)
    params = document.get("params", {})
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params is an object or absent.", {"field": "params"}, id)
    return Request(id, method, params, is_notification="id" not in document)


def decode_message(line: bytes) -> Response | Notification:
    """Return the message in a line from a server. Raises RpcError."""
    document = _object(line)
    if "method" in document:
        params = document.get("params")
        return Notification(_method(document, None), params if isinstance(params, dict) else {})
    id = document.get("id")
    if not _is_id(id) or ("result" in document) == ("error" in document):
        raise RpcError(INVALID_REQUEST, "The message is neither a response nor a notification.")
    if "result" in document:
        return Response(id, document["result"])
    return Response(id, error=_error(document["error"], id))


def encode_request(id: Id, method: str, params: Mapping[str, Any]) -> bytes:
    """Return a request as a line. Raises TypeError, ValueError or RecursionError for values that JSON cannot hold."""
    return _line({"id": id, "method": method, "params": params})


def encode_result(id: Id, result: object) -> bytes:
    """Return a response with a result as a line. Raises like `encode_request`."""
    return _line({"id": id, "result": result})


def encode_error(id: Id, error: BackburnerError) -> bytes:
    """Return a response with an error as a line."""
    document: dict[str, Any] = {"code": error.rpc_code, "message": str(error)}
    data = error.data if isinstance(error, RpcError) else {"field": error.field} if error.field else None
    return _line({"id": id, "error": document if data is None else document | {"data": data}})


def encode_notification(method: str, params_text: str) -> bytes:
    """Return a notification as a line. `params_text` is a JSON object without newlines, and is sent unchanged."""
    return f'{{"jsonrpc":"2.0","method":{_text(method)},"params":{params_text}}}\n'.encode()


def _object(line: bytes) -> dict[str, Any]:
    document = _parse(line)
    if isinstance(document, list):
        raise RpcError(INVALID_REQUEST, "Batches of requests are not served; send one message a line.")
    if not isinstance(document, dict):
        raise RpcError(INVALID_REQUEST, "A message is a JSON object.")
    if _is_deeper(document, MAX_DEPTH):
        raise RpcError(INVALID_REQUEST, f"A message is nested at most {MAX_DEPTH} deep.")
    return document


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line.decode(), parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise RpcError(PARSE_ERROR, "The message is nested too deeply.") from None
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise RpcError(PARSE_ERROR, f"The message is not JSON: {error}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _is_deeper(document: object, levels: int) -> bool:
    inner = [document]
    for _ in range(levels):
        inner = [child for outer in inner for child in _children(outer) if isinstance(child, (dict, list))]
        if not inner:
            return False
    return True


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _is_id(id: object) -> bool:
    return id is None or (isinstance(id, (str, int, float)) and not isinstance(id, bool))


def _method(document: Mapping[str, Any], id: Id) -> str:
    method = document.get("method")
    if document.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'A message has "jsonrpc": "2.0".', {"field": "jsonrpc"}, id)
    if not isinstance(method, str):
        raise RpcError(INVALID_REQUEST, "A method is a string.", {"field": "method"}, id)
    return method


def _error(error: object, id: Id) -> RpcError:
    fields = error if isinstance(error, dict) else {}
    code, message, data = fields.get("code"), fields.get("message"), fields.get("data")
    return RpcError(
        code if isinstance(code, int) else INTERNAL_ERROR,
        message if isinstance(message, str) else "The server sent an error without a message.",
        data if isinstance(data, dict) else None,
        id,
    )


def _line(document: dict[str, Any]) -> bytes:
    # A lone surrogate, as in a file name that is not UTF-8, is sent as its JSON escape.
    return (_text({"jsonrpc": "2.0", **document}) + "\n").encode("utf-8", "backslashreplace")
