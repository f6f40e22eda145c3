"""What a person sees on a terminal of three sizes. `scripts/screens` repeats the captures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.screens import SCREENS, SIZES, Scene, file_of, has_tmux

pytestmark = pytest.mark.skipif(not has_tmux(), reason="tmux is not installed: apt-get install tmux")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene() as found:
        yield found


@pytest.mark.parametrize("name", SCREENS)
def test_screen_is_the_one_that_was_captured(scene: Scene, name: str):
    for size, screen in scene.capture(name).items():
        assert screen == file_of(name, size).read_text(), f"if this is right: scripts/screens {name}"


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_captured_list_keeps_the_names_of_tasks(size: tuple[int, int]):
    text = file_of("list", size).read_text()
    for name in ("Translate the manual 日本語 🎉", "Review the authentication module", "Nightly backup", "make test"):
        assert name in text
