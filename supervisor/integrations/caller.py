"""Find the session of a tool call, and the client's process that started this one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from ...ipc.home import current_folder
from ...ipc.machine import proc
from ...ipc.machine.identity import Identity
from ...ipc.store.interface import Store

#: The fields of a call's metadata in which clients put the ID of the session or thread.
META_FIELDS = ("sessionId", "threadId")
#: The field of a call's metadata that only a client with hooks sets.
HOOK_META_FIELD = "claudecode/toolUseId"
#: The environment variable with the session in which the client started the server.
VARIABLE = "CLAUDE_CODE_SESSION_ID"

#: Programs between a client and this process: shells and launchers.
LAUNCHERS = frozenset("sh bash dash zsh fish ksh env nice timeout setsid sudo uv uvx pipx".split())

Meta = Mapping[str, Any] | None


class SessionResolver:
    """Finds the sessions of the calls to one server process."""

    def __init__(self, environ: Mapping[str, str], cwd: str) -> None:
        """Take the environment and the folder in which the client started the server."""
        folder = cwd.encode(errors="backslashreplace").decode()  # its name may not be UTF-8
        self._started_for = _first_session([environ.get(VARIABLE)]) or f"cwd:{folder}"

    @cached_property
    def _client(self) -> Identity | None:
        return client_process()

    def session(self, argument: str | None, meta: Meta, store: Store | None) -> str:
        """Return the session of a call.

        It is named by the argument, the metadata, the client's last hook or the start of the server, in this order.
        A client may switch to another session without a call or a restart, but its hooks name the new session.
        """
        named = argument or _first_session((meta or {}).get(name) for name in META_FIELDS)
        if store is None:
            return named or self._started_for
        return store.sessions.successor(named or self._hook_session(store) or self._started_for)

    def is_notified_by_hook(self, session: str, meta: Meta, store: Store | None) -> bool:
        """Return True if a hook of the client runs after this call and delivers the session's notifications.

        A hook delivers only to the client's own session. Unlike the server, it can distinguish a call of that session
        from one of its subagents, which must not get the notifications.
        """
        if store is None or HOOK_META_FIELD not in (meta or {}):
            return False
        own = self._hook_session(store)
        return own is not None and session in (own, store.sessions.successor(own))

    def remember_start(self, store: Store) -> None:
        """Store the session for which this server launches tasks, unless a hook has named one. Later hooks need it."""
        if self._client is None:
            return
        if store.sessions.of_process(self._client) == (None, None):
            store.sessions.record_served(self._client, self._started_for)

    def _hook_session(self, store: Store) -> str | None:
        return None if self._client is None else store.sessions.of_process(self._client)[0]


def this_process() -> SessionResolver:
    """Return the resolver for the server in this process."""
    return SessionResolver(os.environ, str(current_folder() or "/"))


def client_process() -> Identity | None:
    """Return the nearest ancestor that is neither a shell nor a launcher, or None if it is unknown."""
    client = next((pid for pid, name in _ancestors() if name not in LAUNCHERS), None)
    return None if client is None else Identity.of(client)


def _first_session(candidates: Iterable[object]) -> str | None:
    from ...ipc.model.launch import LAUNCH_FIELDS  # hooks, which import this module, start faster without it

    shape = LAUNCH_FIELDS["parentSessionId"]
    return next((name for name in candidates if isinstance(name, str) and shape.mismatch(name) is None), None)


def _ancestors() -> Iterator[tuple[int, str]]:
    """Yield the PID and name of each ancestor, starting with the parent, without process 1."""
    pid = os.getppid()
    while pid > 1:
        name, parent = proc.name(pid), proc.parent(pid)
        if name is None or parent is None:
            return
        yield pid, name
        pid = parent
