"""A subscriber of scripts/chaos: chaos_ear.py HOME JOURNAL PARENT [--ack]. It is killed at will and started again.

Without --ack it remembers the last `seq` that it has on disk, and is owed each event exactly once; with it, it leaves
the remembering to its cursor in the home, and is owed each event at least once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from scripts.trials.outside import Journal, Wire, lines_of, nap

#: Acknowledge once in so many events.
ACK_EVERY = 7


def whole(path: Path) -> None:
    """Drop a line that a kill has cut short: it was not taken note of."""
    if path.exists():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)


def last_heard(path: Path) -> int:
    """The last number in the journal."""
    return max((line["event"]["seq"] for line in lines_of(path) if line["what"] == "heard"), default=0)


def listen(home: Path, journal: Journal, parent: str, acks: bool) -> None:
    """Hear events until the bus goes away. Raises OSError."""
    wire = Wire(home, patience=3600)
    place: dict[str, Any] = {"consumer": "ear"} if acks else {"after": last_heard(journal.path)}
    journal.note("subscribed", **place)
    wire.socket.sendall(request("subscribe", {"parentSessionId": parent, **place}))
    count = 0
    while True:
        message = wire.read()
        if "method" not in message:
            continue
        journal.note("heard", event=message["params"])
        count += 1
        if acks and count % ACK_EVERY == 0:
            seq = message["params"]["seq"]
            wire.socket.sendall(request("ack", {"parentSessionId": parent, "seq": seq, "consumer": "ear"}))


def request(method: str, params: dict[str, Any]) -> bytes:
    """A line whose answer nobody waits for."""
    return json.dumps({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}).encode() + b"\n"


def main() -> None:
    """Come back for ever."""
    home, path, parent, acks = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], "--ack" in sys.argv
    whole(path)
    journal = Journal(path)
    while True:
        try:
            listen(home, journal, parent, acks)
        except OSError:
            nap(0.05)


if __name__ == "__main__":
    main()
