"""`mcp`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from ....ipc.errors import Permanent
from ....ipc.machine.distribution import INSTALL_HINT, extra_command
from ..context import Context
from ..options import example

#: The import packages of the extra `mcp`.
EXTRA = ("mcp", "mcp_types", "json5", "tomlkit")


@click.command("mcp", epilog=example("mcp", "install claude"))
@click.pass_obj
def command(context: Context) -> None:
    """Serve tools to an agent's client by MCP.

    Speaks the Model Context Protocol on stdin and stdout. The tools are launch, list, output, wait, cancel and
    inbox. The client starts this command; `backburner install` configures the client.
    """
    with require_extra("mcp"):
        from ...integrations.mcp_server import serve
    serve(context.home)


@contextmanager
def require_extra(command: str) -> Iterator[None]:
    """Refuse a command whose libraries are not installed. Raises Permanent."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise Permanent(
            f"'backburner {command}' needs the extra 'mcp'; to add it to this installation: {extra_command('mcp')}\n"
            f"to install backburner with it: {INSTALL_HINT}"
        ) from None
