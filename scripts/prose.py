"""The prose of Markdown documents: its paragraphs, its sentences, and those that are too long.

Prose is every paragraph and every list item. Headings, tables, code, HTML and front matter are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

#: The maximum number of words of a sentence.
LONGEST_SENTENCE = 30

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_SKIPPED = re.compile(r"^\s*(?:#|\||\[[^\]]+\]:|={3,}\s*$|-{3,}\s*$)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"(`+).+?\1")
_TAG = re.compile(r"<[^>]+>")
#: Abbreviations whose point does not end a sentence.
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|vs|etc|cf|approx)\.", re.IGNORECASE)
#: A sentence ends at a point, question or exclamation mark before a space, even inside quotes, brackets or emphasis.
_END = re.compile(r"(?<=[.!?])[\"'”’»)*_]*\s+(?=\S)")
_WORD = re.compile(r"[^\W_]")


class Sentence(NamedTuple):
    """A sentence, and the line on which its paragraph starts."""

    line: int
    text: str

    @property
    def length(self) -> int:
        """Return its number of words; code between backticks counts as one."""
        return sum(bool(_WORD.search(word)) for word in self.text.split())


def paragraphs(markdown: str) -> Iterator[tuple[int, str]]:
    """Return each paragraph of prose as one line, with the number of its first line."""
    found: list[str] = []
    first = 0
    for number, line in enumerate([*_without_code(markdown), ""], 1):
        item = _ITEM.match(line)
        if found and (item or not line.strip() or _SKIPPED.match(line)):
            yield first, " ".join(found)
            found = []
        if line.strip() and not _SKIPPED.match(line):
            first = first if found else number
            found.append(line[item.end() if item else 0 :].strip().removeprefix("> "))


def sentences(markdown: str) -> Iterator[Sentence]:
    """Return the sentences of all paragraphs."""
    for line, paragraph in paragraphs(markdown):
        for text in _END.split(_plain(paragraph)):
            yield Sentence(line, text)


def long_sentences(markdown: str, longest: int = LONGEST_SENTENCE) -> list[Sentence]:
    """Return the sentences with more than `longest` words."""
    return [sentence for sentence in sentences(markdown) if sentence.length > longest]


def _without_code(markdown: str) -> Iterator[str]:
    """Return the lines, blank where there is code, a comment or front matter."""
    text = re.sub(r"\A---\n.*?\n---\n", _blanked, markdown, flags=re.DOTALL)
    fence = ""
    for line in _COMMENT.sub(_blanked, text).splitlines():
        mark = _FENCE.match(line)
        if fence:
            yield ""
            if mark and mark[1].startswith(fence):
                fence = ""
        elif mark:
            fence = mark[1]
            yield ""
        else:
            yield line


def _blanked(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def _plain(paragraph: str) -> str:
    """Return the text of a paragraph without markup; what stands between backticks is one word."""
    text = _CODE.sub("code", _LINK.sub(r"\1", _CODE.sub("code", paragraph)))
    return _ABBREVIATION.sub(lambda found: found[0].replace(".", ""), _TAG.sub("", text))
