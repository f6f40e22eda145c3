"""The limits of concurrency keys, and the groups of keys that share a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from .settings import BackgroundConfig

#: A name with one of these characters is also a pattern.
WILD = frozenset("*?[")


@dataclass(frozen=True)
class Limits:
    """The limit of each limit group. 0 means no limit. The limits in `live` were set by `backburner limit`."""

    default: int
    configured: Mapping[str, int] = field(default_factory=dict)
    live: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, config: BackgroundConfig, live: Mapping[str, int] | None = None) -> Limits:
        """Return the limits of a configuration, overridden by the limits in `live`."""
        return cls(config.default_concurrency, config.model_concurrency, live or {})

    def group(self, key: str) -> str:
        """Return the limit group of a key.

        If the key has no limit but patterns match it, the group is the longest pattern. Otherwise it is the key itself.
        """
        if key in self.live or key in self.configured:
            return key
        return next((pattern for pattern in self._patterns if fnmatchcase(key, pattern)), key)

    def limit(self, group: str) -> int:
        """Return the number of tasks of a group that may run at the same time. 0 means no limit."""
        return self.live.get(group, self.configured.get(group, self.default))

    @cached_property
    def _patterns(self) -> tuple[str, ...]:
        # The longest pattern comes first. Patterns of equal length are sorted, so that the group is always the same.
        names = {name for name in (*self.live, *self.configured) if WILD & set(name)}
        return tuple(sorted(names, key=lambda name: (-len(name), name)))


class SharedPools:
    """The pools of slots that all state directories of the user share: a pattern or a key, and its limit."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        """Use the setting `shared_limits`. An entry of 0 sets no limit."""
        self._limits = limits
        self.limits = {pool: limit for pool, limit in limits.items() if limit}

    def pool(self, key: str) -> str | None:
        """Return the pool in which a task with this key needs a slot, or None."""
        pool = Limits(0, self._limits).group(key)
        return pool if pool in self.limits else None

    def pools(self, group: str) -> set[str | None]:
        """Return the pools in which keys of a limit group can need a slot. None stands for keys without a pool."""
        if not WILD & set(group):
            return {self.pool(group)}
        near = {entry for entry in self._limits if _may_overlap(group, entry)}
        return {self.pool(entry) for entry in near} | (set() if group in near else {None})


def _may_overlap(group: str, entry: str) -> bool:
    """Return False if no key can match both a pattern and an entry, which may be a pattern too."""
    if not WILD & set(entry):
        return fnmatchcase(entry, group)
    starts = sorted((_literal_start(group), _literal_start(entry)), key=len)
    return starts[1].startswith(starts[0])


def _literal_start(pattern: str) -> str:
    return pattern[: min(pattern.index(sign) for sign in WILD if sign in pattern)]
