"""Shapes of data: one description that both validates and writes JSON Schema (draft 2020-12)."""

# ruff: noqa: D102 (the methods are documented once, by Shape)
from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, Generic, SupportsInt, TypeVar, cast

from .mistakes import (
    DEPTH,
    FINITE,
    NAMED,
    SHOWN,
    Mistake,
    described,
    dotted,
    flaw,
    is_whole,
    refusal,
    utf8_size,
    within,
)

T = TypeVar("T")
Schema = dict[str, Any]

#: The dialect of every schema made here.
DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: The largest whole number that every reader of JSON keeps exact.
MOST = 2**53 - 1


class Shape(Generic[T]):
    """A description of a value, and the base of all others. `T` is the type of its normal form."""

    #: What a valid value is, to follow the word «expected».
    expected = "a value"

    def check(self, value: object, field: str = "") -> T:
        """Return the value in its normal form. Raises InvalidInput, which names `field` or a field within it."""
        if self.fits(value):
            return self.normal(value)
        if found := list(islice(self.wrong(value, field), NAMED + 1)):
            raise refusal(found)
        return self.normal(value)

    def fits(self, value: object) -> bool:
        """Return True if `wrong` would yield nothing. Most values are valid, and need no explanation."""
        return self.missed(value) is None

    def mistakes(self, value: object, field: str = "") -> list[Mistake]:
        """Return everything that is wrong with the value."""
        return list(self.wrong(value, field))

    def wrong(self, value: object, field: str) -> Iterator[Mistake]:
        """Yield the mistakes as they are asked for: a large wrong value costs only what is read of it."""
        if (missed := self.missed(value)) is not None:
            yield Mistake(field, missed, described(value))

    def missed(self, value: object) -> str | None:
        """Return what the value as a whole should have been, or None if it is that."""
        raise NotImplementedError

    def normal(self, value: object) -> T:
        """Return a valid value in its normal form: lists for tuples, dicts for mappings, 3 for 3.0."""
        return cast(T, value)

    def schema(self) -> Schema:
        """Return the JSON Schema of what is accepted."""
        raise NotImplementedError


class Text(Shape[str]):
    """Text that can be stored and sent everywhere: no NUL, no lone surrogate."""

    def __init__(
        self,
        max_bytes: int | None = None,
        pattern: str | None = None,
        non_empty: bool = False,
        expected: str | None = None,
    ) -> None:
        """Limit the length in UTF-8; `pattern` must match all of it; `expected` describes that."""
        self.max_bytes, self.pattern, self.non_empty = max_bytes, pattern, non_empty
        self.expected = expected or self._in_words()

    def missed(self, value: object) -> str | None:
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

    def _in_words(self) -> str:
        words = "non-empty text" if self.non_empty else "text"
        if self.max_bytes is not None:
            words += f" of at most {self.max_bytes} bytes"
        return words if self.pattern is None else f"{words} that matches {self.pattern}"


class Integer(Shape[int]):
    """A whole number, never a bool; 3.0 is one and becomes 3."""

    def __init__(self, low: int | None = None, high: int | None = None) -> None:
        """Accept `low` to `high`, both included; without them whatever JSON keeps exact."""
        self.low, self.high = low, high
        self.expected = "a whole number" + span(low, high)

    def missed(self, value: object) -> str | None:
        low = -MOST if self.low is None else self.low
        high = MOST if self.high is None else self.high
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

    def missed(self, value: object) -> str | None:
        low = -FINITE if self.low is None else self.low
        high = FINITE if self.high is None else self.high
        return None if within(value, low, high) else self.expected

    def schema(self) -> Schema:
        return {"type": "number"} | bounds(self.low, self.high)


class Flag(Shape[bool]):
    """True or false, and nothing that is merely like it."""

    expected = "true or false"

    def missed(self, value: object) -> str | None:
        return None if isinstance(value, bool) else self.expected

    def schema(self) -> Schema:
        return {"type": "boolean"}


class OneOf(Shape[str]):
    """One of a few words."""

    def __init__(self, *values: str) -> None:
        """Accept exactly these."""
        self.values = values
        self.expected = f"one of {', '.join(values)}" if len(values) > 1 else values[0]

    def missed(self, value: object) -> str | None:
        return None if isinstance(value, str) and value in self.values else self.expected

    def normal(self, value: object) -> str:
        return str(value)

    def schema(self) -> Schema:
        return {"enum": list(self.values)}


class ListOf(Shape[list[T]]):
    """A list (or tuple) of items of one shape; the third item's field is `name[2]`."""

    def __init__(self, shape: Shape[T], non_empty: bool = False, max_items: int | None = None) -> None:
        """Accept a list of items of `shape`: at least one if `non_empty`, at most `max_items`."""
        self.shape, self.non_empty, self.max_items = shape, non_empty, max_items
        self.expected = "a non-empty list" if non_empty else "a list"
        if max_items is not None:
            self.expected += f" of at most {max_items} items"

    def missed(self, value: object) -> str | None:
        return None if isinstance(value, (list, tuple)) and self._is_allowed(len(value)) else self.expected

    def _is_allowed(self, count: int) -> bool:
        return count >= self.non_empty and (self.max_items is None or count <= self.max_items)

    def fits(self, value: object) -> bool:
        return self.missed(value) is None and all(map(self.shape.fits, cast(Iterable[object], value)))

    def wrong(self, value: object, field: str) -> Iterator[Mistake]:
        yield from super().wrong(value, field)
        items = value if isinstance(value, (list, tuple)) else ()
        for place, item in enumerate(items):
            yield from self.shape.wrong(item, f"{field}[{place}]")

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
    """An object with free keys and values of one shape; the field of a value is `name.key`."""

    expected = "an object"

    def __init__(self, shape: Shape[T], key: Shape[str] | None = None) -> None:
        """Accept any keys that are text, or that have the shape `key`."""
        self.shape, self.key = shape, key or Text()

    def missed(self, value: object) -> str | None:
        return None if isinstance(value, Mapping) else self.expected

    def fits(self, value: object) -> bool:
        if not isinstance(value, Mapping):
            return False
        return all(self.key.fits(key) and self.shape_of(key).fits(item) for key, item in value.items())

    def wrong(self, value: object, field: str) -> Iterator[Mistake]:
        yield from super().wrong(value, field)
        for key, item in entries(value):
            name = dotted(field, key)
            if missed := self.key.missed(key):
                yield Mistake(name, f"{missed} as a key")
            yield from self.shape_of(key).wrong(item, name)

    def normal(self, value: object) -> dict[str, T]:
        return {self.key.normal(key): self.shape_of(key).normal(item) for key, item in entries(value)}

    def shape_of(self, key: object) -> Shape[T]:
        """The shape of the value under a key: for subclasses in which it is not the same for all."""
        return self.shape

    def schema(self) -> Schema:
        names = self.key.schema()
        free = {} if names == Text().schema() else {"propertyNames": names}
        return {"type": "object", "additionalProperties": self.shape.schema()} | free


class Anything(Shape[object]):
    """Any JSON value, at most 100 levels deep."""

    expected = "a JSON value"

    def missed(self, value: object) -> str | None:
        return flaw(value, DEPTH)

    def normal(self, value: object) -> object:
        if isinstance(value, Mapping):
            return {str(key): self.normal(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.normal(item) for item in value]
        return value

    def schema(self) -> Schema:
        return {}


class Nullable(Shape[T | None]):
    """Null, or something of a shape."""

    def __init__(self, shape: Shape[T]) -> None:
        """Accept null and `shape`."""
        self.shape = shape
        self.expected = f"{shape.expected} or null"

    def wrong(self, value: object, field: str) -> Iterator[Mistake]:
        if value is not None:
            yield from self.shape.wrong(value, field)

    def missed(self, value: object) -> str | None:
        return None if value is None else self.shape.missed(value)

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
    """An object with named fields; a field it does not know is a mistake."""

    expected = "an object"

    def __init__(self, title: str, fields: Mapping[str, Shape[Any]], required: Collection[str] = ()) -> None:
        """Name the record and its fields; those in `required` must be there."""
        self.title, self.fields, self.required = title, fields, tuple(required)

    def missed(self, value: object) -> str | None:
        return None if isinstance(value, Mapping) else self.expected

    def fits(self, value: object) -> bool:
        if not isinstance(value, Mapping):
            return False
        for key, item in value.items():
            shape = self.fields.get(key) if isinstance(key, str) else None
            if shape is None or not shape.fits(item):
                return False
        return all(name in value for name in self.required)

    def wrong(self, value: object, field: str) -> Iterator[Mistake]:
        if not isinstance(value, Mapping):
            yield from super().wrong(value, field or self.title)
            return
        for key, item in entries(value):
            yield from self._wrong_entry(key, item, dotted(field, key))
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

    def _wrong_entry(self, key: object, item: object, name: str) -> Iterator[Mistake]:
        shape = self.fields.get(key) if isinstance(key, str) else None
        if shape is None:
            yield Mistake(name, self._hint(key))
        else:
            yield from shape.wrong(item, name)

    def _hint(self, key: object) -> str:
        from difflib import get_close_matches

        close = get_close_matches(str(key)[:SHOWN], self.fields, n=1)
        if close:
            return f"a known name (did you mean {close[0]}?)"
        return f"a known name: {', '.join(self.fields)}" if self.fields else "no such name"


def entries(value: object) -> Iterable[tuple[object, object]]:
    """Return the items of a mapping, and none of anything else."""
    return value.items() if isinstance(value, Mapping) else ()


def span(low: float | None, high: float | None) -> str:
    """Return the allowed numbers in words, with a space before them."""
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return "" if high is None else f" of at most {high}"


def bounds(low: float | None, high: float | None) -> Schema:
    """Return the allowed numbers in JSON Schema."""
    limits = {"minimum": low, "maximum": high}
    return {name: limit for name, limit in limits.items() if limit is not None}
