"""The command line: the only place that composes roles, prints and exits."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. `arguments` are the process's own unless given."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        return _nurse(words[1]) if words[:1] == ["_nursery"] else _run(arguments)
    except KeyboardInterrupt:
        return 130


def _nurse(folder: str) -> int:
    from supervisor.cli.roles import be_nursery

    be_nursery(folder)
    return 0


def _run(arguments: Sequence[str] | None) -> int:
    from supervisor.cli.desk import Desk
    from supervisor.cli.failures import code_of

    desk = Desk()
    try:
        with desk:
            code = _obey(arguments, desk)
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # whoever read our output has heard enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return code_of(error, desk)


def _obey(arguments: Sequence[str] | None, desk: object) -> int:
    from supervisor.cli.program import program

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a task's text must never break a list
    answer = program.main(arguments, prog_name="backburner", standalone_mode=False, obj=desk)
    return answer if isinstance(answer, int) else 0
