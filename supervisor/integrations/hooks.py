"""What a client's hook asks, and what it is answered, in that client's form."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ipc.home import Home
from ...ipc.machine.ancestry import client
from ...ipc.machine.identity import Identity
from ...ipc.store.inbox import Inbox, Unread
from ...ipc.store.sessions import served_for, session_of, successor_of
from ...ipc.store.sqlite.database import Database
from ...ipc.store.sqlite.write_gate import Gate

#: Seconds that a hook waits for the write gate: what it cannot tell now, the next one tells.
PATIENCE = 0.5

#: The events at which a model can be told something, and the one at which it would stop, by client.
CONTEXT = {
    "claude": ("SessionStart", "UserPromptSubmit", "PostToolUse"),
    "codex": ("SessionStart", "UserPromptSubmit", "PostToolUse"),
    "gemini": ("SessionStart", "BeforeAgent", "AfterTool"),
}
STOP = {"claude": "Stop", "codex": "Stop", "gemini": "AfterAgent"}
#: How a client is asked to go on instead of stopping.
GO_ON = {"claude": "block", "codex": "block", "gemini": "deny"}


@dataclass(frozen=True)
class Question:
    """A hook's JSON, as far as it matters."""

    event: str
    session: str
    cwd: str | None
    #: Whether the model goes on only because a hook had it go on.
    going_on: bool = False
    #: Whether it is about a helper of the session's, which is not told the session's notices.
    is_aside: bool = False
    #: Why a session starts.
    source: str | None = None

    @classmethod
    def of(cls, text: str) -> Question:
        """Read it. Raises ValueError for anything else."""
        said = json.loads(text)
        if not isinstance(said, dict):
            raise ValueError("expected an object")
        event, session, cwd = (said.get(name) for name in ("hook_event_name", "session_id", "cwd"))
        if not (isinstance(event, str) and isinstance(session, str) and session):
            raise ValueError("expected hook_event_name and session_id")
        known = cwd if isinstance(cwd, str) and cwd else None
        going_on, is_aside = bool(said.get("stop_hook_active")), bool(said.get("agent_id"))
        return cls(event, session, known, going_on, is_aside, said.get("source"))


class Hook:
    """One hook's work: whom it is about, what that one is told."""

    def __init__(self, home: Home, question: Question, kind: str) -> None:
        """Look in that home, which exists; `kind` is the client's name. Raises BadHome, Temporary, Permanent."""
        home.check()
        Gate.of(home.lock("gate")).patience = PATIENCE
        self._database = Database(home)  # synced: it tells; in a home that syncs nothing it costs nothing
        self._question, self._kind = question, kind
        self._inbox = Inbox(self._database, question.session)

    def __enter__(self) -> Hook:
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()

    def arrive(self) -> None:
        """Note who asks; a session that goes on under another id takes over from the former. Raises Temporary."""
        process = client()
        if process is None:
            return
        successor, known = self._known(process)
        if {successor, *known} != {self._question.session}:
            from ...ipc.store.adoption import appear, arrive

            come = arrive if self._takes_over() else appear
            come(self._database, process, self._question.session, successor)

    def _takes_over(self) -> bool:
        """Whether another id in the same process means that the session goes on under it."""
        return self._kind == "claude" or (self._question.event, self._question.source) == ("SessionStart", "clear")

    def _known(self, process: Identity) -> tuple[str, set[str | None]]:
        with self._database.read() as transaction:
            successor = successor_of(transaction, self._question.session)
            known = {session_of(transaction, process), served_for(transaction, process)}
            return successor or self._question.session, known

    def unread(self) -> Unread | None:
        """What the model is to be told now, if it can be told anything at this event. Raises Temporary."""
        asked = self._question
        told_here = asked.event in CONTEXT[self._kind] or (asked.event == STOP[self._kind] and not asked.going_on)
        return self._inbox.unread() if told_here and not asked.is_aside else None

    def answer(self, unread: Unread) -> dict[str, Any]:
        """That, in the client's form."""
        if self._question.event == STOP[self._kind]:
            return {"decision": GO_ON[self._kind], "reason": unread.text}
        return {"hookSpecificOutput": {"hookEventName": self._question.event, "additionalContext": unread.text}}

    def acknowledge(self, unread: Unread) -> None:
        """It was told. Raises Temporary."""
        self._inbox.acknowledge(unread.seq)


def home_of(named: str | None, question: Question, environ: Mapping[str, str]) -> Home | None:
    """The home that is meant, if there is one: the session's folder's, else its project's.

    A client that does not tell the session's folder starts us in it. Raises BadHome, FileNotFoundError.
    """
    folders = [question.cwd or os.getcwd(), *(environ.get(f"{name}_PROJECT_DIR") for name in ("CLAUDE", "GEMINI"))]
    homes = [Home.find(named, Path(folder)) for folder in folders if folder]
    return next((home for home in homes if home.database.exists()), None)
