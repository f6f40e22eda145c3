"""`install`."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ....ipc.errors import Permanent
from ...system.children import run_tool
from ..options import example
from ..printing import note
from .mcp import require_extra

if TYPE_CHECKING:
    from ...integrations.install import Change, Setup


@click.command("install", epilog=example("install claude", "install claude --yes", "install claude --undo"))
@click.argument("client", type=click.Choice(["claude", "codex", "opencode", "gemini"]))
@click.option("--yes", is_flag=True, help="Make the changes.")
@click.option("--undo", is_flag=True, help="Remove the changes; a file not edited since is restored.")
def command(client: str, yes: bool, undo: bool) -> None:
    """Configure an agent's client to use backburner.

    Shows the changes that give a client the tools and the hooks. No file is changed without --yes or --undo. Other
    entries and comments in the files are kept.
    """
    with require_extra("install"):
        from ...integrations.client_files import ADVICE, CLIENTS
        from ...integrations.install import Setup, state_folder

        if not undo and importlib.util.find_spec("mcp") is None:
            raise ModuleNotFoundError(name="mcp")
        if yes and not undo:
            _check_server(own_command())

    environ, home = dict(os.environ), _home_folder()
    setup = Setup(client, CLIENTS[client](own_command(), home, environ), state_folder(environ, home))
    if undo:
        _undo(setup, client)
    elif not _shown(changes := setup.additions(), f"{client} is already set up"):
        return
    elif yes:
        setup.add(changes)
        note(ADVICE.get(client, f"{client} is set up; restart it to load the changes"))
    else:
        note(f"no file was changed; to make the changes, run: backburner install {client} --yes")


def _undo(setup: Setup, client: str) -> None:
    changes = setup.removals()
    setup.remove(changes)
    if _shown(changes, f"{client} is not set up"):
        note(f"{client} no longer uses backburner; restart it to load the changes")


def _shown(changes: Sequence[Change], otherwise: str) -> bool:
    """Print the changes as a diff and return True, or print that there are none."""
    print("".join(change.diff() for change in changes), end="")
    if not changes:
        note(otherwise)
    return bool(changes)


def _check_server(command: list[str]) -> None:
    """Refuse the setup if the MCP server could not start. Raises Permanent, ModuleNotFoundError."""
    if _is_this_installation(command[0]):
        from ...integrations import mcp_server  # noqa: F401 (only the import can fail)

        return
    code, output = run_tool([*command, "mcp"], timeout=30.0)  # its stdin is empty, so it ends at once
    if code:
        raise Permanent(f"{shlex.join(command)} mcp, which the client would start, fails: {output[-500:]}")


def _is_this_installation(program: str) -> bool:
    ours = os.path.realpath(os.path.dirname(sys.executable))
    return program == sys.executable or os.path.dirname(os.path.realpath(program)) == ours


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
