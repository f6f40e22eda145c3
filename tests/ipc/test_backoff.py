from __future__ import annotations

import pytest

from backburner.ipc import backoff, clock
from backburner.ipc.backoff import FULL_JITTER, LONGEST_RESTART, Backoff, RestartTimer


def test_delays_grow_and_start_over():
    delays = Backoff()
    assert [delays.next_delay() for _ in range(6)] == [0.02, 0.04, 0.08, 0.16, 0.25, 0.25]
    delays.reset()
    assert delays.next_delay() == 0.02


@pytest.mark.parametrize("step", [5, 1000, 10**6])
def test_delay_never_exceeds_the_longest(step: int):
    assert Backoff(1.0, 32.0).delay(step) == 32.0


def test_first_delay_is_bounded_too():
    assert Backoff(2.0, 1.0).next_delay() == 1.0


def test_jitter_covers_its_range():
    delays = [Backoff(1.0, 1.0, jitter=(0.5, 1.5)).next_delay() for _ in range(400)]
    assert 0.5 <= min(delays) < 0.6
    assert 1.4 < max(delays) < 1.5


def test_full_jitter_starts_at_zero(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backoff, "_random", lambda: 0.0)
    assert Backoff(8.0, 8.0, jitter=FULL_JITTER).next_delay() == 0.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, which stands still until the test changes it."""
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    return now


def test_process_that_keeps_dying_is_restarted_ever_later(now: list[float]):
    timer, rests = RestartTimer(), []
    assert (timer.is_due(), timer.rest()) == (True, float("inf"))
    for _ in range(9):
        timer.note_start()
        assert not timer.is_due()
        rests.append(timer.rest())
        now[0] += rests[-1]
    assert rests == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0])


def test_process_that_has_lived_for_a_while_is_restarted_soon(now: list[float]):
    timer = RestartTimer()
    for _ in range(5):
        timer.note_start()
        now[0] += timer.rest()
    now[0] += LONGEST_RESTART + 1
    timer.note_start()
    assert timer.rest() == pytest.approx(0.05)
