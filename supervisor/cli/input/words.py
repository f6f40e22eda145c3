"""Lists of words that are separated by commas, each from a fixed set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

T = TypeVar("T")


class Words(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases of click
    """Words that are separated by commas. It is converted to a tuple."""

    name = "words"

    def __init__(self, noun: str, words: Collection[str], prefix: str = "") -> None:
        """Accept these words. Each may begin with `prefix`."""
        self._noun, self._words, self._prefix = noun, tuple(words), prefix

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the words, in lower case. Raises BadParameter."""
        if isinstance(value, tuple):
            return value
        words = [word.strip().lower() for word in str(value).split(",")]
        for word in words:
            if word.removeprefix(self._prefix) not in self._words:
                self.fail(f"{word!r} is not a {self._noun}; use {', '.join(self._words)}", param, ctx)
        return tuple(words)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words that the last one may become."""
        from click.shell_completion import CompletionItem

        done, comma, begun = incomplete.rpartition(",")
        return [CompletionItem(f"{done}{comma}{word}") for word in self._words if word.startswith(begun)]


def meanings(words: Iterable[Iterable[str]], table: Mapping[str, Iterable[T]]) -> tuple[T, ...]:
    """Return what the words of several options mean, each meaning once."""
    return tuple(dict.fromkeys(meaning for group in words for word in group for meaning in table[word]))
