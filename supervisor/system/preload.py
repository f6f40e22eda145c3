"""Read all of this program that a long-lived process may need, before an upgrade replaces the files on the disk."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from ...ipc.config.presets import preset, presets
from ...ipc.store import SLOW_MODULES, preload_statements

#: The packages and modules that a role may import late. The command line, `doctor` and the MCP server are not among
#: them.
PARTS = (
    "ipc",
    "supervisor.execution",
    "supervisor.pool",
    "supervisor.supervision",
    "supervisor.system",
    "supervisor.integrations.on_batch",
)

#: Modules that no role imports late. What they import in turn would take longer than all others.
SKIPPED = ("ipc.api.", *SLOW_MODULES)


def preload() -> None:
    """Import all modules that this process may need later, and read all statements and presets."""
    root = __name__.partition(".")[0]
    for part in PARTS:
        module = import_module(f"{root}.{part}")
        for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}."):
            name = found.name.removeprefix(f"{root}.")
            if not name.startswith(SKIPPED) and not name.endswith("__main__"):
                import_module(found.name)
    preload_statements()
    for agent in presets():
        preset(agent)
