"""Show long text on a terminal page by page."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

import click

from ..options import Command

#: The pager and its options, as git starts it: it ends at once if the text fits, keeps colours and clears nothing.
PAGER, LESS = "less", "FRX"


def pager_option(command: Command) -> Command:
    """Add `--no-pager`."""
    text = "Print everything at once. [default: long text is shown by $PAGER or less on a terminal]"
    return click.option("--no-pager", is_flag=True, help=text)(command)


def print_paged(text: str, no_pager: bool) -> None:
    """Print a text. If it is longer than the terminal, show it in the pager."""
    pager = None if no_pager else _pager(text)
    if pager is None or not _show(pager, text):
        sys.stdout.write(text)


def _pager(text: str) -> str | None:
    """Return the command of the pager, or None if the text fits the terminal or no pager is wanted or installed."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return None
    try:
        height = os.get_terminal_size(sys.stdout.fileno()).lines
    except OSError:
        return None
    if not height or text.count("\n") < height:
        return None
    import shutil  # only long text on a terminal needs it

    pager = os.environ.get("PAGER", PAGER).strip()
    return pager if pager not in ("", "cat") and (pager != PAGER or shutil.which(PAGER)) else None


def _show(pager: str, text: str) -> bool:
    """Return False if the pager could not be started. Ctrl-C belongs to the pager."""
    import subprocess

    sys.stdout.flush()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", pager],
            stdin=subprocess.PIPE,
            env={"LESS": LESS, "LV": "-c", **os.environ},
            preexec_fn=_restore_interrupt,
            text=True,
            errors="backslashreplace",
        )
        with suppress(BrokenPipeError):  # the reader has seen enough
            process.communicate(text)
        # A shell reports a command that it cannot find or execute with these exit codes.
        return process.wait() not in (126, 127)
    finally:
        signal.signal(signal.SIGINT, before)


def _restore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
