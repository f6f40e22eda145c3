"""Positional arguments that begin with a dash, and the command that a user probably meant."""

from __future__ import annotations

from collections.abc import Sequence

import click

#: The maximum length of a command that a message repeats.
LONGEST_REPEATED = 80

#: The characters that only a shell gives a meaning.
_SHELL = frozenset("|&;<>()$`\\\"'*?[]#~{}\n")


class TextCommand(click.Command):
    """A command with a text as an argument. The text may begin with a dash if it contains a blank."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments in the order in which click takes them."""
        return super().parse_args(ctx, arrange(self, args))


def arrange(command: click.Command, arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command, with text that begins with a dash after `--`, where it is not an option.

    A word that contains a blank and begins with a dash is such text, unless it is a long option with a value.
    """
    found = _positions(command, arguments)
    dashed = [index for index in found if _is_text(command, arguments[index])]
    if not dashed:
        return [*arguments]
    rest = [word for index, word in enumerate(arguments) if index not in dashed]
    return [*rest, "--", *(arguments[index] for index in dashed)]


def after_options(command: click.Command, arguments: Sequence[str]) -> list[str]:
    """Return the arguments from the first one on that is neither an option nor the value of an option."""
    plain = [index for index in _positions(command, arguments) if not arguments[index].startswith("-")]
    return [*arguments[plain[0] :]] if plain else []


def suggest_command(name: str, words: Sequence[str]) -> str:
    """Return the command line that runs these words as a command: «to run a command, write: …»."""
    import shlex  # only an error needs it

    line = " ".join(words)
    if not line.strip() or len(line) > LONGEST_REPEATED or not line.isprintable():
        written = "-- COMMAND [ARG]..."
    elif len(words) == 1 and _SHELL.intersection(line):
        written = f"-c {shlex.quote(line)}"
    else:
        written = f"-- {line if len(words) == 1 else shlex.join(words)}"
    return f"to run a command, write: backburner {name} {written}"


def _positions(command: click.Command, arguments: Sequence[str]) -> list[int]:
    """Return the positions of the arguments that are not values of the options before them."""
    takes_value = {
        name: not option.is_flag
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    positions, is_value = [], False
    for index, word in enumerate(arguments):
        if is_value:
            is_value = False
            continue
        positions.append(index)
        is_value = takes_value.get(word, False)
    return positions


def _is_text(command: click.Command, word: str) -> bool:
    if not word.startswith("-") or not any(letter.isspace() for letter in word):
        return False
    name, equals, _ = word.partition("=")
    return not (equals and any(name in option.opts for option in command.params))
