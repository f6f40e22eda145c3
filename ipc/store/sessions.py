"""Sessions, and who is behind them: whose successor is who, and which process of a client was last seen with which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import clock
from .sqlite.database import Transaction

if TYPE_CHECKING:
    from ..machine.identity import Identity

#: After the name of a client's process: what its server knows, which only a hook's word can make good.
SERVER = " server"


def successor_of(transaction: Transaction, parent: str | None) -> str | None:
    """The session that a session's launches and notices go to; it is its own successor unless another adopted it."""
    return transaction.value("get_successor", {"parent": parent}) or parent


def set_successor(transaction: Transaction, parent: str, successor: str) -> None:
    """Make `successor` the successor of `parent`, and of every session that `parent` succeeded."""
    clear_successor(transaction, successor)
    transaction.run("move_successors", {"parent": parent, "successor": successor})
    transaction.run("set_successor", {"parent": parent, "successor": successor})


def clear_successor(transaction: Transaction, parent: str) -> None:
    """Have a session be its own successor."""
    transaction.run("clear_successor", {"parent": parent})


def session_of(transaction: Transaction, process: Identity) -> str | None:
    """The session that a client's process was last seen with."""
    found: str | None = transaction.value("get_session", {"process": process.name})
    return found


def note_session(transaction: Transaction, process: Identity, session: str) -> None:
    """Remember which session a client's process is seen with now."""
    transaction.run("set_session", {"process": process.name, "session": session, "at": clock.now()})


def served_for(transaction: Transaction, process: Identity) -> str | None:
    """The session that a server of the client's launched for, before any hook said in which one the client is."""
    found: str | None = transaction.value("get_session", {"process": process.name + SERVER})
    return found


def note_served(transaction: Transaction, process: Identity, session: str) -> None:
    """Remember for which session a server of a client's process launches."""
    transaction.run("set_session", {"process": process.name + SERVER, "session": session, "at": clock.now()})


def is_held(transaction: Transaction, session: str, process: Identity) -> bool:
    """Whether another living process than this one was last seen with a session."""
    from ..machine.identity import Identity

    names = (row["process"] for row in transaction.all("list_clients_of", {"session": session}))
    others = (name for name in names if name != process.name and not name.endswith(SERVER))
    return any(Identity.named(name).alive() is not False for name in others)
