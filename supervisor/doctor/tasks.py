"""Checks of the tasks, the limits and the event log."""

from __future__ import annotations

from collections.abc import Iterator

from ...ipc import clock
from .finding import NOTE, PROBLEM, Finding
from .storage import Contents

#: Milliseconds after the batch window from which an undelivered outcome is late.
LATE = 10_000
#: Milliseconds from which an unacknowledged event is old.
OLD = 86_400_000
#: Milliseconds by which the newest event may be ahead of the clock.
AHEAD = 60_000

#: The maximum number of readers that are named.
MAX_READERS = 5


def check_waiting(contents: Contents) -> Iterator[Finding]:
    """Report pending tasks that are not started, because no supervisor runs or their key is paused."""
    groups = contents.store.limits.groups()
    waiting = sum(group.pending for group in groups)
    if waiting and not contents.is_supervised:
        what = f"No supervisor runs for {contents.home.folder}; pending tasks: {waiting}."
        yield Finding("supervisor", what, "No task starts without a supervisor.", "backburner up --detach")
    for group in [group for group in groups if group.paused and group.pending]:
        what, why = f"{group.name} is paused; pending tasks: {group.pending}.", "None of them starts."
        yield Finding("paused", what, why, f"backburner resume '{group.name}'", NOTE)


def check_limits(contents: Contents) -> Iterator[Finding]:
    """Report keys with more running tasks than their limit."""
    for group in contents.store.limits.groups():
        if group.limit and group.running > group.limit:
            what = f"{group.name} has more running tasks ({group.running}) than its limit ({group.limit})."
            why = "The limit was lowered; tasks beyond it run until they end."
            yield Finding("limits", what, why, f"backburner list --status running  (limit: {group.name})", NOTE)


def check_batches(contents: Contents) -> Iterator[Finding]:
    """Report outcomes whose notification is late."""
    late = clock.now() - contents.config.notification_batch_window_ms - LATE
    unbatched = contents.store.events.unbatched()
    waiting = {parent: count for parent, (count, since) in unbatched.items() if since < late}
    if waiting:
        what = f"Undelivered outcomes: {sum(waiting.values())} (sessions: {len(waiting)})."
        level = PROBLEM if contents.is_supervised else NOTE
        yield Finding("log", what, "The sessions wait for the notification.", contents.start_command, level)


def check_readers(contents: Contents) -> Iterator[Finding]:
    """Report consumers that have stopped acknowledging events."""
    for parent, consumer in contents.store.events.lagging(clock.now() - OLD, MAX_READERS):
        what = f"Consumer {consumer} of {parent} has not acknowledged events that are over a day old."
        why = "They are kept for this consumer, up to ten times as long as retention_days."
        fix = f"backburner listen --parent {parent} --consumer {consumer} --ack --until-now"
        yield Finding("readers", what, why, fix, NOTE)


def check_clock(contents: Contents) -> Iterator[Finding]:
    """Report a wall clock that was set back."""
    newest = contents.store.maintenance.newest_time()
    ahead = 0 if newest is None else newest - clock.now()
    if ahead > AHEAD:
        what = f"The newest event is {ahead // 1000} s in the future: the clock was set back."
        yield Finding("clock", what, "Delays and the retention depend on the clock.", "timedatectl status", NOTE)
