"""`hook`, which a client runs at its steps, and which responds with the session's unread notifications."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ....ipc.failpoints import failpoint
from ...integrations.hooks import CONTEXT, HookInput, HookRun, find_home
from ...integrations.inbox import delivering

if TYPE_CHECKING:
    import click

#: The maximum length of the input, in bytes. It may contain the whole output of a tool.
MAX_INPUT = 64 * 1024 * 1024
STDOUT = 1


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
    hook_input = HookInput.parse(sys.stdin.buffer.read(MAX_INPUT).decode(errors="replace"))
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
                _print(run.response(unread))
                run.acknowledge(unread)


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
