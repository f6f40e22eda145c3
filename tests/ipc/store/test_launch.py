"""Launches before they are stored: IDs, texts and the size limit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.errors import InvalidInput
from backburner.ipc.model.launch import INPUT_LIMIT, LAUNCH_FIELDS, LaunchInput
from backburner.ipc.store.launch import NewTask

#: The character that takes the most bytes of JSON.
CONTROL = "\x01"


def checked(**given: Any) -> NewTask:
    """Check a launch with these fields, by default of the command `true`."""
    return NewTask.of(LaunchInput(**{"command": ("true",), **given}), BackgroundConfig(), "")


def size(**given: Any) -> int:
    """Return the size of the same launch in bytes of JSON."""
    document = LaunchInput(**{"command": ("true",), **given}).to_json()
    return len(json.dumps(document, ensure_ascii=False, separators=(", ", ": ")).encode())


def test_new_ids_are_accepted_as_chosen_ids_and_differ():
    ids = {checked().id for _ in range(200)}
    assert len(ids) == 200
    assert all(LAUNCH_FIELDS["id"].fits(id) for id in ids)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("description", lambda text: text),
        ("stdin", lambda text: text),
        ("stdin_file", lambda text: text),
        ("env", lambda text: {"A": text}),
        ("metadata", lambda text: {"a": [text]}),
        ("command", lambda text: (text,)),
        ("after", lambda text: (text,)),
        ("after_any", lambda text: (text,)),
        ("unique_key", lambda text: text),
        ("parent_message_id", lambda text: text),
    ],
)
@pytest.mark.parametrize("character", ["x", "\N{PILE OF POO}", CONTROL])
def test_size_limit_counts_every_field_in_bytes_of_json(field, value, character):
    empty, one = size(**{field: value("")}), size(**{field: value(character)})
    fitting = (INPUT_LIMIT - empty) // (one - empty)
    checked(**{field: value(character * fitting)})
    with pytest.raises(InvalidInput, match="larger than 1 MiB"):
        checked(**{field: value(character * (fitting + 1))})


def test_environment_changed_between_launches_is_stored_as_given():
    env: dict[str, str | None] = {"A": "1"}
    first = checked(env=env)
    env["A"] = None
    assert [json.loads(one.input["env"]) for one in (first, checked(env=env))] == [{"A": "1"}, {"A": None}]


def test_empty_collections_are_stored_only_where_they_differ_from_none():
    texts = ("command", "args", "kwargs", "env", "metadata", "after")
    absent = checked(command=None, call="m:f").input
    assert [absent[name] for name in texts] == [None] * 6
    empty = checked(command=None, call="m:f", args=(), kwargs={}, env={}, metadata={}).input
    assert [empty[name] for name in texts] == [None, None, "{}", "{}", "{}", None]


def test_only_a_chosen_id_has_a_digest():
    id = checked().id
    assert checked().input["digest"] is None
    assert checked(id=id).input["digest"] == checked(id=id, cwd="/", env={"A": "1"}).input["digest"] is not None
    assert checked(id=id).input["digest"] != checked(id=id, priority=1).input["digest"]
