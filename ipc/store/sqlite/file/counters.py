"""Numbers that must not be used twice, also after a lost commit or in a copy: of events, claims and processes."""

from __future__ import annotations

from .transaction import Transaction

#: The distance by which both counters skip ahead at a new boot and after a restore, when used numbers may have been
#: lost. 2^21 such jumps stay below 2^53, the largest integer that all JSON readers agree on.
JUMP = 2**32


def skip_counters_ahead(transaction: Transaction) -> None:
    """Skip all numbers that a lost commit may have given."""
    _advance(transaction, JUMP, JUMP)


def advance_counters_past(transaction: Transaction, other: Transaction) -> None:
    """Skip all numbers that this database or another one has given.

    If they have different logs, give this one's a new ID.
    """
    seq, claim = (other.fetch_value(name) for name in ("get_last_seq", "get_last_claim"))
    advance_counters_past_numbers(transaction, seq, claim)
    if transaction.setting("log") != other.setting("log"):
        import uuid  # only a restore needs it

        transaction.run("set_setting", {"name": "log", "value": str(uuid.uuid4())})


def advance_counters_past_numbers(transaction: Transaction, seq: int, claim: int) -> None:
    """Skip all numbers up to `seq` and `claim`, and all that this database has given."""
    _advance(transaction, _distance(transaction, "get_last_seq", seq), _distance(transaction, "get_last_claim", claim))


def _distance(transaction: Transaction, last: str, known: int) -> int:
    return max(0, known - int(transaction.fetch_value(last))) + JUMP


def _advance(transaction: Transaction, seq: int, claim: int) -> None:
    transaction.run("advance_seq", {"by": seq})
    transaction.run("advance_claims", {"by": claim})


def disown_foreign_processes(transaction: Transaction, home: str) -> None:
    """Let all processes count as dead if this database was copied from another home, or restored from there.

    They serve the home in which they were started, and their process IDs must not be used from this one. `home` is the
    ID of this home, or empty if it is unknown now.
    """
    known = transaction.setting("home")
    if home and known != home:
        if known is not None:
            transaction.run("disown_processes", {"boot": f"home {known}"})
        transaction.run("set_setting", {"name": "home", "value": home})
