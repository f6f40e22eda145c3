r"""Rules that extract a value from the output of an agent.

- `stdout` is the whole output, and `last-line` is its last line.
- `stdout~REGEX` and `stderr~REGEX` are the last match, or its first group.
- `json:PATH` is a value of the output, read as one JSON document.
- `jsonl:PATH` is a value of the last line of JSON that has a value at this path.
- `jsonl+:PATH` joins the values of the last uninterrupted run of lines that have a value at this path.

The steps of a path are separated by dots. A step is a name, an index of a list, or `*` for all indices. Conditions on
the same document may follow: `jsonl:item.text[type=item.completed][item.type=agent_message]`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

#: The pattern of a rule that points into JSON.
POINTER = r"(?:json|jsonl|jsonl\+):[^\[\]]+(?:\[[^=\[\]]+=[^\[\]]*\])*"

# The patterns are compiled when they are used: most processes read no answer of an agent.
_PARTS = r"(?s:(json|jsonl|jsonl\+):([^\[\]]+)(.*))"
#: A sequence that controls a terminal. In JSON, the character that begins it is written as `\\u001b`.
_ESCAPE = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])"
_CONDITION = r"\[([^=]+)=([^\]]*)\]"


class Pointer(NamedTuple):
    """A path to values of a JSON document, and the conditions that the document must meet."""

    kind: str
    path: tuple[str, ...]
    conditions: tuple[tuple[tuple[str, ...], str], ...]

    def meets_conditions(self, document: Any) -> bool:
        """Return True if the document has the expected values."""
        return all(expected in map(text_of, _values_at(document, path)) for path, expected in self.conditions)

    def values(self, document: Any) -> Iterator[Any]:
        """Yield the values at the path that are not null, if the document meets the conditions."""
        if self.meets_conditions(document):
            yield from (value for value in _values_at(document, self.path) if value is not None)

    def owners(self, document: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the values at the path that are not null, each with the object or list that holds it."""
        if self.meets_conditions(document):
            for owner in _values_at(document, self.path[:-1]):
                yield from ((value, owner) for value in _step(owner, self.path[-1]) if value is not None)

    def last(self, document: Any) -> Any:
        """Return the last value at the path, or None."""
        return next(reversed(list(self.values(document))), None)


@functools.cache
def pointer(rule: str) -> Pointer:
    """Parse a rule that matches POINTER."""
    parts = re.fullmatch(_PARTS, rule)
    assert parts is not None, "the configuration was checked"
    conditions = ((tuple(path.split(".")), expected) for path, expected in re.findall(_CONDITION, parts[3]))
    return Pointer(parts[1], tuple(parts[2].split(".")), tuple(conditions))


def pick(rule: str, stdout: str) -> Any:
    """Return the value of a rule that points into JSON, or None."""
    target = pointer(rule)
    if target.kind == "jsonl+":
        return _joined(target, stdout)
    documents = _documents(reversed(_lines(stdout)) if target.kind == "jsonl" else [stdout])
    return next((value for document in documents if (value := target.last(document)) is not None), None)


def read(rule: str, stdout: str, stderr: str = "") -> str | None:
    """Return the value of any rule as text, or None."""
    if rule == "stdout":
        return stdout.removesuffix("\n")
    if rule == "last-line":
        return stdout.rstrip("\n").rpartition("\n")[2]
    if rule.startswith(("stdout~", "stderr~")):
        return _matched(rule[7:], stdout if rule.startswith("stdout") else stderr)
    return text_of(pick(rule, stdout))


def text_of(value: Any) -> str | None:
    """Return text unchanged, None for null, and any other value as JSON."""
    if value is None or isinstance(value, str):
        return value
    import json  # not needed to check rules

    return json.dumps(value, ensure_ascii=False)


def document_of(line: str) -> Any:
    """Return the JSON document of a line, or None. Escape sequences, and noise before an object, are passed over."""
    import json  # not needed to check rules

    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        clean = re.sub(_ESCAPE, "", line)
    # A progress bar is overwritten: what follows a carriage return counts, if the line as a whole has no document.
    parts = (clean, *(reversed(clean.split("\r")) if "\r" in clean.strip() else ()))
    return next((found for part in parts if (found := _object_in(part)) is not None), None)


def _object_in(text: str) -> Any:
    """Return the first object or list of a text that is not JSON as a whole, or None."""
    import json  # not needed to check rules

    clean = text.lstrip("\ufeff \t")
    start = 0 if clean.startswith("[") else clean.find("{")
    if start < 0:
        return None
    try:
        document, end = json.JSONDecoder().raw_decode(clean, start)
    except (ValueError, RecursionError):
        return None
    return document if not clean[end:].strip() else None


def _lines(text: str) -> list[str]:
    """Return the lines of a text. A string in JSON may contain the other characters that end a line in Unicode."""
    return text.split("\n")


def _documents(texts: Iterable[str]) -> Iterator[Any]:
    return (document for text in texts if (document := document_of(text)) is not None)


def _joined(target: Pointer, stdout: str) -> str | None:
    # Lines that are not JSON come from other libraries, and do not interrupt the values.
    run: list[str] = []
    for document in _documents(reversed(_lines(stdout))):
        text = text_of(target.last(document))
        if text is None and run:
            break
        run += [] if text is None else [text]
    return "".join(reversed(run)) if run else None


def _matched(pattern: str, text: str) -> str | None:
    last = None
    for last in re.finditer(pattern, text):  # noqa: B007  # only the last one is needed
        pass
    return None if last is None else next(iter(last.groups()), None) or last[0]


def _values_at(document: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if not path:
        yield document
        return
    for inner in _step(document, path[0]):
        yield from _values_at(inner, path[1:])


def _step(document: Any, step: str) -> Iterable[Any]:
    if isinstance(document, dict):
        return [document[step]] if step in document else []
    if not isinstance(document, list):
        return []
    if step == "*":
        return document
    index = int(step) if step.lstrip("-").isdigit() else len(document)
    return [document[index]] if -len(document) <= index < len(document) else []
