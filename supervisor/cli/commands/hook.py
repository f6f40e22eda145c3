"""`hook`, which a client runs at its steps, and which responds with the session's unread notifications."""

from __future__ import annotations

import codecs
import json
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from typing import TYPE_CHECKING, Any

from ....ipc.failpoints import failpoint
from ...integrations.hooks import CONTEXT, HookInput, HookRun, find_home
from ...integrations.inbox import delivering

if TYPE_CHECKING:
    import click

#: The maximum length of the input, in bytes. It may contain the whole output of a tool.
MAX_INPUT = 64 * 1024 * 1024
#: The maximum number of bytes that one read returns.
PIECE = 256 * 1024
#: Seconds after which the hook ends without a response. The client waits for it, and may keep stdin open.
TIMEOUT = 1.8
#: The number of bytes at the end of the input in which its last brace is looked for.
TAIL = 256
STDIN, STDOUT = 0, 1


def answer_hook(words: list[str]) -> None:
    """Respond to the input on stdin. Any error is reported on stderr only."""
    try:
        home, client = _options(words)
        _answer(home, client)
    except (Exception, KeyboardInterrupt) as error:
        with suppress(OSError):
            print(f"backburner hook: {str(error) or type(error).__name__}", file=sys.stderr, flush=True)


def _options(words: list[str]) -> tuple[str | None, str]:
    """Return the values of `--home DIR` and `--client NAME`. Raises ValueError."""
    options = {"--home": None, "--client": "claude"}
    parts = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for name, value in zip(parts[::2], [*parts[1::2], ""], strict=False):
        if name not in options or not value:
            raise ValueError(f"unknown option {name}; use --client NAME or --home DIR")
        options[name] = value
    if options["--client"] not in CONTEXT:
        raise ValueError(f"unknown client {options['--client']}; use one of {', '.join(CONTEXT)}")
    return options["--home"], str(options["--client"])


def _answer(named: str | None, client: str) -> None:
    with _time_limit() as timer:
        _deliver(named, client, timer)


@contextmanager
def _time_limit() -> Iterator[Timer]:
    """End this process when the time is over. Nothing is lost, because what is not printed stays unread."""
    timer = Timer(TIMEOUT, _give_up)
    timer.daemon = True
    timer.start()
    try:
        yield timer
    finally:
        timer.cancel()


def _give_up() -> None:
    with suppress(OSError):
        print("backburner hook: no complete input in time; nothing was delivered", file=sys.stderr, flush=True)
    os._exit(0)


def _deliver(named: str | None, client: str, timer: Timer) -> None:
    hook_input = HookInput.parse(_read_input())
    home = find_home(named, hook_input, os.environ)
    if home is None:
        return
    with HookRun(home, hook_input, client) as run:
        run.record_session()
        if run.unread() is None:
            return
        with delivering(home, hook_input.session):
            unread = run.unread()
            if unread is not None:
                timer.cancel()  # what is printed must also be acknowledged
                _print(run.response(unread))
                run.acknowledge(unread)


def _read_input() -> str:
    """Return the input as soon as it is complete, even if stdin stays open. Raises ValueError, OSError."""
    raw = bytearray()
    while piece := os.read(STDIN, PIECE):
        raw += piece
        if len(raw) > MAX_INPUT:
            raise ValueError("the input is longer than 64 MiB")
        if _may_be_complete(raw) and _is_json(_text(raw)):
            break
    return _text(raw)


def _may_be_complete(raw: bytearray) -> bool:
    return bytes(raw[-TAIL:]).rstrip()[-1:] in (b"}", b"") and not select.select([STDIN], [], [], 0)[0]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _text(raw: bytearray) -> str:
    return raw.removeprefix(codecs.BOM_UTF8).decode(errors="replace")


def _print(document: dict[str, Any]) -> None:
    """Write without buffers, because the notifications count as delivered once this returns."""
    remaining = json.dumps(document).encode() + b"\n"
    while remaining:
        with failpoint("hook.tell"):
            remaining = remaining[os.write(STDOUT, remaining) :]


def __getattr__(name: str) -> click.Command:
    """Create the command that the help shows. A client's call does not import click."""
    if name != "command":
        raise AttributeError(name)
    import click

    from ..options import example

    @click.command("hook", epilog=example("hook --client gemini < input.json", "install claude"))
    @click.option(
        "--client",
        type=click.Choice(list(CONTEXT)),
        default="claude",
        help="The client that calls, which decides the format. [default: claude]",
    )
    @click.pass_context
    def command(ctx: click.Context, client: str) -> None:
        """Answer a hook of an agent's client.

        Reads the hook's JSON on stdin and prints the unread notifications of its session. Always exits with 0.
        Clients call it; `backburner install` configures them.
        """
        home = ctx.find_root().params.get("home")
        answer_hook([*(["--home", home] if home else []), "--client", client])

    return command
