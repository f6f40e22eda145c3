"""`doctor`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..options import Output, example, json_option
from ..printing import print_json
from ..tables import terminal_width

if TYPE_CHECKING:
    from ...doctor.finding import Finding


@click.command(
    "doctor", epilog=example("doctor", Output("no problems in /home/me/project/.backburner (975 kB)"), "doctor --json")
)
@json_option
@click.pass_obj
def command(context: Context, as_json: bool) -> int:
    """Report problems and how to fix them.

    Changes nothing. Needs no supervisor. Exits with 1 if there is a problem, with 0 if there are only notes.
    """
    from ....ipc.config.files import check
    from ....ipc.home import current_folder
    from ...doctor.finding import PROBLEM
    from ...doctor.report import examine

    findings = examine(context.home, check(context.home, current_folder()))
    findings.sort(key=lambda finding: finding.level != PROBLEM)
    if as_json:
        documents = [finding.to_json() for finding in findings]
        print_json({"home": str(context.home.folder), "sizeBytes": context.home.size(), "findings": documents})
    else:
        _print(findings, context)
    return int(any(finding.level == PROBLEM for finding in findings))


def _print(findings: Sequence[Finding], context: Context) -> None:
    from ....ipc.text.sizes import format_bytes

    width = terminal_width(sys.stdout)
    for finding in findings:
        print(_wrap(f"{finding.level}: {finding.what}", "", width))
        print(_wrap(f"  {finding.why}", "  ", width))
        print(_wrap(f"  fix: {finding.fix}", "    ", width))
    problems = sum(finding.level == "problem" for finding in findings)
    size = format_bytes(context.home.size())
    print(f"{problems or 'no'} problem{'' if problems == 1 else 's'} in {context.home.folder} ({size})")


def _wrap(text: str, indent: str, width: int | None) -> str:
    """Return a text in lines that fit the terminal. Words such as paths and commands stay whole."""
    if width is None:
        return text
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
