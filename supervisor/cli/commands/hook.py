"""`hook`: asked by an agent's client at its steps, it answers with what the session was not told yet."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ....ipc.failpoints import failpoint
from ....ipc.store.inbox import telling
from ...integrations.hooks import CONTEXT, Hook, Question, home_of

if TYPE_CHECKING:
    import click

#: Bytes of a question: a tool's answer may be in it.
LONGEST = 64 * 1024 * 1024
STDOUT = 1


def hook(words: list[str]) -> None:
    """Answer the question on stdin; whatever goes wrong is said on stderr alone."""
    try:
        named, kind = _options(words)
        _answer(named, kind)
    except (Exception, KeyboardInterrupt) as error:
        with suppress(OSError):
            print(f"backburner hook: {str(error) or type(error).__name__}", file=sys.stderr, flush=True)


def _options(words: list[str]) -> tuple[str | None, str]:
    """`--home DIR` and `--client NAME`. Raises ValueError."""
    found = {"--home": None, "--client": "claude"}
    rest = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for name, value in zip(rest[::2], [*rest[1::2], ""], strict=False):
        if name not in found or not value:
            raise ValueError(f"unknown option {name}; there are --client NAME, --home DIR")
        found[name] = value
    if found["--client"] not in CONTEXT:
        raise ValueError(f"unknown client {found['--client']}; there are {', '.join(CONTEXT)}")
    return found["--home"], str(found["--client"])


def _answer(named: str | None, kind: str) -> None:
    question = Question.of(sys.stdin.buffer.read(LONGEST).decode(errors="replace"))
    home = home_of(named, question, os.environ)
    if home is None:
        return
    with Hook(home, question, kind) as asked:
        asked.arrive()
        if asked.unread() is None:
            return
        with telling(home, question.session):
            unread = asked.unread()
            if unread is not None:
                _print(asked.answer(unread))
                asked.acknowledge(unread)


def _print(document: dict[str, Any]) -> None:
    """Past the buffers: what was written was told."""
    left = json.dumps(document).encode() + b"\n"
    while left:
        with failpoint("hook.tell"):
            left = left[os.write(STDOUT, left) :]


def __getattr__(name: str) -> click.Command:
    """The command as the help shows it; it is never asked for when a client asks."""
    if name != "command":
        raise AttributeError(name)
    import click

    from ..options import example

    @click.command(
        "hook",
        short_help="Answer a hook of an agent's client.",
        epilog=example("hook --client gemini < question.json", "install claude"),
    )
    @click.option("--client", type=click.Choice(list(CONTEXT)), default="claude", help="Whose form. [default: claude]")
    @click.pass_context
    def hook_command(ctx: click.Context, client: str) -> None:
        """Read a hook's JSON on stdin, print what its session was not told yet; exits with 0, whatever happens."""
        home = ctx.find_root().params.get("home")
        hook([*(["--home", home] if home else []), "--client", client])

    return hook_command
