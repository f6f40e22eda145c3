"""Adopt sessions: a session takes over the tasks and the unread batches of another one.

A client may continue under another session ID. `/clear` creates a new one, and the ID of a resumed or forked
conversation differs from the ID with which its servers were started. So the last session of each client's process is
recorded. When the process is seen in another session, the new session adopts the recorded one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..model.event import ALL_SESSIONS
from ..validation import Text
from .applied_config import applied_configuration

if TYPE_CHECKING:
    from ..machine.identity import Identity
    from .interface import Store
    from .values import Adopted

#: The suffix of the name under which the session of a client's server is recorded. The name without it stands for the
#: session that a hook has reported: only a hook knows the current one.
SERVER = " server"

_NAME = Text(max_bytes=1024, non_empty=True)


def adopt(store: Store, parent: str, successor: str) -> Adopted:
    """Give the tasks of `parent` and its unread notifications to `successor`.

    Batches that a consumer of `parent` has not acknowledged are delivered to `successor` under new numbers, which no
    reader has passed yet. If only some consumers have acknowledged a batch of `parent`, it is acknowledged for them in
    `successor` too, unless they have other unread events there. Later launches for `parent` belong to `successor`
    until `parent` adopts a session. Raises InvalidInput, Temporary.
    """
    _validate(parent, successor)
    adopted = store.sessions.adopt(parent, successor, applied_configuration(store).notification_max_batch)
    store.home.wake("flusher")
    return adopted


def session_switched(store: Store, process: Identity, session: str, successor: str) -> None:
    """Record that a client's process continues in a session. The session adopts the former sessions of the process.

    A session in which another living process was last seen is not adopted. Raises InvalidInput, Temporary.
    """
    former = {id for id in store.sessions.of_process(process) if id is not None}
    for id in former - {session}:
        if not _is_used_by_another(store, id, process):
            adopt(store, id, session)
    session_seen(store, process, session, successor)


def session_seen(store: Store, process: Identity, session: str, successor: str) -> None:
    """Record that a client's process is in a session, and clear the session's successor.

    If `successor` has adopted the session, the session adopts it in turn, unless another living process was last seen
    in `successor`. Raises InvalidInput, Temporary.
    """
    if successor != session and not _is_used_by_another(store, successor, process):
        adopt(store, successor, session)
    store.sessions.record(process, session)


def _is_used_by_another(store: Store, session: str, process: Identity) -> bool:
    """Return True if another living process was last seen in a session."""
    from ..machine.identity import Identity
    from ..machine.presence import Presence

    presence = Presence(store.home)
    names = store.sessions.clients_of(session)
    others = (name for name in names if name != process.name and not name.endswith(SERVER))
    return not all(presence.is_dead(Identity.named(name)) for name in others)


def _validate(parent: str, successor: str) -> None:
    for name, value in (("from", parent), ("to", successor)):
        _NAME.check(value, name)
        if value == ALL_SESSIONS:
            raise InvalidInput(f"{name}: expected one session, got '*'.", field=name)
    if parent == successor:
        raise InvalidInput(f"to: expected a session other than {parent}.", field="to")
