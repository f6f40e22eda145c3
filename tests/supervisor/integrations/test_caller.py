"""Notifications are delivered either by a hook of the client or by the answer to a call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner.ipc.store.sessions import adopt
from tests.helpers.commands import backburner
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.tools import Client, client

#: The metadata of a call of Claude Code.
META = {"claudecode/toolUseId": "toolu_1"}


@pytest.fixture
def tools(queue_db: QueueDatabase, home: Path) -> Iterator[Client]:
    """The tools of a session whose hook has run."""
    assert hook(home) == ""
    with client(str(home), str(home.parent), CLAUDE_CODE_SESSION_ID="me") as found:
        found.initialize()
        yield found


def hook(home: Path) -> str:
    """Run the hook after a call and return its response."""
    hook_input = {"session_id": "me", "hook_event_name": "PostToolUse", "cwd": str(home.parent)}
    done = backburner(home, "hook", stdin=json.dumps(hook_input))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_mcp_answer_notifies_a_named_session_that_is_not_the_hooks_one(queue_db, home, tools):
    id = queue_db.run(parent_session_id="made-up")
    assert hook(home) == ""
    assert f"- {id}" in tools.call("inbox", META, parentSessionId="made-up").notifications


@pytest.mark.parametrize("named", [{}, {"parentSessionId": "me"}])
def test_hooks_notify_their_session_however_the_call_names_it(queue_db, home, tools, named):
    id = queue_db.run(parent_session_id="me")
    assert tools.call("inbox", META, **named).notifications == ""
    assert f"- {id}" in hook(home)


def test_hooks_notify_the_successor_of_their_session(queue_db, home, tools):
    adopt(queue_db.store, "me", "successor")
    id = queue_db.run(parent_session_id="successor")
    assert tools.call("inbox", META).notifications == ""
    assert f"- {id}" in hook(home)
