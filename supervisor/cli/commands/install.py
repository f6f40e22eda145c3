"""`install`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import click

from ....ipc.errors import Permanent
from ..options import example
from ..printing import note
from .mcp import require_extra


@click.command("install", epilog=example("install claude", "install claude --yes", "install claude --undo"))
@click.argument("client", type=click.Choice(["claude", "codex", "opencode", "gemini"]))
@click.option("--yes", is_flag=True, help="Make the changes.")
@click.option("--undo", is_flag=True, help="Remove the changes; a file not edited since is restored.")
def command(client: str, yes: bool, undo: bool) -> None:
    """Configure an agent's client to use backburner.

    Shows the changes that give CLIENT the tools and the hooks. No file is changed without --yes or --undo. Other
    entries and comments in the files are kept.
    """
    with require_extra("install"):
        from ...integrations.client_files import ADVICE, CLIENTS
        from ...integrations.install import Setup, diffs, state_folder

        if not undo and importlib.util.find_spec("mcp") is None:
            raise ModuleNotFoundError(name="mcp")

    environ, home = dict(os.environ), _home_folder()
    setup = Setup(client, CLIENTS[client](own_command(), home, environ), state_folder(environ, home))
    changes = setup.removals() if undo else setup.additions()
    print("".join(diffs(changes)), end="")
    if not changes:
        note(f"{client} is not set up" if undo else f"{client} is already set up")
    elif undo:
        setup.remove(changes)
    elif yes:
        setup.add(changes)
        note(ADVICE.get(client, f"{client} is set up; restart it to load the changes"))
    else:
        note(f"no file was changed; to make the changes, run: backburner install {client} --yes")


def _home_folder() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user ID without an entry in the password database
        raise Permanent(
            "the home folder of this user is unknown; set HOME to the folder with the client's files"
        ) from None


def own_command() -> list[str]:
    """Return a command that starts this program from any folder and with any PATH."""
    script = os.path.abspath(sys.argv[0])
    if os.path.basename(script) == "backburner" and os.access(script, os.X_OK):
        return [script]
    program = shutil.which("backburner")
    return [os.path.abspath(program)] if program else [sys.executable, "-m", "backburner"]
