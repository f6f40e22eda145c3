"""Where the suite reads from: the checkout, or a copy of its tests beside an installed wheel."""

from __future__ import annotations

from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

import ipc
import supervisor

#: The folder that holds `tests/`, the documents and the examples.
ROOT = Path(__file__).parents[2]

#: The two packages, wherever they are imported from.
IPC = Path(str(ipc.__file__)).parent
SUPERVISOR = Path(str(supervisor.__file__)).parent

#: Whether the code lies beside its tests; from the wheel it does not.
IN_CHECKOUT = (ROOT / "ipc").is_dir()

checkout_only = pytest.mark.skipif(not IN_CHECKOUT, reason="is about the checkout, not about the wheel")


def backburner() -> Distribution:
    """The installed distribution. Raises PackageNotFoundError; scripts/setup installs it."""
    return distribution("backburner")
