from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.ipc.config.settings import BackgroundConfig
from backburner.supervisor.stability import Finding, Signs, StabilityDetector


def detector(threshold: int = 3, least_ms: int = 0, stale_ms: int = 0) -> StabilityDetector:
    """Polls each second."""
    return StabilityDetector(1000, threshold, least_ms, stale_ms)


def polled(watching: StabilityDetector, signs: Iterable[Signs], start: float = 100.0) -> list[Finding]:
    return [watching.observe(start + second, sign) for second, sign in enumerate(signs)]


def stable(findings: list[Finding]) -> list[bool]:
    return [finding.stable for finding in findings]


def stale(findings: list[Finding]) -> list[int | None]:
    return [finding.stale for finding in findings]


def test_output_that_stays_the_same_for_enough_polls_in_a_row_is_stable():
    assert stable(polled(detector(), [Signs(5)] * 5)) == [False, False, False, True, True]


def test_output_that_grows_starts_the_count_again():
    sizes = [5, 5, 5, 6, 6, 6, 6]
    assert stable(polled(detector(), map(Signs, sizes))) == [False] * 6 + [True]


def test_progress_that_is_told_starts_the_count_again():
    told = [Signs(5, progress) for progress in (None, None, None, "half", "half", "half", "half")]
    assert stable(polled(detector(), told)) == [False] * 6 + [True]


def test_cpu_time_does_not_keep_a_task_that_has_fallen_silent_from_being_stable():
    assert stable(polled(detector(), [Signs(5, None, cpu) for cpu in range(5)]))[-1]


def test_a_task_that_has_not_written_yet_is_not_stable():
    assert not any(stable(polled(detector(), [Signs(0)] * 50)))


def test_enough_polls_are_not_enough_before_the_least_time_has_passed():
    findings = polled(detector(threshold=1, least_ms=3000), [Signs(5)] * 5)
    assert stable(findings) == [False, False, False, True, True]


def test_a_task_without_any_sign_of_life_is_stale_once():
    findings = polled(detector(stale_ms=3000), [Signs(5)] * 8)
    assert stale(findings) == [None, None, None, 3000, None, None, None, None]


@pytest.mark.parametrize("sign", [Signs(6), Signs(5, "half"), Signs(5, None, 0.01)])
def test_any_sign_of_life_puts_staleness_off(sign):
    findings = polled(detector(stale_ms=3000), [Signs(5)] * 3 + [sign] * 4)
    assert stale(findings) == [None] * 6 + [3000]


def test_after_a_sign_of_life_a_task_may_become_stale_again():
    findings = polled(detector(stale_ms=2000), [Signs(5)] * 4 + [Signs(6)] * 4)
    assert stale(findings) == [None, None, 2000, None, None, None, 2000, None]


def test_a_timeout_of_zero_is_off():
    assert stale(polled(detector(stale_ms=0), [Signs(5)] * 100)) == [None] * 100


def test_a_night_in_which_the_machine_slept_is_no_idleness():
    watching = detector(stale_ms=10_000)
    polled(watching, [Signs(5)] * 3, start=0)
    assert watching.observe(8 * 3600, Signs(5)) == Finding(stable=False, stale=None)
    assert watching.idle_ms == 2000
    watching.observe(8 * 3600 + 1, Signs(5))
    assert watching.idle_ms == 3000


def test_a_hole_between_two_looks_is_no_poll_of_those_in_a_row():
    watching = detector(threshold=3)
    polled(watching, [Signs(5)] * 3, start=0)
    assert not watching.observe(500, Signs(5)).stable
    assert watching.observe(501, Signs(5)).stable


def test_a_late_look_counts_up_to_three_polls():
    watching = detector(stale_ms=3000)
    watching.observe(0, Signs(5))
    assert watching.observe(3.0, Signs(5)).stale == 3000
    watching = detector(stale_ms=3000)
    watching.observe(0, Signs(5))
    assert watching.observe(3.1, Signs(5)).stale is None


def test_a_clock_that_goes_back_does_no_harm():
    watching = detector(stale_ms=3000)
    watching.observe(100, Signs(5))
    watching.observe(50, Signs(5))
    assert watching.idle_ms == 0


def test_the_configuration_says_how_it_is_judged():
    watching = StabilityDetector.of(BackgroundConfig(polling_interval_ms=10, stale_timeout_ms=20))
    assert [watching.observe(at / 100, Signs(1)).stale for at in range(3)] == [None, None, 20]


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 1), st.booleans()), max_size=60))
def test_idleness_never_exceeds_the_time_somebody_looked(history):
    watching = detector(stale_ms=5000)
    at = looked = 0.0
    for passed, output, alive in history:
        at += passed
        looked += passed if passed <= 3 else 0.0
        finding = watching.observe(at, Signs(output, "alive" if alive else None))
        assert watching.idle_ms <= looked * 1000 + 1
        assert finding.stale is None or finding.stale >= 5000
