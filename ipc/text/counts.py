"""Numbers with their nouns, for people."""

from __future__ import annotations

#: The ends of nouns whose plural ends in `es`.
_HISSES = ("s", "x", "ch", "sh")


def plural(noun: str) -> str:
    """Return the regular plural of a noun: «tasks», «processes»."""
    return f"{noun}es" if noun.endswith(_HISSES) else f"{noun}s"


def count_of(number: int, noun: str) -> str:
    """Return a number and its noun, such as «1 task» or «2 tasks»."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def counted(number: int, nouns: str) -> str:
    """Return a number and a noun that is given in its plural, such as «1 task» for `tasks`."""
    stem = nouns.removesuffix("es")
    noun = stem if stem != nouns and stem.endswith(_HISSES) else nouns.removesuffix("s")
    return f"{number} {noun if number == 1 else nouns}"
