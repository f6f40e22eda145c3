"""Checks of the installed program and its configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...ipc.config.settings import ConfigMistake
from ...ipc.machine.distribution import DISTRIBUTION, INSTALL_HINT
from .finding import Finding


def check_name_clash() -> Iterator[Finding]:
    """Find other distributions in this environment that install an import package called backburner."""
    from importlib.metadata import packages_distributions

    for name in sorted({*packages_distributions().get("backburner", ())} - {DISTRIBUTION}):
        what = f"The distribution {name} also installs an import package called backburner."
        why = "pip overwrites the files of one distribution with files of the other."
        fix = f"pip uninstall {name}, or install backburner in its own environment: {INSTALL_HINT}"
        yield Finding("names", what, why, fix)


def check_configuration(mistakes: Sequence[ConfigMistake]) -> Iterator[Finding]:
    """Report the mistakes in the configuration files."""
    for mistake in mistakes:
        why = "The supervisor refuses to start or to reload with this mistake."
        yield Finding("configuration", str(mistake), why, "backburner config check")
