"""The load of scripts/power-loss: `load PROJECT RUN SECONDS`. It runs under strace with everything that it starts.

Everything that was reported to it goes into PROJECT/reports, outside the state directory, each line in one write: the
record of the system calls shows these lines in order among the writes of the state directory.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.helpers.blackbox import Place
from tests.helpers.journals import Journal
from tests.helpers.rpc import Refused, RpcClient

#: The bytes that some tasks print: more than is kept in the database.
LONG_OUTPUT = 100_000

#: The content of the file from which some tasks read.
INPUT_FILE, INPUT = "input.txt", "from a file\n"


class Load:
    """Launches over the socket and by the package, and receives every event."""

    def __init__(self, place: Place, run: str) -> None:
        self._place = place
        self._reports = Journal(place.project / "reports")
        self._run = run
        self._chance = random.Random(run)
        place.configure("durability = 'full'\nnotification_batch_window_ms = 100\ndefault_concurrency = 3\n")

    def go(self, seconds: float) -> None:
        """Start a supervisor, launch until the time is over, and leave everything running."""
        self._place.check("up", "--detach")
        threading.Thread(target=self._receive, daemon=True).start()
        threading.Thread(target=self._launch_by_package, daemon=True).start()
        client, deadline = self._place.connect(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._launch_by_socket(client)
            time.sleep(self._chance.uniform(0.02, 0.12))

    def _fields(self) -> dict[str, Any]:
        number = self._chance.randrange(1000)
        write = f"head -c {LONG_OUTPUT} /dev/zero | tr '\\0' x; " if self._chance.random() < 0.3 else ""
        id, claim = "'$BACKBURNER_TASK_ID'", "'$BACKBURNER_CLAIM'"
        line = f'{{"what":"ran","run":"{self._run}","id":"{id}","claim":{claim}}}'
        return {
            "command": ["/bin/sh", "-c", f"echo '{line}' >> {self._reports.path}; {write}cat"],
            "parentSessionId": f"ses-{number % 3}",
            "cwd": str(self._place.project),
            "concurrencyKey": f"key-{number % 4}",
            **({"stdinFile": INPUT_FILE} if number % 3 == 0 else {"stdin": "from the launch\n"}),
        }

    def _launch_by_socket(self, client: RpcClient) -> None:
        self._note("launched", id=client.call("launch", **self._fields())["id"])
        if self._chance.random() < 0.3:
            self._complete_external(client)

    def _complete_external(self, client: RpcClient) -> None:
        fields = {"agent": "external", "prompt": "x", "parentSessionId": "ses-0", "concurrencyKey": "external"}
        id = client.call("launch", **fields)["id"]
        self._note("launched", id=id)
        for _ in range(40):
            try:
                client.call("complete", id=id, result="completed")
            except Refused:  # it was not claimed yet
                time.sleep(0.02)
            else:
                self._note("ended", id=id)
                return

    def _launch_by_package(self) -> None:
        from backburner import BackgroundManager

        manager = BackgroundManager(home=str(self._place.home))
        spellings = {
            "stdinFile": "stdin_file",
            "parentSessionId": "parent_session_id",
            "concurrencyKey": "concurrency_key",
        }
        while True:
            task = manager.launch(**{spellings.get(name, name): value for name, value in self._fields().items()})
            self._note("launched", id=task.id)
            time.sleep(self._chance.uniform(0.05, 0.2))

    def _receive(self) -> None:
        client = self._place.connect(timeout=3600)
        client.send("subscribe", parentSessionId="*", after=0)
        for event in client.events():
            self._note("received", event=event)

    def _note(self, what: str, **facts: Any) -> None:
        self._reports.note(what, run=self._run, **facts)


if __name__ == "__main__":
    project = Path(sys.argv[1])
    Load(Place(project, project / "tree"), sys.argv[2]).go(float(sys.argv[3]))
    (project / f"over-{sys.argv[2]}").touch()
    os._exit(0)
