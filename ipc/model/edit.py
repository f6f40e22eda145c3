"""Changes of pending tasks by users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import InvalidInput
from ..validation import Nullable, Record, Shape
from .launch import LAUNCH_FIELDS, LAUNCH_SPECS

#: The fields of a launch that can be changed while the task is pending.
EDITABLE = ("description", "priority", "concurrencyKey", "tags", "delayMs", "timeoutMs", "retries")


def _nullable(shape: Shape[Any]) -> Shape[Any]:
    return shape if isinstance(shape, Nullable) else Nullable(shape)


#: The shape of each field of an edit, by its JSON name. Null is the same as absent.
EDIT_FIELDS: dict[str, Shape[Any]] = {name: _nullable(LAUNCH_FIELDS[name]) for name in EDITABLE}
_IN_PYTHON = Record(
    "edit", {spec.name: EDIT_FIELDS[spec.json_name] for spec in LAUNCH_SPECS if spec.json_name in EDITABLE}
)
_NAMES = {spec.json_name: spec.name for spec in LAUNCH_SPECS}


class TaskEdit(NamedTuple):
    """The new values of a pending task. None leaves a value unchanged.

    An empty description or tuple of tags clears the value. 0 means no delay or no timeout.
    """

    description: str | None = None
    priority: int | None = None
    concurrency_key: str | None = None
    tags: Sequence[str] | None = None
    delay_ms: int | None = None
    timeout_ms: int | None = None
    retries: int | None = None

    @classmethod
    def from_checked_json(cls, values: Mapping[str, Any]) -> TaskEdit:
        """Return the edit that a document describes, which is valid. Raises InvalidInput if it changes nothing."""
        return cls._of({_NAMES[name]: value for name, value in values.items() if name in EDITABLE})

    @classmethod
    def from_python(cls, values: Mapping[str, Any]) -> TaskEdit:
        """Return an edit with these fields. Raises InvalidInput, which names the field."""
        return cls._of(_IN_PYTHON.check(values))

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> TaskEdit:
        edit = cls(**values)
        if not edit.fields:
            raise InvalidInput(f"an edit needs a field to change: {', '.join(EDITABLE)}")
        return edit

    @property
    def fields(self) -> list[str]:
        """The JSON names of the fields that the edit changes."""
        return [name for name in EDITABLE if getattr(self, _NAMES[name]) is not None]
