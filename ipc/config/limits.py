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
