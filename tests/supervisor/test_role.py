"""The loop that all roles share."""

from __future__ import annotations

from pathlib import Path

import pytest

from backburner.ipc.home import Home
from backburner.supervisor import role
from backburner.supervisor.role import Role


class Resting(Role):
    """A role that only rests."""

    def turn(self) -> float:
        return 3600.0


@pytest.mark.parametrize("is_replaced", [False, True])
def test_role_at_rest_exits_when_its_home_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_replaced: bool):
    monkeypatch.setattr(role, "HOME_LOST_AFTER", 0.05)
    home = Home(tmp_path / "home").prepare()
    resting = Resting(home)
    home.folder.rename(tmp_path / "moved")
    if is_replaced:
        home.prepare()
    assert not resting.is_home_lost()
    resting.wait(min(resting.turn(), resting._until_lost()))
    assert resting.is_home_lost()
