from __future__ import annotations

import os
from pathlib import Path

from backburner.ipc.home import Home
from backburner.ipc.machine.home_registry import register, registered
from backburner.ipc.machine.state_folder import state_folder


def new_home(folder: Path) -> Home:
    folder.mkdir(parents=True)
    return Home(folder)


def entries() -> list[str]:
    return os.listdir(state_folder() / "homes")


def test_registered_homes_are_found_once_in_the_order_of_their_paths(tmp_path: Path):
    homes = [new_home(tmp_path / name / ".backburner") for name in ("b", "a")]
    for home in [*homes, *homes]:
        register(home)
    assert registered() == homes[::-1]


def test_vanished_and_replaced_homes_are_skipped_and_dropped(tmp_path: Path):
    kept, vanished, replaced = (new_home(tmp_path / name) for name in ("kept", "vanished", "replaced"))
    for home in (kept, vanished, replaced):
        register(home)
    vanished.folder.rename(tmp_path / "elsewhere")
    replaced.folder.rename(tmp_path / "old")
    new_home(replaced.folder)
    assert registered() == [kept]
    assert len(entries()) == 1


def test_moved_home_is_found_at_its_new_path_after_the_next_start(tmp_path: Path):
    home = new_home(tmp_path / "before")
    register(home)
    home.folder.rename(tmp_path / "after")
    register(Home(tmp_path / "after"))
    assert registered() == [Home(tmp_path / "after")]


def test_entry_of_an_earlier_boot_counts_with_another_device_number(tmp_path: Path):
    home = new_home(tmp_path / "home")
    status = home.folder.stat()
    folder = state_folder() / "homes"
    folder.mkdir(parents=True)
    (folder / f"{status.st_dev + 1}-{status.st_ino}").write_text(f"{home.folder}\nan earlier boot\n")
    assert registered() == [home]


def test_path_with_a_line_break_and_bytes_that_are_not_text_is_kept(tmp_path: Path):
    home = new_home(tmp_path / os.fsdecode(b"a\nb\xff"))
    register(home)
    assert registered() == [home]


def test_state_folder_that_cannot_be_used_is_no_error(tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    register(new_home(tmp_path / "home"))
    assert registered() == []


def test_relative_state_home_is_ignored(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_folder() == tmp_path / ".local" / "state" / "backburner"
