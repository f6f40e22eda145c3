"""The command line: the only place that composes roles, prints and exits."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import Desk


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Without `arguments` it is the process's own, which ends with it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["_forkserver"]:
            return _fork_server(words[1])
        if words[:1] == ["_rescue"]:
            return _rescue(words[1])
        if words[:1] == ["hook"] and not {"-h", "--help"} & set(words):
            return _hook(words[1:], arguments is None)
        return _leave(_run_alone(words)) if arguments is None else _run(words)
    except KeyboardInterrupt:
        return 130


def _fork_server(folder: str) -> int:
    from .roles import be_fork_server

    be_fork_server(folder)
    return 0


def _rescue(folder: str) -> int:
    from ...ipc.home import Home
    from ..pool.recovery import rescue_all

    rescue_all(Home.find(folder))
    return 0


def _hook(words: list[str], alone: bool) -> int:
    """A client waits for it at each of its steps: without the command line's libraries, and it never fails."""
    if None in (sys.stdin, sys.stdout, sys.stderr):  # nobody asks, or nobody hears
        return 0
    gc.disable()
    from .commands.hook import hook

    hook(words)
    return _leave(0) if alone else 0


def _run_alone(words: list[str]) -> int:
    gc.disable()  # until the command's modules are there, which stay: a tenth of the time of a launch
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _open_nowhere(number, name)
    return _run(words)


def _open_nowhere(number: int, name: str) -> None:
    """Fill the place of a stream that the caller closed, before a file of ours gets its number."""
    os.dup2(os.open(os.devnull, os.O_RDWR), number)
    setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _run(words: list[str]) -> int:
    from .context import Desk
    from .errors import code_of

    desk = Desk()
    try:
        with desk:
            code = _obey(words, desk)
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # whoever read our output has heard enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return code_of(error, desk)


def _obey(words: list[str], desk: Desk) -> int:
    from ...ipc.errors import HeldByWorker
    from .app import program

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a task's text must never break a list
    run: Callable[[], object] = partial(program.main, words, prog_name="backburner", standalone_mode=False, obj=desk)
    try:
        answer = run()
    except HeldByWorker:
        from ..pool.recovery import rescue_all

        rescue_all(desk.home)  # the worker may be dead, and no supervisor alive
        answer = run()
    return answer if isinstance(answer, int) else 0


def _leave(code: int) -> int:
    """End the process. All is closed: taking the interpreter apart would cost more than a launch does."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads any more
        return code
    os._exit(code)
