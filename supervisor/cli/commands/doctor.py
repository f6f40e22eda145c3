"""`doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Desk
from ..options import example, json_option, print_json

if TYPE_CHECKING:
    from ...doctor.finding import Finding


@click.command("doctor", short_help="Find what is wrong.", epilog=example("doctor", "doctor --json"))
@json_option
@click.pass_obj
def doctor_command(desk: Desk, as_json: bool) -> int:
    """Find what is wrong, and say how to mend it. Writes nothing, with and without a supervisor.

    Exit code 1 if there is a problem; notes alone, things that are good to know, are 0.
    """
    from ....ipc.config.settings import check
    from ...doctor.finding import PROBLEM
    from ...doctor.report import examine

    found = examine(desk.home, check(desk.home, Path.cwd()))
    found.sort(key=lambda finding: finding.level != PROBLEM)
    if as_json:
        print_json({"home": str(desk.home.folder), "findings": [asdict(finding) for finding in found]})
    else:
        _print(found, desk)
    return int(any(finding.level == PROBLEM for finding in found))


def _print(found: Sequence[Finding], desk: Desk) -> None:
    for finding in found:
        print(f"{finding.level}: {finding.what}")
        print(f"  {finding.why}")
        print(f"  mend it: {finding.mend}")
    problems = sum(finding.level == "problem" for finding in found)
    print(f"{problems or 'no'} problem{'' if problems == 1 else 's'} in {desk.home.folder}")
