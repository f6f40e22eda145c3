"""Distributions that bring import packages of our names: pip mixes them with ours without a word."""

from __future__ import annotations

from ipc.errors import Permanent


def lookalikes() -> list[str]:
    """The names of those that are installed beside this one."""
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    return sorted({name for package in ("supervisor", "ipc") for name in owners.get(package, ())} - {"backburner"})


def refuse_lookalikes() -> None:
    """Raise Permanent if there is one."""
    strangers = lookalikes()
    if strangers:
        raise Permanent(
            f"{', '.join(strangers)} brings packages of the same names as backburner's; "
            "install backburner in an environment of its own."
        )
