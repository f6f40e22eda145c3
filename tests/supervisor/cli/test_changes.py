"""Waiting for a change in a state directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backburner.supervisor.cli import changes
from backburner.supervisor.cli.context import Context


@pytest.fixture
def waits(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the timeouts of all waits for a change. A change is reported at once."""
    timeouts = list[float]()
    monkeypatch.setattr(changes.ChangeWatch, "wait", lambda _self, timeout: timeouts.append(timeout))
    return timeouts


@pytest.mark.parametrize(("interval", "expected"), [({}, float("inf")), ({"interval": 1.0}, 1.0)])
def test_condition_is_checked_without_a_change_only_at_an_interval(
    waits: list[float], interval: dict[str, Any], expected: float
):
    with Context() as context:
        assert changes.wait_until(context, lambda: bool(waits), None, **interval)
    assert waits == [expected]
