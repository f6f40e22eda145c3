"""`doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..options import example, json_option
from ..printing import print_json

if TYPE_CHECKING:
    from ...doctor.finding import Finding


@click.command("doctor", epilog=example("doctor", "doctor --json"))
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
        print_json({"home": str(context.home.folder), "findings": [finding.to_json() for finding in findings]})
    else:
        _print(findings, context)
    return int(any(finding.level == PROBLEM for finding in findings))


def _print(findings: Sequence[Finding], context: Context) -> None:
    for finding in findings:
        print(f"{finding.level}: {finding.what}")
        print(f"  {finding.why}")
        print(f"  fix: {finding.fix}")
    problems = sum(finding.level == "problem" for finding in findings)
    print(f"{problems or 'no'} problem{'' if problems == 1 else 's'} in {context.home.folder}")
