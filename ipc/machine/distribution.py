"""The installed distribution: its name, its version, and the command that installs it."""

from __future__ import annotations

import functools

#: The name of the distribution in a package registry. The import name and the command are `backburner`.
DISTRIBUTION = "backburner-supervisor"

#: The command that installs the program with the MCP server for agents. It must be run in a checkout, because nothing
#: is published yet.
INSTALL_COMMAND = "pipx install '.[mcp]'"

#: The same, as a message shows it.
INSTALL_HINT = f"{INSTALL_COMMAND} (in a checkout)"

#: The command that installs a newer version over an older one.
UPGRADE_COMMAND = f"pipx reinstall {DISTRIBUTION}"


@functools.cache
def version() -> str:
    """Return the version of this program, or "unknown" in a checkout that was not installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def is_installed() -> bool:
    """Return True if this program was installed as a distribution."""
    return version() != "unknown"
