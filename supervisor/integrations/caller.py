"""Whose session calls a tool: what the call says, what the client tells beside it, what is known of its process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from ...ipc.machine.ancestry import client
from ...ipc.machine.identity import Identity
from ...ipc.model.launch import LAUNCH_FIELDS
from ...ipc.store.sessions import note_served, served_for, session_of, successor_of
from ...ipc.store.sqlite.database import Database

#: What clients put beside a call: the session's id, or the thread's, as each of them calls it.
BESIDE = ("sessionId", "threadId")
#: What a client with hooks puts beside a call.
HOOKED = "claudecode/toolUseId"
#: The variable in which a client tells what it starts which session it was in then.
VARIABLE = "CLAUDE_CODE_SESSION_ID"
_SESSION = LAUNCH_FIELDS["parentSessionId"]


class Callers:
    """Who is behind the calls that reach one server process."""

    def __init__(self, environ: Mapping[str, str], cwd: str) -> None:
        """`environ` and `cwd` are what the client started the server with."""
        self._started_for = _first([environ.get(VARIABLE)]) or f"cwd:{cwd}"

    @cached_property
    def _process(self) -> Identity | None:
        return client()

    def parent(self, said: str | None, beside: Mapping[str, Any] | None, database: Database | None) -> str:
        """The session: what the argument says, else the client, else a hook that the client called, else the start.

        A client may go on in another session than it started the server for, without a word; its hooks know.
        """
        told = said or _first([(beside or {}).get(name) for name in BESIDE])
        if database is None:
            return told or self._started_for
        with database.read() as transaction:
            found = told or self._noted(transaction) or self._started_for
            return successor_of(transaction, found) or found

    def is_told_by_hook(self, parent: str, beside: Mapping[str, Any] | None, database: Database | None) -> bool:
        """Whether a hook of the client comes right after this call and tells that session what is unread.

        It tells only the client's own session, which a call need not be for; and it knows whether that session itself
        has called or a helper of it, which must not be told: we do not.
        """
        if database is None or HOOKED not in (beside or {}):
            return False
        with database.read() as transaction:
            noted = self._noted(transaction)
            return noted is not None and parent in (noted, successor_of(transaction, noted))

    def note(self, database: Database) -> None:
        """Have a hook that comes later know for whom this client launched before, where none has come yet."""
        if self._process is None:
            return
        with database.read() as transaction:
            known = session_of(transaction, self._process) or served_for(transaction, self._process)
        if known is None:
            with database.write(durable=False) as transaction:
                note_served(transaction, self._process, self._started_for)

    def _noted(self, transaction: Any) -> str | None:
        return None if self._process is None else session_of(transaction, self._process)


def _first(found: Iterable[object]) -> str | None:
    """The first that can be one session's id."""
    return next((one for one in found if isinstance(one, str) and _SESSION.missed(one) is None), None)


def here(environ: Mapping[str, str] = os.environ) -> Callers:
    """Those of this process."""
    return Callers(environ, os.getcwd())
