"""`doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Desk
from ..options import example, json_option
from ..printing import print_json

if TYPE_CHECKING:
    from ...doctor.finding import Finding


@click.command("doctor", short_help="Find problems.", epilog=example("doctor", "doctor --json"))
@json_option
@click.pass_obj
def command(desk: Desk, as_json: bool) -> int:
    """Find problems, with the command that fixes each. Nothing is written.

    The exit code is 1 if a problem is found, and 0 if there are only notes.
    """
    from ....ipc.config.settings import check
    from ...doctor.finding import PROBLEM
    from ...doctor.report import examine

    found = examine(desk.home, check(desk.home, Path.cwd()))
    found.sort(key=lambda finding: finding.level != PROBLEM)
    if as_json:
        print_json({"home": str(desk.home.folder), "findings": [finding.to_json() for finding in found]})
    else:
        _print(found, desk)
    return int(any(finding.level == PROBLEM for finding in found))


def _print(found: Sequence[Finding], desk: Desk) -> None:
    for finding in found:
        print(f"{finding.level}: {finding.what}")
        print(f"  {finding.why}")
        print(f"  fix: {finding.fix}")
    problems = sum(finding.level == "problem" for finding in found)
    print(f"{problems or 'no'} problem{'' if problems == 1 else 's'} in {desk.home.folder}")
