"""What a check has to say."""

from __future__ import annotations

from dataclasses import dataclass

#: Something that wants to be mended, and something that is good to know.
PROBLEM, NOTE = "problem", "note"


@dataclass(frozen=True)
class Finding:
    """One thing that was found: by which check, what it is, why it matters, and the command that mends it."""

    check: str
    what: str
    why: str
    mend: str
    level: str = PROBLEM
