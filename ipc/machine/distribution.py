"""The installed distribution: its name, its version, and the command that installs it."""

from __future__ import annotations

import functools
import os
import sys

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


def extra_command(extra: str) -> str:
    """Return the command that adds the packages of an extra to this installation, whichever program made it.

    The packages are named, because the distribution itself is in no registry.
    """
    import shlex
    from importlib.util import find_spec

    packages = " ".join(map(shlex.quote, _packages_of(extra)))
    if "/pipx/venvs/" in f"{sys.prefix}/":
        return f"pipx inject {os.path.basename(sys.prefix)} {packages}"
    python = shlex.quote(sys.executable)
    if "/uv/tools/" in f"{sys.prefix}/" or find_spec("pip") is None:
        return f"uv pip install --python {python} {packages}"
    return f"{python} -m pip install {packages}"


def _packages_of(extra: str) -> list[str]:
    """Return the requirements of an extra, such as «mcp<3,>=2.3»."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        requirements = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        requirements = []
    marked = (requirement.partition(";") for requirement in requirements)
    return [name.strip() for name, _, marker in marked if f'"{extra}"' in marker.replace("'", '"')] or [extra]
