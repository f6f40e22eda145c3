"""Bugs that are planted on purpose, to show that the checker of scripts/chaos sees them.

Two falsify what a subscriber wrote down, three are patches of a copy of the tree. A patch that no longer fits is an
error:
a plant that is not there would be "not found" for the wrong reason.
"""

from __future__ import annotations

import random
from pathlib import Path

from scripts.trials.outside import Place

#: What must be reported where that bug is planted: one of these invariants.
PLANTS = {
    "lost-event": {"I7"},
    "repeated-event": {"I7"},
    "slot-over": {"I4"},
    "stray": {"I5"},
    "run-twice": {"I2"},
}

#: Where a copy is changed: file, what stands there, what stands there instead.
PATCHES = {
    "slot-over": [
        (
            "ipc/config/limits.py",
            "def limit(self, group: str) -> int:",
            "def limit(self, group: str) -> int:\n        return 7\n\n    def _was(self, group: str) -> int:",
        ),
    ],
    "stray": [
        (
            "supervisor/execution/run.py",
            "        return remaining(self._members)\n\n    def _runner",
            "        return set()\n\n    def _runner",
        ),
    ],
    "run-twice": [
        ("supervisor/pool/recovery.py", "files.exist()", "False"),
    ],
}


def plant(name: str, place: Place) -> None:
    """Patch the copy of the tree that is used there, where that is what the plant is."""
    for file, was, becomes in PATCHES.get(name, ()):
        place.patch(file, was, becomes)


def falsify(name: str, journal: Path, chance: random.Random) -> None:
    """Take a line out of what a subscriber heard, or put one in twice."""
    if name not in ("lost-event", "repeated-event"):
        return
    lines = journal.read_bytes().splitlines(keepends=True)
    heard = [place for place, line in enumerate(lines) if b'"heard"' in line]
    place = chance.choice(heard)
    lines[place : place + 1] = [] if name == "lost-event" else [lines[place]] * 2
    journal.write_bytes(b"".join(lines))
