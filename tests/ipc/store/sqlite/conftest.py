"""The tests of this folder look into SQLite, so they run on no other engine."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def engine() -> dict[str, Any]:
    """Return the settings that choose SQLite."""
    return {}
