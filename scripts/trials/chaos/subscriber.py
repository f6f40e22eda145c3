"""A subscriber of scripts/chaos: `subscriber PROJECT JOURNAL PARENT [--ack]`. It is killed and started again.

Without --ack it subscribes after the last event in its journal, and must receive each event exactly once. With --ack it
relies on its cursor in the home, and must receive each event at least once.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.helpers.blackbox import Place
from tests.helpers.journals import Journal, journal_lines

#: Events between two acknowledgements.
ACKNOWLEDGE_EVERY = 7

#: Seconds after which a subscriber that receives nothing subscribes again.
TIMEOUT = 3600.0


def drop_torn_line(path: Path) -> None:
    """Remove a last line that a kill has cut short: it was not recorded."""
    if path.exists():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)


def last_received(path: Path) -> int:
    """Return the number of the last event in the journal."""
    return max((line["event"]["seq"] for line in journal_lines(path) if line["what"] == "received"), default=0)


def receive(place: Place, journal: Journal, parent: str, acknowledges: bool) -> None:
    """Record events until the connection is lost. Raises OSError."""
    position: dict[str, Any] = {"consumer": "chaos"} if acknowledges else {"after": last_received(journal.path)}
    with place.connect(TIMEOUT) as client:
        journal.note("subscribed", **position)
        client.send("subscribe", parentSessionId=parent, **position)
        for count, event in enumerate(client.events(), 1):
            journal.note("received", event=event)
            if acknowledges and count % ACKNOWLEDGE_EVERY == 0:
                client.send("ack", parentSessionId=parent, seq=event["seq"], consumer="chaos")


def main() -> None:
    """Subscribe again and again."""
    place, path, parent, acknowledges = Place(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3], "--ack" in sys.argv
    drop_torn_line(path)
    journal = Journal(path)
    while True:
        try:
            receive(place, journal, parent, acknowledges)
        except OSError:
            time.sleep(0.05)


if __name__ == "__main__":
    main()
