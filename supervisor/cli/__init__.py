"""The command line, the only part that composes roles, prints and exits."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ...ipc.errors import BROKEN_PIPE, INTERRUPTED, OutputFailed
from ..system.streams import discard_output, guarded

if TYPE_CHECKING:
    from .context import Context


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Without `arguments`, run the command of `sys.argv` and end the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["_forkserver"]:
            return _fork_server(words[1])
        if words[:1] == ["_rescue"]:
            return _rescue(words[1])
        if words[:1] == ["hook"] and not {"-h", "--help"} & set(words):
            return _hook(words[1:], arguments is None)
        return _exit(_run_process(words)) if arguments is None else _run(words)
    except KeyboardInterrupt:
        return INTERRUPTED


def _fork_server(folder: str) -> int:
    from .roles import run_fork_server

    run_fork_server(folder)
    return 0


def _rescue(folder: str) -> int:
    from ...ipc.home import Home
    from ..pool.recovery import rescue_all

    rescue_all(Home.find(folder))
    return 0


def _hook(words: list[str], is_process: bool) -> int:
    """Answer a client's hook without click, because the client waits for it at every step. This never fails."""
    if None in (sys.stdin, sys.stdout, sys.stderr):  # a closed stream means that there is no input or no reader
        return 0
    gc.disable()
    from .commands.hook import answer_hook

    answer_hook(words)
    return _exit(0) if is_process else 0


def _run_process(words: list[str]) -> int:
    # Garbage collection during the import of the command's modules would take a tenth of the time of a launch.
    gc.disable()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _open_null(number, name)
    sys.stdout = guarded(sys.stdout, 1, "stdout")
    return _run(words)


def _open_null(number: int, name: str) -> None:
    """Open /dev/null in place of a stream that the caller closed, before another file gets its number.

    A result has no place to go then: it is an error to write to stdout.
    """
    os.dup2(os.open(os.devnull, os.O_RDONLY if name == "stdout" else os.O_RDWR), number)
    setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _run(words: list[str]) -> int:
    from .context import Context
    from .errors import report_error

    context = Context()
    try:
        with context:
            code = _invoke(words, context)
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # the reader of the output has exited
        discard_output(sys.stdout.fileno())
        return BROKEN_PIPE
    except OutputFailed as error:
        discard_output(sys.stdout.fileno())
        return report_error(error, context)
    except Exception as error:
        return report_error(error, context)


def _invoke(words: list[str], context: Context) -> int:
    from ...ipc.errors import HeldByWorker
    from .app import program

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # the text of a task may contain any character
    run: Callable[[], object] = partial(program.main, words, prog_name="backburner", standalone_mode=False, obj=context)
    try:
        result = run()
    except HeldByWorker:
        from ..pool.recovery import rescue_all

        rescue_all(context.home)  # the worker may be dead, with no supervisor to notice
        result = run()
    return result if isinstance(result, int) else 0


def _exit(code: int) -> int:
    """End the process without finalising the interpreter, which would take longer than a launch."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the reader has exited
        return code
    os._exit(code)
