"""The fields of an earlier task, for a launch that is like it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ....ipc.config.agents import BUILT_IN
from ....ipc.errors import InvalidInput, NotFound
from ....ipc.model.launch import LAUNCH_SPECS
from ....ipc.model.task import plain
from ..context import Context

#: The fields that belong to the earlier task alone.
_OWN = frozenset({"id", "uniqueKey", "after", "afterAny", "delayMs"})

#: The fields of which a launch has one. A new one replaces the others.
_WORK = ("prompt", "command", "call", "args", "kwargs")


def fields_like(context: Context, id: str) -> dict[str, Any]:
    """Return the fields of the launch of a task, with their JSON names. Raises NotFound."""
    state = context.tasks.store.tasks.state(id)
    stored = [] if state is None else context.tasks.store.tasks.stored(state.number - 1, 1)
    if not stored or stored[0].task.id != id:
        raise NotFound(f"There is no task {id} in {context.home.folder}.", field="id")
    columns = stored[0].columns
    known = [spec for spec in LAUNCH_SPECS if spec.table and spec.column in columns and spec.json_name not in _OWN]
    values = {spec.json_name: plain(spec.codec.load(columns[spec.column])) for spec in known}
    fields = {name: value for name, value in values.items() if value not in (None, [], {})}
    fields["timeoutMs"] = columns["timeout_ms"] or 0
    if columns["stdin_file"]:
        fields["stdinFile"] = os.path.realpath(context.home.input(columns["stdin_file"]))
    return _with_defaults(fields)


def require_input(fields: Mapping[str, Any]) -> None:
    """Raise InvalidInput if the stdin of the earlier task was a pipe or is deleted."""
    path = fields.get("stdinFile")
    if path is not None and not os.path.isfile(path):
        raise InvalidInput("the stdin of that task is not stored any more; name one with --stdin FILE", field="stdin")


def merge(like: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the earlier launch, changed by the given ones."""
    fields = dict(like)
    if any(name in given for name in ("prompt", "command", "call")):
        fields = {name: value for name, value in fields.items() if name not in _WORK}
    if "agent" in given or ("command" in given) != ("command" in like) or ("call" in given and "call" not in like):
        fields.pop("agent", None)
    if {"agent", "model"} & given.keys() and fields.get("concurrencyKey") == fields.get("model"):
        fields.pop("concurrencyKey", None)
    if "agent" in given:
        fields.pop("model", None)
    if {"stdin", "stdinFile"} & given.keys():
        fields = {name: value for name, value in fields.items() if name not in ("stdin", "stdinFile")}
    return {**fields, **given, "env": {**fields.get("env", {}), **given.get("env", {})}}


def _with_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the launch would choose itself, so that it follows a change."""
    if fields.get("agent") in BUILT_IN and fields["agent"] != "external":
        if fields.get("concurrencyKey") == fields["agent"]:
            del fields["concurrencyKey"]
        del fields["agent"]
    return fields
