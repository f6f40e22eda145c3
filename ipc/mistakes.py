"""Mistakes in data, and the messages that describe them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .errors import InvalidInput

#: The maximum number of characters that a message shows of a wrong value or of its name.
MAX_SHOWN = 60
_PLAIN = re.compile(rf"[\w-]{{1,{MAX_SHOWN}}}")
#: The maximum number of mistakes that one message names.
MAX_NAMED = 5
#: The maximum size of a whole number that a message shows, in bits.
MAX_SHOWN_BITS = 64
#: The largest finite float.
MAX_FLOAT = 1.7976931348623157e308
#: The maximum depth of free-form JSON, in levels. Reading it must not exhaust the stack.
MAX_DEPTH = 100


class Mistake(NamedTuple):
    """A mistake: the dotted name of its field, and descriptions of the expected and the actual value."""

    field: str
    expected: str
    got: str = ""

    def __str__(self) -> str:
        """Return «priority: expected a whole number from -1000 to 1000, got 5000»."""
        where = f"{self.field}: " if self.field else ""
        return f"{where}expected {self.expected}" + (f", got {self.got}" if self.got else "")


def refusal(mistakes: Sequence[Mistake]) -> InvalidInput:
    """Return the error that names these mistakes, of which there is at least one. Its `field` is the first one's."""
    rest = ["and more"] if len(mistakes) > MAX_NAMED else []
    message = "; ".join([*map(str, mistakes[:MAX_NAMED]), *rest])
    return InvalidInput(message, field=mistakes[0].field or None)


def describe(value: object) -> str:
    """Return a short description of a wrong value that is safe to print."""
    if isinstance(value, str):
        return repr(value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "…")
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, (bool, int, float)):
        return _describe_scalar(value)
    return "an object" if isinstance(value, Mapping) else f"a Python {type(value).__name__}"


def _describe_scalar(value: float | None) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return "a huge whole number" if isinstance(value, int) and value.bit_length() > MAX_SHOWN_BITS else str(value)


def dotted(field: str, key: object) -> str:
    """Return the name of `key` within `field`. A key that is not a plain word is quoted as in TOML."""
    text = str(key) if isinstance(key, str) else describe(key)
    name = text if _PLAIN.fullmatch(text) else describe(text)
    return f"{field}.{name}" if field else name


def utf8_size(text: str) -> int | None:
    """Return the size of a text in UTF-8, in bytes, or None if it has a lone surrogate."""
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return None


def is_whole(value: object) -> bool:
    """Return True for a whole number, even if it is a float. A bool is not a number."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def within(value: object, low: float, high: float) -> bool:
    """Return True for a number from `low` to `high`. NaN and bools are not numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def json_flaw(value: object, depth: int) -> str | None:
    """Return a description of valid JSON if the value is not JSON of at most `depth` levels, or None if it is."""
    if depth == 0:
        return f"JSON at most {MAX_DEPTH} levels deep"
    if isinstance(value, Mapping):
        return _first_flaw(value.values(), depth - 1) or _first_flaw(_keys(value), depth)
    if isinstance(value, (list, tuple)):
        return _first_flaw(value, depth - 1)
    return _scalar_flaw(value)


def _first_flaw(values: Iterable[object], depth: int) -> str | None:
    return next((flaw for value in values if (flaw := json_flaw(value, depth))), None)


def _keys(value: Mapping[Any, object]) -> Iterator[object]:
    """Yield the keys. A key that is not text is replaced by a value that is invalid in JSON."""
    return (key if isinstance(key, str) else Ellipsis for key in value)


def _scalar_flaw(value: object) -> str | None:
    if isinstance(value, str):
        return "text without lone surrogates" if utf8_size(value) is None else None
    if isinstance(value, (bool, type(None))) or within(value, -MAX_FLOAT, MAX_FLOAT):
        return None
    return "JSON: objects with text as keys, lists, text, finite numbers, true, false, null"
