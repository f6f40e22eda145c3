"""The input of a client's hook, and the response that delivers unread notifications in that client's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from ...ipc.home import Home, current_folder
from ...ipc.machine.identity import Identity
from ...ipc.store import open_store
from .caller import client_process
from .inbox import Inbox, Unread

#: For each client, the hook events that may add context for the model in the response.
CONTEXT = {
    "claude": ("SessionStart", "UserPromptSubmit", "PostToolUse"),
    "codex": ("SessionStart", "UserPromptSubmit", "PostToolUse"),
    "gemini": ("SessionStart", "BeforeAgent", "AfterTool"),
}
#: The event of each client at which the model is about to stop.
STOP = {"claude": "Stop", "codex": "Stop", "gemini": "AfterAgent"}
#: The decision that makes each client's model continue instead.
CONTINUE = {"claude": "block", "codex": "block", "gemini": "deny"}


@dataclass(frozen=True)
class HookInput:
    """The fields of a hook's JSON input that are used."""

    event: str
    session: str
    cwd: str | None
    #: True if the model continues only because a hook has kept it from stopping.
    stop_hook_active: bool = False
    #: True if the event belongs to a subagent, which does not get the session's notifications.
    is_subagent: bool = False
    #: The reason for the start of the session.
    source: str | None = None

    @classmethod
    def parse(cls, text: str) -> HookInput:
        """Read the input. Raises ValueError."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("expected an object")
        event, session, cwd = (fields.get(name) for name in ("hook_event_name", "session_id", "cwd"))
        if not (isinstance(event, str) and isinstance(session, str) and session):
            raise ValueError("expected hook_event_name and session_id")
        known_cwd = cwd if isinstance(cwd, str) and cwd else None
        stop_hook_active, is_subagent = bool(fields.get("stop_hook_active")), bool(fields.get("agent_id"))
        return cls(event, session, known_cwd, stop_hook_active, is_subagent, fields.get("source"))


class HookRun:
    """One run of a hook in one state directory."""

    def __init__(self, home: Home, hook_input: HookInput, client: str) -> None:
        """Open the state directory, which must exist. Raises BadHome, Temporary, Permanent."""
        home.check()
        self._store = open_store(
            home, DEFAULT_BACKGROUND_CONFIG, "hook"
        )  # durable, because the record of a delivery must not be lost
        self._input, self._client = hook_input, client
        self._inbox = Inbox(self._store, hook_input.session)

    def __enter__(self) -> HookRun:
        return self

    def __exit__(self, *exception: object) -> None:
        self._store.close()

    def record_session(self) -> None:
        """Store the session of the client's process, which may continue a former session. Raises Temporary."""
        process = client_process()
        if process is None:
            return
        successor, known = self._known_sessions(process)
        if {successor, *known} != {self._input.session}:
            from ...ipc.store.sessions import session_seen, session_switched

            record = session_switched if self._continues_former_session() else session_seen
            record(self._store, process, self._input.session, successor)

    def _continues_former_session(self) -> bool:
        """Return True if a new ID in the same process continues the former session."""
        return self._client == "claude" or (self._input.event, self._input.source) == ("SessionStart", "clear")

    def _known_sessions(self, process: Identity) -> tuple[str, set[str | None]]:
        sessions = self._store.sessions
        return sessions.successor(self._input.session), set(sessions.of_process(process))

    def unread(self) -> Unread | None:
        """Return the notifications to deliver at this event, or None. Raises Temporary."""
        event = self._input.event
        stops = event == STOP[self._client] and not self._input.stop_hook_active
        delivers = stops or event in CONTEXT[self._client]
        return self._inbox.unread() if delivers and not self._input.is_subagent else None

    def response(self, unread: Unread) -> dict[str, Any]:
        """Return the response that delivers the notifications, in the client's format."""
        if self._input.event == STOP[self._client]:
            return {"decision": CONTINUE[self._client], "reason": unread.text}
        return {"hookSpecificOutput": {"hookEventName": self._input.event, "additionalContext": unread.text}}

    def acknowledge(self, unread: Unread) -> None:
        """Mark the notifications as read. Raises Temporary."""
        self._inbox.acknowledge(unread.seq)


def find_home(named: str | None, hook_input: HookInput, environ: Mapping[str, str]) -> Home | None:
    """Return the named state directory, or the state directory of the session's folder or project, if it exists.

    A client that does not name the session's folder starts the hook in it. Raises BadHome.
    """
    projects = (environ.get(f"{client}_PROJECT_DIR") for client in ("CLAUDE", "GEMINI"))
    folders: list[Path | None] = [Path(folder) for folder in (hook_input.cwd or current_folder(), *projects) if folder]
    homes = [Home.find(named, folder) for folder in folders or [None]]
    return next((home for home in homes if home.database.exists()), None)
