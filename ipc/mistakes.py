"""Mistakes in data: where each one is, what was expected there, and what was found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .errors import InvalidInput

#: Characters of a wrong value, or of its name, that a message shows.
SHOWN = 60
_PLAIN = re.compile(rf"[\w-]{{1,{SHOWN}}}")
#: The mistakes that one message names.
NAMED = 5
#: A whole number of more bits is not shown.
BITS = 64
#: The largest finite float.
FINITE = 1.7976931348623157e308
#: The levels of free-form JSON: reading it must not exhaust a stack.
DEPTH = 100


class Mistake(NamedTuple):
    """One mistake: where it is (dotted), what was expected there, and what was found instead."""

    field: str
    expected: str
    got: str = ""

    def __str__(self) -> str:
        """«priority: expected a whole number from -1000 to 1000, got 5000»."""
        where = f"{self.field}: " if self.field else ""
        return f"{where}expected {self.expected}" + (f", got {self.got}" if self.got else "")


def refusal(mistakes: Sequence[Mistake]) -> InvalidInput:
    """Return the error that names these mistakes (at least one); its `field` is that of the first one."""
    more = ["and more"] if len(mistakes) > NAMED else []
    message = "; ".join([*map(str, mistakes[:NAMED]), *more])
    return InvalidInput(message, field=mistakes[0].field or None)


def described(value: object) -> str:
    """Return a wrong value in a few words, safe to print."""
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN else value[:SHOWN] + "…")
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, (bool, int, float)):
        return _described_scalar(value)
    return "an object" if isinstance(value, Mapping) else f"a Python {type(value).__name__}"


def _described_scalar(value: float | None) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return "a huge whole number" if isinstance(value, int) and value.bit_length() > BITS else str(value)


def dotted(field: str, key: object) -> str:
    """Return the name of `key` within `field`; a key that is not a plain word is quoted the way TOML does it."""
    text = str(key) if isinstance(key, str) else described(key)
    name = text if _PLAIN.fullmatch(text) else described(text)
    return f"{field}.{name}" if field else name


def utf8_size(text: str) -> int | None:
    """Return the bytes of a text in UTF-8, or None for one with a lone surrogate."""
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return None


def is_whole(value: object) -> bool:
    """Return True for a whole number, be it a float; a bool is none."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def within(value: object, low: float, high: float) -> bool:
    """Return True for a number (NaN and bools are none) from `low` to `high`."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def flaw(value: object, depth: int) -> str | None:
    """Return what free-form JSON of at most `depth` levels should have been, or None."""
    if depth == 0:
        return f"JSON at most {DEPTH} levels deep"
    if isinstance(value, Mapping):
        return _first_flaw(value.values(), depth - 1) or _first_flaw(_keys(value), depth)
    if isinstance(value, (list, tuple)):
        return _first_flaw(value, depth - 1)
    return _scalar_flaw(value)


def _first_flaw(values: Iterable[object], depth: int) -> str | None:
    return next((found for value in values if (found := flaw(value, depth))), None)


def _keys(value: Mapping[Any, object]) -> Iterator[object]:
    """Return the keys; one that is not text is replaced by a value that JSON cannot have."""
    return (key if isinstance(key, str) else Ellipsis for key in value)


def _scalar_flaw(value: object) -> str | None:
    if isinstance(value, str):
        return "text without lone surrogates" if utf8_size(value) is None else None
    if isinstance(value, (bool, type(None))) or within(value, -FINITE, FINITE):
        return None
    return "JSON: objects with text as keys, lists, text, finite numbers, true, false, null"
