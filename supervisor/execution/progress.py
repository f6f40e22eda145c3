"""The progress of an agent, which its rules find in the lines of JSON that it appends to its output."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...ipc.config.extract import document_of, pointer, text_of
from ...ipc.lines import LineReader, LineTooLong

#: The maximum number of bytes that one check reads. If the output grows faster, some lines are not counted.
MAX_READ = 4 * 1024 * 1024

#: The maximum number of characters of a message that are reported.
MAX_MESSAGE = 120


class Progress:
    """The tool calls, tokens, cost and last message of one attempt."""

    def __init__(self, path: str, rules: Mapping[str, Sequence[str]], interval_ms: int, now: float) -> None:
        """Follow the output in `path`. The rules `tool` and `message` find text, and `tokens` and `cost` find numbers.

        `next_at` is the time of the next check (seconds, monotonic). It is infinite without rules or with interval 0.
        """
        self._path = path
        self._interval = interval_ms / 1000 if rules and interval_ms else float("inf")
        self.next_at = now + self._interval
        self._rules = {name: [pointer(rule) for rule in texts] for name, texts in rules.items()}
        self._offset = 0
        self._reader = LineReader(MAX_READ)
        self._calls = 0
        self._tool = self._message = ""
        self._sums = {"tokens": 0.0, "cost": 0.0}
        self._last: str | None = None

    def check(self, now: float) -> str | None:
        """Return the progress, or None if it has not changed."""
        if self.next_at == float("inf"):
            return None
        self.next_at = now + self._interval
        for line in self._lines():
            if b"{" in line:
                self._count(document_of(line.decode(errors="replace")))
        text = self._text()
        if not text or text == self._last:
            return None
        self._last = text
        return text

    def _lines(self) -> Iterator[bytes]:
        appended = self._appended()
        self._reader.feed(appended)
        try:
            yield from self._reader.lines()
        except LineTooLong:
            self._reader = LineReader(MAX_READ)

    def _appended(self) -> bytes:
        try:
            with open(self._path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size - self._offset > MAX_READ:
                    self._offset, self._reader = size - MAX_READ, LineReader(MAX_READ)
                file.seek(self._offset)
                data = file.read(size - self._offset)
        except FileNotFoundError:
            return b""
        self._offset += len(data)
        return data

    def _count(self, document: Any) -> None:
        for tool in self._values("tool", document):
            self._calls, self._tool = self._calls + 1, _one_line(tool, 40)
        for message in self._values("message", document):
            self._message = _one_line(message, MAX_MESSAGE) or self._message
        for name in self._sums:
            self._sums[name] += sum(float(value) for value in self._values(name, document) if _is_number(value))

    def _values(self, name: str, document: Any) -> Iterator[Any]:
        return (value for rule in self._rules.get(name, ()) for value in rule.values(document))

    def _text(self) -> str:
        head = "; ".join(self._counts())
        return ": ".join(filter(None, (head, self._message)))

    def _counts(self) -> Iterator[str]:
        if self._calls:
            yield f"{self._calls} tool call{'s' if self._calls > 1 else ''}, last {self._tool}"
        if self._sums["tokens"]:
            yield f"{self._sums['tokens']:,.0f} tokens"
        if self._sums["cost"]:
            yield f"${self._sums['cost']:.4f}"


def _one_line(value: Any, length: int) -> str:
    text = " ".join((text_of(value) or "").split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
