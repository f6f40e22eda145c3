"""The run of a series in a worker's slot. It decides when to publish, and when a task takes too long for a series."""

from __future__ import annotations

from collections.abc import Sequence

from ...ipc import clock
from ...ipc.errors import Temporary
from ...ipc.model.claim import Slot, Step, Taken
from ..execution.pace import PUBLISH_AFTER, Pace
from ..execution.series import Series
from .publisher import Publisher


class SeriesRun:
    """A running series."""

    def __init__(self, series: Series, slot: Slot, publisher: Publisher) -> None:
        self.series = series
        self._slot = slot
        self._publisher = publisher
        self._agent = series.waiting[0].task.agent  # all tasks of a series have the same agent
        self._look_after = PUBLISH_AFTER[self._agent]
        self._began = clock.monotonic()
        self._look_at = self._began + self._look_after

    def advance(self) -> None:
        """Run tasks until the next look. Raises Temporary, after which the ended tasks are published."""
        try:
            self.series.advance(self._look_at)
        except Temporary:
            self.publish()
            raise

    def is_due(self) -> bool:
        """Return True if it is time to publish."""
        return self.series.is_urgent or clock.monotonic() >= self._look_at

    def takes_long(self) -> bool:
        """Return True if the running task must be watched separately, because it takes long or is the last one."""
        return self.series.running_for() >= self._look_after / 2 or len(self.series.waiting) == 1

    def publish_and_continue(self) -> None:
        """Publish the ended tasks, and schedule the next look."""
        now = clock.monotonic()
        self.publish()
        self._look_at = now + self._look_after

    def publish(self, returned: Sequence[Taken] = ()) -> None:
        """Publish the ended tasks. The running task becomes the slot's current task, and `returned` are requeued."""
        current = self.series.mark_started()
        if self.series.ended or returned or not current.current:
            self._publisher.publish(Step(self._slot, self._publisher.owner, self.series.ended, current, returned))
        self.series.forget_ended()

    def finish(self, returned: Sequence[Taken], count: int) -> list[Taken]:
        """Publish the end of the series. Return up to `count` tasks that were taken."""
        step = Step(self._slot, self._publisher.owner, self.series.ended, None, returned, count)
        return self._publisher.publish(step)

    def note_pace(self, pace: Pace) -> None:
        """Adapt the length of the next series to the time that this series took."""
        if self.series.ended:
            pace.note(self._agent, len(self.series.ended), clock.monotonic() - self._began)

    def rest(self) -> float:
        """Return the seconds until the next look."""
        return max(0.0, self._look_at - clock.monotonic())
