"""`mcp`: what an agent's client starts, to have tools for its model."""

from __future__ import annotations

import click

from ipc.errors import Permanent
from supervisor.cli.desk import Desk
from supervisor.cli.options import example


@click.command("mcp", short_help="Serve tools to an agent's client.", epilog=example("install claude", "mcp"))
@click.pass_obj
def mcp_command(desk: Desk) -> None:
    """Speak the Model Context Protocol on stdin and stdout: launch, list, output, wait, cancel, inbox.

    It is the client that starts it; what the client must be told for that, `install` writes.
    """
    try:
        from supervisor.parents.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise Permanent(
            "The MCP server needs the package mcp; install it: pipx inject backburner 'mcp>=2.3,<3', or"
            " pip install 'backburner[mcp]'."
        ) from None
    serve(desk.home)
