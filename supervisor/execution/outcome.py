"""How a try went, as a value; and what follows from it, decided before anything is written."""

from __future__ import annotations

import random
from typing import NamedTuple

from ...ipc import clock
from ...ipc.config.settings import BackgroundConfig
from ...ipc.model.claim import Attempted, Settlement
from ...ipc.model.task import TaskStatus

#: After so many interruptions a task is not started again: it may be what kills its workers.
MOST_INTERRUPTIONS = 5


#: The kind of an outcome that says that nothing was started.
INTERRUPTED = "interrupted"


class Outcome(NamedTuple):
    """How an attempt went. `error_kind` None means that it went well."""

    result: str | None = None
    error: str | None = None
    error_kind: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    session: str | None = None
    outputs: tuple[tuple[str, bytes], ...] = ()


def settlement_of(
    one: Attempted, outcome: Outcome, config: BackgroundConfig, ended_at: int | None = None
) -> Settlement:
    """Return the end, or the next attempt with its delay: random up to a bound that doubles ("full jitter", AWS 2015).

    `ended_at` is in milliseconds since 1970; None means now.
    """
    plain = Settlement(
        number=one.number,
        claim=one.claim,
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
        return plain
    if one.attempt < one.max_attempts:
        not_before = clock.now() + backoff(one.attempt, config)
        return plain._replace(status=TaskStatus.PENDING, result=None, not_before=not_before)
    return plain._replace(status=TaskStatus.ERROR, result=None)


def backoff(attempt: int, config: BackgroundConfig) -> int:
    """Milliseconds before the try after number `attempt`."""
    bound = min(config.retry_max_ms, config.retry_base_ms * 2 ** min(attempt - 1, 60))
    return round(random.uniform(0, bound))


def interrupted(one: Attempted, why: str) -> Settlement:
    """Back to the queue: it was claimed and never started, so the attempt does not count."""
    if one.interruptions + 1 >= MOST_INTERRUPTIONS:
        error = f"{why} It was interrupted {one.interruptions + 1} times before it started."
        return Settlement(
            number=one.number, claim=one.claim, status=TaskStatus.ERROR, error=error, error_kind="lost", unused=True
        )
    return Settlement(
        number=one.number, claim=one.claim, status=TaskStatus.PENDING, error=why, error_kind="interrupted", unused=True
    )
