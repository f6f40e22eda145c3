"""A launch in Python's spelling."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypedDict

from ..validation import Record
from .task import LAUNCH_FIELDS, LaunchInput, camel


class LaunchFields(TypedDict, total=False):
    """What `launch` takes; `None` is as if it were not given. Durations are milliseconds."""

    id: str
    prompt: str | None
    resume: str | None
    agent: str | None
    model: str | None
    concurrency_key: str | None
    description: str | None
    parent_session_id: str | None
    parent_message_id: str | None
    command: Sequence[str] | None
    call: str | None
    args: Sequence[Any] | None
    kwargs: Mapping[str, Any] | None
    cwd: str | None
    env: Mapping[str, str | None] | None
    stdin: str | None
    stdin_file: str | None
    priority: int
    delay_ms: int
    timeout_ms: int | None
    retries: int
    unique_key: str | None
    after: Sequence[str]
    after_any: Sequence[str]
    leave_children: bool | None
    metadata: Mapping[str, Any] | None


#: What a launch may say, in Python's spelling, so that a refusal names the field as it was written.
LAUNCH = Record("LaunchInput", {one.name: LAUNCH_FIELDS[camel(one.name)] for one in fields(LaunchInput)})


def launch_input(given: LaunchFields | LaunchInput, where: str, kept: Mapping[str, str]) -> LaunchInput:
    """Check a launch and add what it inherits from this process: the working directory and the variables in `kept`.

    Raises InvalidInput, which names the field within `where`.
    """
    values = _checked(given, where)
    if not values.get("cwd") and not values.get("resume"):
        values["cwd"] = os.getcwd()
    values["env"] = {**kept, **(values.get("env") or {})}
    return LaunchInput.of_checked(values)


def _checked(given: LaunchFields | LaunchInput, where: str) -> dict[str, Any]:
    if isinstance(given, LaunchInput):
        return dict(vars(LaunchInput.from_json(given.to_json(), where)))
    values: dict[str, Any] = LAUNCH.check(given, where)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
