"""Waits for tasks to end, as plain values."""

from __future__ import annotations

from collections.abc import Iterable


class Wait:
    """A wait until all tasks, or any one of them, have ended."""

    def __init__(self, ids: Iterable[str], unfinished: Iterable[str] | None = None, any: bool = False) -> None:
        """Wait for these tasks. The tasks in `unfinished`, by default all, have not ended."""
        #: The tasks, in the order in which they were named.
        self.ids = tuple(dict.fromkeys(ids))
        #: The tasks with no recorded end.
        self.unfinished = set(self.ids if unfinished is None else unfinished)
        self.any = any

    @property
    def ended(self) -> list[str]:
        """The tasks that have ended, in the order in which they were named."""
        return [id for id in self.ids if id not in self.unfinished]

    @property
    def is_over(self) -> bool:
        """True if the tasks have ended. A wait for no task is over at once."""
        return not self.unfinished or (self.any and len(self.unfinished) < len(self.ids))

    def record_ends(self, ids: Iterable[str]) -> bool:
        """Record that tasks have ended or were deleted. Return True if the wait was for one of them."""
        ended = self.unfinished.intersection(ids)
        self.unfinished -= ended
        return bool(ended)
