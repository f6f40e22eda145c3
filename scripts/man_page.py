"""Write the manual page from the help of the commands and from the tables of the documentation.

    .venv/bin/python -m scripts.man_page

A test fails if the page in the repository is not the one that this program writes.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from backburner.supervisor.cli.app import SECTIONS, Program, program

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "backburner.1"

#: The columns that man leaves for text on a terminal of 80 columns.
WIDTH = 72

_ROW = re.compile(r"^\| (?!---|code|variable|file)(.+?) \| (.+?) \|", re.MULTILINE)


def page() -> str:
    """Return the page as roff text."""
    root = _context(program, "backburner")
    parts = [
        '.TH BACKBURNER 1 "" "backburner" "User Commands"',
        ".SH NAME",
        "backburner \\- run long jobs and coding agents in the background",
        ".SH SYNOPSIS",
        ".B backburner",
        "[\\-\\-home DIR] [COMMAND] [ARGUMENTS]...",
        ".SH DESCRIPTION",
        _text(inspect.cleandoc(program.help or "")),
        ".SH COMMANDS",
        *_commands(root),
        ".SH ENVIRONMENT",
        *_table("environment-variables", "## Read by backburner"),
        ".SH FILES",
        *_table("files", ""),
        ".SH EXIT STATUS",
        *_table("exit-codes", ""),
    ]
    return "\n".join(parts) + "\n"


def _commands(root: click.Context) -> Iterator[str]:
    assert isinstance(root.command, Program)
    yield _verbatim(root.command.get_complete_help(root))
    for names in SECTIONS.values():
        for name in names:
            command = program.get_command(root, name)
            assert command is not None, "the sections name existing commands"
            yield from _command(command, _context(command, name, parent=root))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f'.SS "{_escaped(context.command_path)}"'
    yield _verbatim(context.get_help())
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from _command(inner, _context(inner, name, parent=context))


def _context(command: click.Command, name: str, **more: Any) -> click.Context:
    return command.make_context(name, [], resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH, **more)


def _table(document: str, heading: str) -> Iterator[str]:
    """Return the rows of the first table below a heading of a page of the reference."""
    text = (ROOT / "docs" / "reference" / f"{document}.md").read_text()
    section = text[text.index(heading) :].removeprefix(heading).partition("\n## ")[0]
    for name, meaning in _ROW.findall(section):
        yield f".TP\n.B {_text(name)}\n{_text(meaning)}"


def _text(markdown: str) -> str:
    """Return a paragraph without the marks of Markdown."""
    return _escaped(re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", markdown).replace("`", ""))


def _verbatim(text: str) -> str:
    return f".nf\n{_escaped(text)}\n.fi"


def _escaped(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def main() -> int:
    """Write the page and return 0."""
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
