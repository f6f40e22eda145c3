"""Settings as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any


def lines(settings: Mapping[str, Any], table: tuple[str, ...] = ()) -> Iterator[str]:
    """Lines of TOML: values first, then tables."""
    tables = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
    if table and (len(tables) < len(settings) or not settings):
        yield ""
        yield f"[{'.'.join(map(_key, table))}]"
    for name, value in settings.items():
        if name not in tables:
            yield f"{_key(name)} = {_value(value)}"
    for name, inner in tables.items():
        yield from lines(inner, (*table, name))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    """JSON's strings, numbers and lists are TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
