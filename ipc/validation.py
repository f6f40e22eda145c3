"""Shapes of data. One description of a value both validates it and produces its JSON Schema (draft 2020-12)."""

# ruff: noqa: D102 (the methods are documented once, by Shape)
from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, Generic, SupportsInt, TypeVar, cast

from .mistakes import (
    MAX_DEPTH,
    MAX_FLOAT,
    MAX_NAMED,
    MAX_SHOWN,
    Mistake,
    describe,
    dotted,
    is_whole,
    json_flaw,
    refusal,
    utf8_size,
    within,
)

T = TypeVar("T")
Schema = dict[str, Any]

#: The dialect of all schemas.
DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: The largest whole number that every JSON parser reads exactly.
MAX_INTEGER = 2**53 - 1


class Shape(Generic[T]):
    """The base class of all shapes. `T` is the type of a value in its normal form."""

    #: A description of a valid value, to follow the word «expected».
    expected = "a value"

    def check(self, value: object, field: str = "") -> T:
        """Return the value in its normal form. Raises InvalidInput, which names `field` or a field within it."""
        if self.fits(value):
            return self.normal(value)
        if mistakes := list(islice(self.iter_mistakes(value, field), MAX_NAMED + 1)):
            raise refusal(mistakes)
        return self.normal(value)

    def fits(self, value: object) -> bool:
        """Return True if `iter_mistakes` would yield nothing. This is faster, and most values are valid."""
        return self.mismatch(value) is None

    def mistakes(self, value: object, field: str = "") -> list[Mistake]:
        """Return all mistakes in the value."""
        return list(self.iter_mistakes(value, field))

    def iter_mistakes(self, value: object, field: str) -> Iterator[Mistake]:
        """Yield the mistakes one by one, so that the first ones of a large value are found quickly."""
        if (mismatch := self.mismatch(value)) is not None:
            yield Mistake(field, mismatch, describe(value))

    def mismatch(self, value: object) -> str | None:
        """Return a description of a valid value, or None if the value as a whole is valid."""
        raise NotImplementedError

    def normal(self, value: object) -> T:
        """Return a valid value in its normal form. Tuples become lists, mappings become dicts, and 3.0 becomes 3."""
        return cast(T, value)

    def schema(self) -> Schema:
        """Return the JSON Schema of valid values."""
        raise NotImplementedError


class Text(Shape[str]):
    """Text without NULs and lone surrogates, so that it can be stored and sent everywhere."""

    def __init__(
        self,
        max_bytes: int | None = None,
        pattern: str | None = None,
        non_empty: bool = False,
        expected: str | None = None,
    ) -> None:
        """Limit the length in UTF-8. `pattern` must match the whole text, and `expected` describes such a text."""
        self.max_bytes, self.pattern, self.non_empty = max_bytes, pattern, non_empty
        self.expected = expected or self._describe_expected()

    def mismatch(self, value: object) -> str | None:
        if not isinstance(value, str):
            return self.expected
        size = utf8_size(value)
        if size is None or "\0" in value:
            return "text without NUL characters and lone surrogates"
        return None if self._is_allowed(value, size) else self.expected

    def normal(self, value: object) -> str:
        return str(value)

    def schema(self) -> Schema:
        schema: Schema = {"type": "string"}
        if self.non_empty:
            schema["minLength"] = 1
        if self.max_bytes is not None:
            schema["maxLength"] = self.max_bytes
        if self.pattern is not None:
            schema["pattern"] = f"^(?:{self.pattern})$"
        return schema

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern or "")

    def _is_allowed(self, value: str, size: int) -> bool:
        long = self.max_bytes is not None and size > self.max_bytes
        empty = self.non_empty and not value
        return not long and not empty and (self.pattern is None or bool(self._compiled.fullmatch(value)))

    def _describe_expected(self) -> str:
        expected = "non-empty text" if self.non_empty else "text"
        if self.max_bytes is not None:
            expected += f" of at most {self.max_bytes} bytes"
        return expected if self.pattern is None else f"{expected} that matches {self.pattern}"


class Integer(Shape[int]):
    """A whole number, never a bool. 3.0 is valid and becomes 3."""

    def __init__(self, low: int | None = None, high: int | None = None) -> None:
        """Accept `low` to `high`, both included. The defaults are the bounds of exact numbers in JSON."""
        self.low, self.high = low, high
        self.expected = "a whole number" + span(low, high)

    def mismatch(self, value: object) -> str | None:
        low = -MAX_INTEGER if self.low is None else self.low
        high = MAX_INTEGER if self.high is None else self.high
        return None if is_whole(value) and within(value, low, high) else self.expected

    def normal(self, value: object) -> int:
        return int(cast(SupportsInt, value))

    def schema(self) -> Schema:
        return {"type": "integer"} | bounds(self.low, self.high)


class Number(Shape[float]):
    """A finite number, never a bool."""

    def __init__(self, low: float | None = None, high: float | None = None) -> None:
        """Accept `low` to `high`, both included."""
        self.low, self.high = low, high
        self.expected = "a number" + span(low, high)

    def mismatch(self, value: object) -> str | None:
        low = -MAX_FLOAT if self.low is None else self.low
        high = MAX_FLOAT if self.high is None else self.high
        return None if within(value, low, high) else self.expected

    def schema(self) -> Schema:
        return {"type": "number"} | bounds(self.low, self.high)


class Flag(Shape[bool]):
    """True or false. Numbers and text are not accepted."""

    expected = "true or false"

    def mismatch(self, value: object) -> str | None:
        return None if isinstance(value, bool) else self.expected

    def schema(self) -> Schema:
        return {"type": "boolean"}


class OneOf(Shape[str]):
    """One of a few words."""

    def __init__(self, *values: str) -> None:
        """Accept exactly these words."""
        self.values = values
        self.expected = f"one of {', '.join(values)}" if len(values) > 1 else values[0]

    def mismatch(self, value: object) -> str | None:
        return None if isinstance(value, str) and value in self.values else self.expected

    def normal(self, value: object) -> str:
        return str(value)

    def schema(self) -> Schema:
        return {"enum": list(self.values)}


class ListOf(Shape[list[T]]):
    """A list or tuple whose items have one shape. The field of the third item is `name[2]`."""

    def __init__(self, shape: Shape[T], non_empty: bool = False, max_items: int | None = None) -> None:
        """Accept a list of up to `max_items` items of `shape`. With `non_empty`, it must have at least one item."""
        self.shape, self.non_empty, self.max_items = shape, non_empty, max_items
        self.expected = "a non-empty list" if non_empty else "a list"
        if max_items is not None:
            self.expected += f" of at most {max_items} items"

    def mismatch(self, value: object) -> str | None:
        return None if isinstance(value, (list, tuple)) and self._is_allowed(len(value)) else self.expected

    def _is_allowed(self, count: int) -> bool:
        return count >= self.non_empty and (self.max_items is None or count <= self.max_items)

    def fits(self, value: object) -> bool:
        return self.mismatch(value) is None and all(map(self.shape.fits, cast(Iterable[object], value)))

    def iter_mistakes(self, value: object, field: str) -> Iterator[Mistake]:
        yield from super().iter_mistakes(value, field)
        items = value if isinstance(value, (list, tuple)) else ()
        for index, item in enumerate(items):
            yield from self.shape.iter_mistakes(item, f"{field}[{index}]")

    def normal(self, value: object) -> list[T]:
        return [self.shape.normal(item) for item in cast(Iterable[object], value)]

    def schema(self) -> Schema:
        schema: Schema = {"type": "array", "items": self.shape.schema()}
        if self.non_empty:
            schema["minItems"] = 1
        if self.max_items is not None:
            schema["maxItems"] = self.max_items
        return schema


class MapOf(Shape[dict[str, T]]):
    """An object with any keys, whose values have one shape. The field of a value is `name.key`."""

    expected = "an object"

    def __init__(self, shape: Shape[T], key: Shape[str] | None = None) -> None:
        """Accept keys that have the shape `key`, by default any text."""
        self.shape, self.key = shape, key or Text()

    def mismatch(self, value: object) -> str | None:
        return None if isinstance(value, Mapping) else self.expected

    def fits(self, value: object) -> bool:
        if not isinstance(value, Mapping):
            return False
        return all(self.key.fits(key) and self.shape_of(key).fits(item) for key, item in value.items())

    def iter_mistakes(self, value: object, field: str) -> Iterator[Mistake]:
        yield from super().iter_mistakes(value, field)
        for key, item in entries(value):
            name = dotted(field, key)
            if mismatch := self.key.mismatch(key):
                yield Mistake(name, f"{mismatch} as a key")
            yield from self.shape_of(key).iter_mistakes(item, name)

    def normal(self, value: object) -> dict[str, T]:
        return {self.key.normal(key): self.shape_of(key).normal(item) for key, item in entries(value)}

    def shape_of(self, key: object) -> Shape[T]:
        """Return the shape of a key's value. A subclass may have different shapes for different keys."""
        return self.shape

    def schema(self) -> Schema:
        names = self.key.schema()
        free = {} if names == Text().schema() else {"propertyNames": names}
        return {"type": "object", "additionalProperties": self.shape.schema()} | free


class Anything(Shape[object]):
    """Any JSON value, at most 100 levels deep."""

    expected = "a JSON value"

    def mismatch(self, value: object) -> str | None:
        return json_flaw(value, MAX_DEPTH)

    def normal(self, value: object) -> object:
        if isinstance(value, Mapping):
            return {str(key): self.normal(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.normal(item) for item in value]
        return value

    def schema(self) -> Schema:
        return {}


class Nullable(Shape[T | None]):
    """Null, or a value of a shape."""

    def __init__(self, shape: Shape[T]) -> None:
        """Accept null and `shape`."""
        self.shape = shape
        self.expected = f"{shape.expected} or null"

    def iter_mistakes(self, value: object, field: str) -> Iterator[Mistake]:
        if value is not None:
            yield from self.shape.iter_mistakes(value, field)

    def mismatch(self, value: object) -> str | None:
        return None if value is None else self.shape.mismatch(value)

    def fits(self, value: object) -> bool:
        return value is None or self.shape.fits(value)

    def normal(self, value: object) -> T | None:
        return None if value is None else self.shape.normal(value)

    def schema(self) -> Schema:
        inner = self.shape.schema()
        if isinstance(inner.get("type"), str):
            return inner | {"type": [inner["type"], "null"]}
        return {"anyOf": [inner, {"type": "null"}]}


class Record(Shape[dict[str, Any]]):
    """An object with named fields. An unknown field is a mistake."""

    expected = "an object"

    def __init__(self, title: str, fields: Mapping[str, Shape[Any]], required: Collection[str] = ()) -> None:
        """Name the record and its fields. The fields in `required` must be present."""
        self.title, self.fields, self.required = title, fields, tuple(required)

    def mismatch(self, value: object) -> str | None:
        return None if isinstance(value, Mapping) else self.expected

    def fits(self, value: object) -> bool:
        if not isinstance(value, Mapping):
            return False
        for key, item in value.items():
            shape = self.fields.get(key) if isinstance(key, str) else None
            if shape is None or not shape.fits(item):
                return False
        return all(name in value for name in self.required)

    def iter_mistakes(self, value: object, field: str) -> Iterator[Mistake]:
        if not isinstance(value, Mapping):
            yield from super().iter_mistakes(value, field or self.title)
            return
        for key, item in entries(value):
            yield from self._entry_mistakes(key, item, dotted(field, key))
        for name in self.required:
            if name not in value:
                yield Mistake(dotted(field, name), self.fields[name].expected, "nothing")

    def normal(self, value: object) -> dict[str, Any]:
        return {str(key): self.fields[str(key)].normal(item) for key, item in entries(value)}

    def schema(self) -> Schema:
        properties = {name: shape.schema() for name, shape in self.fields.items()}
        schema = {"title": self.title, "type": "object", "properties": properties}
        if self.required:
            schema["required"] = list(self.required)
        return schema | {"additionalProperties": False}

    def _entry_mistakes(self, key: object, item: object, name: str) -> Iterator[Mistake]:
        shape = self.fields.get(key) if isinstance(key, str) else None
        if shape is None:
            yield Mistake(name, self._hint(key))
        else:
            yield from shape.iter_mistakes(item, name)

    def _hint(self, key: object) -> str:
        from difflib import get_close_matches

        close = get_close_matches(str(key)[:MAX_SHOWN], self.fields, n=1)
        if close:
            return f"a known name (did you mean {close[0]}?)"
        return f"a known name: {', '.join(self.fields)}" if self.fields else "no such name"


def entries(value: object) -> Iterable[tuple[object, object]]:
    """Return the items of a mapping, or none for any other value."""
    return value.items() if isinstance(value, Mapping) else ()


def span(low: float | None, high: float | None) -> str:
    """Return the phrase for a range of numbers, with a leading space, or empty text if there are no bounds."""
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return "" if high is None else f" of at most {high}"


def bounds(low: float | None, high: float | None) -> Schema:
    """Return the JSON Schema keywords for a range of numbers."""
    limits = {"minimum": low, "maximum": high}
    return {name: limit for name, limit in limits.items() if limit is not None}
