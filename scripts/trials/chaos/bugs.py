"""Bugs that scripts/chaos injects to show that its checks find them.

Two change what a subscriber recorded; the others are patches of the snapshot. A patch that does not fit any more is an
error, because a bug that is not there would not be found either.
"""

from __future__ import annotations

import random
from pathlib import Path

from tests.helpers.blackbox import Place

#: The invariants of which at least one must be reported as violated, by the name of the bug.
BUGS = {
    "lost-event": {"I7"},
    "repeated-event": {"I7"},
    "slot-over": {"I4"},
    "stray": {"I5"},
    "run-twice": {"I2"},
}

#: What is patched in a snapshot: the file, the fragment that it has exactly once, and its replacement.
PATCHES = {
    "slot-over": [
        (
            "ipc/config/limits.py",
            "def limit(self, group: str) -> int:",
            "def limit(self, group: str) -> int:\n        return 7\n\n    def _was(self, group: str) -> int:",
        ),
    ],
    "stray": [("supervisor/execution/run.py", "        return remaining(self._members)\n", "        return set()\n")],
    "run-twice": [("supervisor/pool/recovery.py", "files.exist()", "False")],
}


def inject(name: str, place: Place) -> None:
    """Patch the snapshot if that is what the bug consists of."""
    for file, old, new in PATCHES.get(name, ()):
        place.patch(file, old, new)


def falsify(name: str, journal: Path, chance: random.Random) -> None:
    """Remove an event from what a subscriber recorded, or repeat one, if that is what the bug consists of."""
    if name not in ("lost-event", "repeated-event"):
        return
    lines = journal.read_bytes().splitlines(keepends=True)
    place = chance.choice([place for place, line in enumerate(lines) if b'"received"' in line])
    lines[place : place + 1] = [] if name == "lost-event" else [lines[place]] * 2
    journal.write_bytes(b"".join(lines))
