"""The arguments of an agent's process: its template, filled with the values of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .agents import FURTHER_ARGUMENTS, Arguments


def arguments_of(template: Arguments, further: Sequence[str], values: Mapping[str, str]) -> Iterator[str]:
    """Yield the arguments of a template, with further ones at `{args}` or at the end.

    An option of the template that is among the further arguments is left out together with its value, because many
    programs refuse an option that is given twice.
    """
    options = frozenset(argument.partition("=")[0] for argument in further if argument.startswith("-"))
    for element in _without(template, options):
        if element == FURTHER_ARGUMENTS:
            yield from further
        else:
            yield from _filled(element, values)
    if FURTHER_ARGUMENTS not in template:
        yield from further


def _without(template: Arguments, options: frozenset[str]) -> Iterator[str | tuple[str, ...]]:
    """Yield the elements of a template, without these options and the values that follow them."""
    follows = False
    for element in template:
        first = element if isinstance(element, str) else element[0]
        is_value = follows and isinstance(element, str) and not element.startswith("-") and element != FURTHER_ARGUMENTS
        follows = first in options and isinstance(element, str)
        if not (is_value or first.partition("=")[0] in options):
            yield element


def _filled(element: str | tuple[str, ...], values: Mapping[str, str]) -> Iterator[str]:
    """Yield an element. A group in which a placeholder has no value is left out."""
    if isinstance(element, str):
        yield fill(element, values)
    elif not any(name in part for part in element for name, value in values.items() if not value):
        yield from (fill(part, values) for part in element)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace placeholders by their values in one pass, because a prompt may contain a text such as `{model}`."""
    filled, rest = "", template
    while rest:
        index, name = min(((rest.find(name), name) for name in values if name in rest), default=(-1, ""))
        if index < 0:
            break
        filled += rest[:index] + values[name]
        rest = rest[index + len(name) :]
    return filled + rest
