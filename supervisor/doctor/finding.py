"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass

#: The levels of a finding: a problem to fix, and a note.
PROBLEM, NOTE = "problem", "note"


@dataclass(frozen=True)
class Finding:
    """A problem or a note that a check reports, with its effect and the command that fixes it."""

    check: str
    what: str
    why: str
    fix: str
    level: str = PROBLEM

    def to_json(self) -> dict[str, str]:
        """Return the finding as `doctor --json` prints it."""
        return {"check": self.check, "what": self.what, "why": self.why, "mend": self.fix, "level": self.level}
