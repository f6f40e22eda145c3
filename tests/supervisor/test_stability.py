from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.ipc.config.settings import BackgroundConfig
from backburner.supervisor.stability import Finding, Signs, StabilityDetector


def a_detector(threshold: int = 3, least_ms: int = 0, stale_ms: int = 0) -> StabilityDetector:
    """A detector with one poll a second."""
    return StabilityDetector(1000, threshold, least_ms, stale_ms)


def polled(detector: StabilityDetector, signs: Iterable[Signs], start: float = 100.0) -> list[Finding]:
    return [detector.observe(start + second, sign) for second, sign in enumerate(signs)]


def stable(findings: list[Finding]) -> list[bool]:
    return [finding.stable for finding in findings]


def stale(findings: list[Finding]) -> list[int | None]:
    return [finding.stale for finding in findings]


def test_output_unchanged_for_enough_polls_is_stable():
    assert stable(polled(a_detector(), [Signs(5)] * 5)) == [False, False, False, True, True]


def test_new_output_restarts_the_count():
    sizes = [5, 5, 5, 6, 6, 6, 6]
    assert stable(polled(a_detector(), map(Signs, sizes))) == [False] * 6 + [True]


def test_new_progress_restarts_the_count():
    signs = [Signs(5, progress) for progress in (None, None, None, "half", "half", "half", "half")]
    assert stable(polled(a_detector(), signs)) == [False] * 6 + [True]


def test_cpu_time_does_not_keep_a_quiet_task_from_being_stable():
    assert stable(polled(a_detector(), [Signs(5, None, cpu) for cpu in range(5)]))[-1]


def test_task_without_output_is_not_stable():
    assert not any(stable(polled(a_detector(), [Signs(0)] * 50)))


def test_output_is_not_stable_before_the_minimum_time():
    findings = polled(a_detector(threshold=1, least_ms=3000), [Signs(5)] * 5)
    assert stable(findings) == [False, False, False, True, True]


def test_task_without_a_sign_of_life_is_stale_once():
    findings = polled(a_detector(stale_ms=3000), [Signs(5)] * 8)
    assert stale(findings) == [None, None, None, 3000, None, None, None, None]


@pytest.mark.parametrize("sign", [Signs(6), Signs(5, "half"), Signs(5, None, 0.01)])
def test_any_sign_of_life_postpones_staleness(sign):
    findings = polled(a_detector(stale_ms=3000), [Signs(5)] * 3 + [sign] * 4)
    assert stale(findings) == [None] * 6 + [3000]


def test_task_can_become_stale_again_after_a_sign_of_life():
    findings = polled(a_detector(stale_ms=2000), [Signs(5)] * 4 + [Signs(6)] * 4)
    assert stale(findings) == [None, None, 2000, None, None, None, 2000, None]


def test_stale_timeout_of_zero_is_off():
    assert stale(polled(a_detector(stale_ms=0), [Signs(5)] * 100)) == [None] * 100


def test_time_asleep_is_not_idle_time():
    detector = a_detector(stale_ms=10_000)
    polled(detector, [Signs(5)] * 3, start=0)
    assert detector.observe(8 * 3600, Signs(5)) == Finding(stable=False, stale=None)
    assert detector.idle_ms == 2000
    detector.observe(8 * 3600 + 1, Signs(5))
    assert detector.idle_ms == 3000


def test_poll_after_a_gap_does_not_count_as_unchanged():
    detector = a_detector(threshold=3)
    polled(detector, [Signs(5)] * 3, start=0)
    assert not detector.observe(500, Signs(5)).stable
    assert detector.observe(501, Signs(5)).stable


def test_late_poll_counts_up_to_the_largest_gap():
    detector = a_detector(stale_ms=3000)
    detector.observe(0, Signs(5))
    assert detector.observe(3.0, Signs(5)).stale == 3000
    detector = a_detector(stale_ms=3000)
    detector.observe(0, Signs(5))
    assert detector.observe(3.1, Signs(5)).stale is None


def test_clock_that_is_set_back_adds_no_idle_time():
    detector = a_detector(stale_ms=3000)
    detector.observe(100, Signs(5))
    detector.observe(50, Signs(5))
    assert detector.idle_ms == 0


def test_detector_takes_its_settings_from_the_configuration():
    detector = StabilityDetector.of(BackgroundConfig(polling_interval_ms=10, stale_timeout_ms=20))
    assert [detector.observe(at / 100, Signs(1)).stale for at in range(3)] == [None, None, 20]


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 1), st.booleans()), max_size=60))
def test_idle_time_never_exceeds_the_observed_time(history):
    detector = a_detector(stale_ms=5000)
    at = looked = 0.0
    for passed, output, alive in history:
        at += passed
        looked += passed if passed <= 3 else 0.0
        finding = detector.observe(at, Signs(output, "alive" if alive else None))
        assert detector.idle_ms <= looked * 1000 + 1
        assert finding.stale is None or finding.stale >= 5000
