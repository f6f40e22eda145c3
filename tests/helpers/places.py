"""The folders that the suite reads: the checkout, or a copy of its tests beside an installed wheel."""

from __future__ import annotations

from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

import backburner as package

#: The folder that holds `tests/`, the documents and the examples.
ROOT = Path(__file__).parents[2]

#: The folder that must be on the path for `import backburner`.
IMPORT_ROOT = Path(str(package.__file__)).parents[1]

#: The two halves of the package, as they are imported.
IPC = IMPORT_ROOT / "backburner" / "ipc"
SUPERVISOR = IMPORT_ROOT / "backburner" / "supervisor"

#: True if the code is beside its tests, and not installed from a wheel.
IN_CHECKOUT = (ROOT / "ipc").is_dir()

checkout_only = pytest.mark.skipif(not IN_CHECKOUT, reason="is about the checkout, not about the wheel")


def backburner() -> Distribution:
    """Return the installed distribution. Raises PackageNotFoundError; scripts/setup installs it."""
    return distribution("backburner-supervisor")
