from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.ipc.config.limits import WILD, Limits, SharedPools
from backburner.ipc.config.settings import BackgroundConfig

NAMES = st.sampled_from(["opus", "anthropic/opus", "anthropic/*", "anthropic/o*", "*", "a?thropic/opus", "x[1m]"])
TABLES = st.dictionaries(NAMES, st.integers(0, 5))


def test_key_without_an_entry_is_its_own_group_with_the_default_limit():
    limits = Limits(3, {"opus": 2})
    assert limits.group("gpt") == "gpt"
    assert limits.limit("gpt") == 3


def test_keys_that_match_a_pattern_share_its_limit():
    limits = Limits(3, {"anthropic/*": 8})
    assert {limits.group("anthropic/opus"), limits.group("anthropic/haiku")} == {"anthropic/*"}
    assert limits.limit("anthropic/*") == 8


def test_exact_entry_takes_precedence_over_a_pattern():
    assert Limits(3, {"anthropic/*": 8, "anthropic/opus": 1}).group("anthropic/opus") == "anthropic/opus"


def test_longest_pattern_takes_precedence():
    assert Limits(3, {"*": 1, "anthropic/*": 8, "anthropic/o*": 2}).group("anthropic/opus") == "anthropic/o*"


def test_live_limit_takes_precedence_over_configured_ones():
    configured = {"opus": 2, "anthropic/*": 8}
    limits = Limits(3, configured, {"opus": 7, "anthropic/opus": 1})
    assert limits.limit(limits.group("opus")) == 7
    assert limits.group("anthropic/opus") == "anthropic/opus"
    assert limits.limit("anthropic/opus") == 1
    assert limits.group("anthropic/haiku") == "anthropic/*"


def test_live_limit_of_a_pattern_replaces_the_configured_one():
    limits = Limits(3, {"anthropic/*": 8}, {"anthropic/*": 1})
    assert limits.limit(limits.group("anthropic/opus")) == 1


def test_live_limit_of_zero_means_unlimited():
    assert Limits(3, {"opus": 2}, {"opus": 0}).limit("opus") == 0


def test_patterns_are_case_sensitive():
    assert Limits(3, {"GPT-*": 8}).group("gpt-5") == "gpt-5"


def test_key_with_brackets_finds_its_own_entry():
    assert Limits(3, {"sonnet[1m]": 1}).group("sonnet[1m]") == "sonnet[1m]"


def test_default_configuration_limits_its_models():
    limits = Limits.of(BackgroundConfig())
    assert [limits.limit(key) for key in ("opus", "sonnet", "haiku", "other")] == [2, 3, 5, 3]


@given(NAMES, TABLES, TABLES)
def test_group_is_the_key_or_a_matching_pattern_and_its_own_group(key, configured, live):
    limits = Limits(3, configured, live)
    group = limits.group(key)
    assert group == key or (WILD & set(group) and fnmatchcase(key, group))
    assert limits.group(group) == group


@given(NAMES, TABLES, TABLES)
def test_order_of_entries_does_not_change_the_group(key, configured, live):
    reversed_limits = Limits(3, dict(reversed(configured.items())), dict(reversed(live.items())))
    assert reversed_limits.group(key) == Limits(3, configured, live).group(key)


@pytest.mark.parametrize(
    ("key", "pool"),
    [("api/a", "api/*"), ("api/big", "api/big"), ("api/free", None), ("other", None)],
)
def test_key_counts_in_its_exact_shared_limit_or_the_longest_pattern(key: str, pool: str | None):
    assert SharedPools({"api/*": 6, "api/big": 2, "api/free": 0}).pool(key) == pool


@pytest.mark.parametrize(
    ("group", "pools"),
    [
        ("api/a", {"api/*"}),
        ("api/*", {"api/*", "api/big"}),
        ("*", {"api/*", "api/big", None}),
        ("build/*", {None}),
        ("api/b*", {"api/*", "api/big", None}),
    ],
)
def test_group_can_need_the_shared_slots_of_all_its_keys(group: str, pools: set[str | None]):
    assert SharedPools({"api/*": 6, "api/big": 2}).pools(group) == pools


def test_group_with_the_pattern_of_a_shared_limit_needs_only_its_slots():
    assert SharedPools({"api/*": 6}).pools("api/*") == {"api/*"}
