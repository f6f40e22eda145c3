"""The tasks, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...ipc import clock
from ...ipc.config.settings import BackgroundConfig
from ...ipc.machine.lock import holder
from ...ipc.store.events import EventLog
from ...ipc.store.groups import Groups
from ...ipc.store.sqlite.database import Inspection
from .finding import NOTE, PROBLEM, Finding

#: Milliseconds: beyond the window, until a batch is late; until an event that nobody acknowledged is old;
#: that the clock may be behind the newest event.
LATE, OLD, AHEAD = 10_000, 86_400_000, 60_000

#: Readers that are named one by one.
FEW = 5


@dataclass(frozen=True)
class Work:
    """A home's tasks and log, to be looked at."""

    database: Inspection
    config: BackgroundConfig

    @property
    def supervised(self) -> bool:
        """Whether a supervisor runs."""
        return holder(self.database.home.lock("supervisor")) is not None


def check_waiting(work: Work) -> Iterator[Finding]:
    """Whether tasks wait for nobody."""
    groups = Groups(work.database, work.config).all()
    waiting = sum(group.pending for group in groups)
    if waiting and not work.supervised:
        what = f"{waiting} tasks are pending, and no supervisor runs for {work.database.home.folder}."
        yield Finding("supervisor", what, "Nothing is started until one does.", "backburner up --detach")
    for group in [group for group in groups if group.paused and group.pending]:
        what, why = f"{group.pending} tasks of {group.name} wait: it is paused.", "Nothing of it starts."
        yield Finding("paused", what, why, f"backburner resume '{group.name}'", NOTE)


def check_limits(work: Work) -> Iterator[Finding]:
    """Whether more runs than may."""
    for group in Groups(work.database, work.config).all():
        if group.limit and group.running > group.limit:
            what = f"{group.running} tasks of {group.name} run, the limit is {group.limit}."
            why = "After a limit was lowered the surplus runs out; nothing is killed for it."
            yield Finding("limits", what, why, f"backburner list --status running  (limit: {group.name})", NOTE)


def check_batches(work: Work) -> Iterator[Finding]:
    """Whether ends are told in time."""
    late = clock.now() - work.config.notification_batch_window_ms - LATE
    waiting = {parent: count for parent, (count, since) in EventLog(work.database).unbatched().items() if since < late}
    if waiting:
        what = f"{sum(waiting.values())} ended tasks of {len(waiting)} parents have not been told of."
        mend = "backburner restart" if work.supervised else "backburner up --detach"
        level = PROBLEM if work.supervised else NOTE
        yield Finding("log", what, "Their parents wait for the notice.", mend, level)


def check_readers(work: Work) -> Iterator[Finding]:
    """Whether somebody who acknowledged events does so no more."""
    with work.database.read() as transaction:
        rows = transaction.all("list_lagging", {"before": clock.now() - OLD, "limit": FEW})
    for row in rows:
        what = f"Consumer {row['consumer']} of {row['parent']} has events of over a day ago to acknowledge."
        why = "They are kept for it, ten times as long as retention_days at most."
        mend = f"backburner listen --parent {row['parent']} --consumer {row['consumer']} --ack --until-now"
        yield Finding("readers", what, why, mend, NOTE)


def check_clock(work: Work) -> Iterator[Finding]:
    """Whether the wall clock was set back."""
    with work.database.read() as transaction:
        newest = transaction.value("get_newest_time")
    ahead = 0 if newest is None else newest - clock.now()
    if ahead > AHEAD:
        what = f"The newest event is {ahead // 1000} s in the future: the clock was set back."
        yield Finding("clock", what, "Delays and retention go by it.", "timedatectl status", NOTE)
