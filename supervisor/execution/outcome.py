"""The outcome of an attempt as a value, and the settlement that follows: the end of the task, or another attempt."""

from __future__ import annotations

from typing import NamedTuple

from ...ipc import clock
from ...ipc.backoff import FULL_JITTER, Backoff
from ...ipc.config.settings import BackgroundConfig
from ...ipc.model.claim import Attempted, Settlement
from ...ipc.model.task import TaskStatus

#: A task that was interrupted this many times is not started again, because it may kill its workers.
MAX_INTERRUPTIONS = 5

#: The error kind of an attempt that was not started.
INTERRUPTED = "interrupted"


class Outcome(NamedTuple):
    """The outcome of an attempt. It succeeded if `error_kind` is None."""

    result: str | None = None
    error: str | None = None
    error_kind: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    session: str | None = None
    outputs: tuple[tuple[str, bytes], ...] = ()


def settlement_of(
    attempted: Attempted, outcome: Outcome, config: BackgroundConfig, ended_at: int | None = None
) -> Settlement:
    """Return the end of the task, or its next attempt after a random delay up to a growing bound ("full jitter").

    `ended_at` is in milliseconds since 1970. None means now.
    """
    completed = Settlement(
        number=attempted.number,
        claim=attempted.claim,
        status=TaskStatus.COMPLETED,
        result=outcome.result,
        error=outcome.error,
        error_kind=outcome.error_kind,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        session=outcome.session,
        outputs=outcome.outputs,
        ended_at=ended_at,
    )
    if outcome.error_kind is None:
        return completed
    if attempted.attempt < attempted.max_attempts:
        not_before = clock.now() + backoff(attempted.attempt, config)
        return completed._replace(status=TaskStatus.PENDING, result=None, not_before=not_before)
    return completed._replace(status=TaskStatus.ERROR, result=None)


def backoff(attempt: int, config: BackgroundConfig) -> int:
    """Return the milliseconds to wait after this attempt, before the next one."""
    return round(Backoff(config.retry_base_ms, config.retry_max_ms, jitter=FULL_JITTER).delay(attempt - 1))


def interrupted(attempted: Attempted, why: str) -> Settlement:
    """Return the settlement that requeues a task which was claimed and not started. The attempt does not count."""
    status, error, kind = TaskStatus.PENDING, why, "interrupted"
    interruptions = attempted.interruptions + 1
    if interruptions >= MAX_INTERRUPTIONS:
        error = f"{why} It was interrupted {interruptions} times before it started."
        status, kind = TaskStatus.ERROR, "lost"
    return Settlement(
        number=attempted.number, claim=attempted.claim, status=status, error=error, error_kind=kind, unused=True
    )
