"""Declarations of the fields of a record. Each has a shape, a default, and the column that stores it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field, fields
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from .. import clock
from ..validation import Shape

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Codec(NamedTuple):
    """The conversions of a value: `dump` to its column, `load` from its column, and `parse` from JSON."""

    name: str
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]
    parse: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _load_list(text: str | None) -> tuple[Any, ...] | None:
    return None if text is None else tuple(json.loads(text))


def _load_object(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _load_time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else clock.to_datetime(milliseconds)


def _parse_time(text: str | None) -> datetime | None:
    return clock.to_datetime(clock.parse(text)) if text else None


@lru_cache(8)  # each environment may be a megabyte
def _dump_variables(variables: tuple[tuple[str, str | None], ...]) -> str:
    return _json(dict(variables))


@lru_cache(8)
def _dump_names(names: tuple[str, ...]) -> str:
    return _json(names)


#: A value that a column stores unchanged.
PLAIN = Codec("plain", _same, _same, _same)
#: A tuple, as JSON text. An empty tuple is stored as null.
LIST = Codec(
    "list",
    lambda value: _json(value) if value else None,
    _load_list,
    lambda value: None if value is None else tuple(value),
)
#: A mapping, as JSON text.
OBJECT = Codec("object", lambda value: None if value is None else _json(dict(value)), _load_object, _same)
#: Environment variables, as JSON text. It is cached, because a process launches most tasks with the same variables.
VARIABLES = OBJECT._replace(dump=lambda value: None if value is None else _dump_variables(tuple(value.items())))
#: A tuple of names, as JSON text, cached for the same reason.
NAMES = LIST._replace(dump=lambda value: _dump_names(tuple(value)) if value else None)
#: A time, as milliseconds since 1970.
TIME = Codec("time", lambda value: None if value is None else round(value.timestamp() * 1000), _load_time, _parse_time)
#: True or False, as 1 or 0.
FLAG = Codec("flag", _same, bool, _same)
#: True if the column is not null.
PRESENT = Codec("present", _same, lambda value: value is not None, _same)


class Spec(NamedTuple):
    """The declaration of a field. `table` is None for a value that is computed, not stored."""

    name: str
    json_name: str
    shape: Shape[Any]
    default: Any
    table: str | None
    column: str
    codec: Codec

    def column_value(self, document: Mapping[str, Any]) -> Any:
        """Return the value of the field's column for a JSON document. A missing field has the default."""
        return self.codec.dump(self.codec.parse(document.get(self.json_name, self.default)))


def declared(shape: Shape[Any], default: Any = MISSING, stored: str | None = None, codec: Codec = PLAIN) -> Any:
    """Declare a field of a dataclass. `stored` names its table and column ("inputs.prompt"), unless it is computed."""
    metadata = {"shape": shape, "stored": stored, "codec": codec}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata) if default is not MISSING else field(metadata=metadata)


def specs_of(record: type[Any]) -> tuple[Spec, ...]:
    """Return the declarations of a dataclass's fields, in order."""
    return tuple(map(_spec, fields(record)))


def _spec(declaration: Any) -> Spec:
    stored: str | None = declaration.metadata["stored"]
    table, _, column = (stored or "").partition(".")
    factory = declaration.default_factory
    return Spec(
        declaration.name,
        camel(declaration.name),
        declaration.metadata["shape"],
        declaration.default if factory is MISSING else factory(),
        table or None,
        column or declaration.name,
        declaration.metadata["codec"],
    )


def camel(name: str) -> str:
    """Return the name of a field in JSON, such as `parentSessionId` for `parent_session_id`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
