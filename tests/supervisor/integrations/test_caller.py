"""Whether a hook of the client tells what is unread after a call, or the answer must."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner.ipc.store.adoption import adopt
from tests.helpers.commands import backburner
from tests.helpers.tools import Client, client
from tests.helpers.yard import Yard

#: What Claude Code puts beside a call.
BESIDE = {"claudecode/toolUseId": "toolu_1"}


@pytest.fixture
def tools(yard: Yard, home: Path) -> Iterator[Client]:
    """The tools of a session whose hooks were seen."""
    assert hook(home) == ""
    with client(str(home), str(home.parent), CLAUDE_CODE_SESSION_ID="me") as found:
        found.greet()
        yield found


def hook(home: Path) -> str:
    """What the hook after a call tells the session."""
    question = {"session_id": "me", "hook_event_name": "PostToolUse", "cwd": str(home.parent)}
    done = backburner(home, "hook", stdin=json.dumps(question))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_session_that_is_not_the_one_of_the_hooks_is_told_with_the_answer(yard, home, tools):
    id = yard.run(parent_session_id="made-up")
    assert hook(home) == ""
    assert f"- {id}" in tools.use("inbox", BESIDE, parentSessionId="made-up").told


@pytest.mark.parametrize("named", [{}, {"parentSessionId": "me"}])
def test_the_session_of_the_hooks_is_told_by_them_however_the_call_names_it(yard, home, tools, named):
    id = yard.run(parent_session_id="me")
    assert tools.use("inbox", BESIDE, **named).told == ""
    assert f"- {id}" in hook(home)


def test_what_the_heir_of_the_hooks_session_was_not_told_they_tell(yard, home, tools):
    adopt(yard.database, "me", "successor")
    id = yard.run(parent_session_id="successor")
    assert tools.use("inbox", BESIDE).told == ""
    assert f"- {id}" in hook(home)
