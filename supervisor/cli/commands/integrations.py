"""Agents' clients: `mcp`, which they start, to have tools for their models; `install`, which tells them so."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from ....ipc.errors import Permanent
from ....ipc.machine.distribution import INSTALL_COMMAND
from ..context import Desk
from ..options import example, say


@click.command("mcp", short_help="Serve tools to an agent's client.", epilog=example("install claude", "mcp"))
@click.pass_obj
def mcp_command(desk: Desk) -> None:
    """Speak the Model Context Protocol on stdin and stdout: launch, list, output, wait, cancel, inbox.

    It is the client that starts it; what the client must be told for that, `install` writes.
    """
    try:
        from ...integrations.mcp_server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise Permanent(f"the MCP server needs the extra 'mcp'; install it, in a checkout: {INSTALL_COMMAND}") from None
    serve(desk.home)


@click.command(
    "install",
    short_help="Set an agent's client up.",
    epilog=example("install claude", "install claude --yes", "install claude --undo"),
)
@click.argument("client", type=click.Choice(["claude", "codex", "opencode", "gemini"]))
@click.option("--yes", is_flag=True, help="Make the change.")
@click.option("--undo", is_flag=True, help="Take it back: files that were not changed since are as they were.")
def install_command(client: str, yes: bool, undo: bool) -> None:
    """Print what must change in the files of an agent's CLIENT so that it has the tools and the hooks.

    Nothing is changed without --yes or --undo; nothing but what is shown is ever changed.
    """
    from ...integrations.client_files import ADVICE, CLIENTS
    from ...integrations.install import Setup, diffs, state_folder

    environ, person = dict(os.environ), Path.home()
    setup = Setup(client, CLIENTS[client](own_command(), person, environ), state_folder(environ, person))
    changes = setup.removals() if undo else setup.additions()
    print("".join(diffs(changes)), end="")
    if not changes:
        say(f"{client} has nothing of ours" if undo else f"{client} is set up already")
    elif undo:
        setup.remove(changes)
    elif yes:
        setup.add(changes)
        say(ADVICE.get(client, f"{client} is set up; it reads this when it is started"))
    else:
        say(f"nothing was changed; to make this change: backburner install {client} --yes")


def own_command() -> list[str]:
    """What starts this program, from whichever folder, with whatever PATH."""
    script = os.path.abspath(sys.argv[0])
    if os.path.basename(script) == "backburner" and os.access(script, os.X_OK):
        return [script]
    found = shutil.which("backburner")
    return [os.path.abspath(found)] if found else [sys.executable, "-m", "backburner"]
