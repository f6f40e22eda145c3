"""Sessions that go on under another id: whose heir is who."""

from __future__ import annotations

from ipc.database import Transaction


def heir_of(transaction: Transaction, parent: str | None) -> str | None:
    """The session that a session's launches and notices go to; it is its own heir unless another adopted it."""
    return transaction.value("heir_of", {"parent": parent}) or parent


def succeed(transaction: Transaction, parent: str, heir: str) -> None:
    """Make `heir`, which stands for itself from now on, the heir of `parent` and of all who had that for an heir."""
    transaction.run("disown", {"parent": heir})
    transaction.run("follow_heir", {"parent": parent, "heir": heir})
    transaction.run("set_heir", {"parent": parent, "heir": heir})
