"""Claims as values: the right to run, one try at running, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ipc.task import TaskStatus


@dataclass(frozen=True)
class Slot:
    """The right to run one task of a group."""

    group: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """One try at a task: all that running it takes."""

    number: int
    id: str
    claim: int
    slot: Slot
    attempt: int
    max_attempts: int
    interruptions: int
    agent: str
    cwd: str
    parent: str | None = None
    model: str | None = None
    #: The session that it goes on in.
    session: str | None = None
    description: str | None = None
    prompt: str | None = None
    command: tuple[str, ...] | None = None
    call: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str | None] = field(default_factory=dict)
    stdin: str | None = None
    stdin_file: str | None = None
    timeout_ms: int | None = None
    leave_children: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """How a try ended. `unused` says that nothing was started, so that the attempt does not count."""

    number: int
    claim: int
    status: TaskStatus
    result: str | None = None
    error: str | None = None
    error_kind: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    leftovers: int = 0
    session: str | None = None
    not_before: int | None = None
    unused: bool = False
    outputs: tuple[tuple[str, bytes], ...] = ()
