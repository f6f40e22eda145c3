"""Which keys share a limit, and what that limit is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from .settings import BackgroundConfig

#: A name with one of these is a pattern as well.
WILD = frozenset("*?[")


@dataclass(frozen=True)
class Limits:
    """How many tasks of each limit group may run at once; 0 is no limit. `live` ones were set by hand."""

    default: int
    configured: Mapping[str, int] = field(default_factory=dict)
    live: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, config: BackgroundConfig, live: Mapping[str, int] | None = None) -> Limits:
        """The limits of a configuration, with those set by hand on top."""
        return cls(config.default_concurrency, config.model_concurrency, live or {})

    def group(self, key: str) -> str:
        """The limit group of a concurrency key: itself, unless only a pattern names it: the longest."""
        if key in self.live or key in self.configured:
            return key
        return next((pattern for pattern in self._patterns if fnmatchcase(key, pattern)), key)

    def limit(self, group: str) -> int:
        """How many tasks of a group may run at once; 0 is no limit."""
        return self.live.get(group, self.configured.get(group, self.default))

    @cached_property
    def _patterns(self) -> tuple[str, ...]:
        """Longest first; of equals, always the same one first."""
        names = {name for name in (*self.live, *self.configured) if WILD & set(name)}
        return tuple(sorted(names, key=lambda name: (-len(name), name)))
