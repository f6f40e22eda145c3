"""The attempts of a task, as the event log has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .. import clock
from .event import ENDED, STARTED
from .task import Task, TaskStatus


class AttemptEvent(NamedTuple):
    """An event that begins or ends an attempt. `at` is in milliseconds since 1970."""

    type: str
    at: int
    data: Mapping[str, Any]


class Attempt(NamedTuple):
    """One attempt. A running attempt has no end, and of an attempt that was retried, the log has no exit code."""

    number: int
    started_at: int
    ended_at: int | None = None
    status: TaskStatus = TaskStatus.RUNNING
    error: str | None = None
    error_kind: str | None = None
    exit_code: int | None = None
    signal: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the attempt in the shape of the socket."""
        return {
            "attempt": self.number,
            "startedAt": clock.iso(self.started_at),
            "endedAt": None if self.ended_at is None else clock.iso(self.ended_at),
            "status": self.status,
            "error": self.error,
            "errorKind": self.error_kind,
            "exitCode": self.exit_code,
            "signal": self.signal,
        }


def attempts_of(task: Task, events: Iterable[AttemptEvent]) -> list[Attempt]:
    """Return the attempts of a task in order. Attempts with deleted events are missing."""
    attempts: list[Attempt] = []
    for event in events:
        if event.type == STARTED:
            attempts.append(Attempt(event.data["attempt"], event.at))
        elif attempts and attempts[-1].ended_at is None:
            attempts[-1] = _ended(attempts[-1], event)
    if attempts and task.status.ended and attempts[-1].number == task.attempt:
        attempts[-1] = attempts[-1]._replace(exit_code=task.exit_code, signal=task.signal)
    return attempts


def _ended(attempt: Attempt, event: AttemptEvent) -> Attempt:
    status = TaskStatus(event.data["status"]) if event.type == ENDED else TaskStatus.ERROR
    error, kind = event.data["error"], event.data["errorKind"]
    ended_at = max(event.at, attempt.started_at)  # SQLite's own time may be a millisecond behind
    return attempt._replace(ended_at=ended_at, status=status, error=error, error_kind=kind)
