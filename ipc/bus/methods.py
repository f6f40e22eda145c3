"""A method of the socket: its parameters, and the handler that answers its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..validation import Record
from .connection import Call

#: The value that a handler returns if it answers the call later.
DEFERRED: Final = object()

#: Takes the checked parameters and the call. Returns the result or DEFERRED. Raises BackburnerError.
Handler = Callable[[dict[str, Any], Call], object]


class Method(NamedTuple):
    """One method that clients can call."""

    params: Record
    handler: Handler
