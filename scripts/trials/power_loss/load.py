"""The load of scripts/power-loss: power_load.py PROJECT RUN SECONDS. Runs under strace, with all that it starts.

What it was told is written to PROJECT/books outside the home, one write a line: the record of the calls shows it in its
order among the writes of the home.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from scripts.trials.outside import Journal, Place, Wire, nap

#: Bytes that some tasks write: more than goes into the database.
LONG_OUTPUT = 100_000


class Load:
    """Launches, by the socket and by the package, and hears everything."""

    def __init__(self, project: Path, run: str) -> None:
        """Work on that home."""
        self._place = Place.__new__(Place)
        self._place.project, self._place.home, self._place.tree = project, project / ".backburner", project / "tree"
        self._books = Journal(project / "books")
        self._run = run
        self._chance = random.Random(run)
        self._place.configure("durability = 'full'\nnotification_batch_window_ms = 100\ndefault_concurrency = 3\n")

    def go(self, seconds: float) -> None:
        """Start, launch for so long, and leave all of it standing."""
        subprocess.run(
            self._place.command("up", "--detach"), env=self._place.environment, cwd=self._place.project, check=True
        )
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._launch_straight, daemon=True).start()
        wire, until = Wire(self._place.home), time.monotonic() + seconds
        while time.monotonic() < until:
            self._launch_by(wire)
            nap(self._chance.uniform(0.02, 0.12))

    def _input(self, number: int) -> dict[str, Any]:
        write = f"head -c {LONG_OUTPUT} /dev/zero | tr '\\0' x; " if self._chance.random() < 0.3 else ""
        id, claim = "'$BACKBURNER_TASK_ID'", "'$BACKBURNER_CLAIM'"
        ran = f'{{"what":"ran","run":"{self._run}","id":"{id}","claim":{claim}}}'
        note = f"echo '{ran}' >> {self._place.project}/books"
        found: dict[str, Any] = {
            "command": ["/bin/sh", "-c", f"{note}; {write}cat"],
            "parentSessionId": f"ses-{number % 3}",
            "cwd": str(self._place.project),
            "concurrencyKey": f"key-{number % 4}",
        }
        given = {"stdinFile": "given.txt"} if number % 3 == 0 else {"stdin": "given\n"}
        return {**found, **given}

    def _launch_by(self, wire: Wire) -> None:
        answer = wire.call("launch", **self._input(self._chance.randrange(1000)))
        self._books.note("launched", run=self._run, id=answer["result"]["id"])
        if self._chance.random() < 0.3:
            self._outside(wire)

    def _outside(self, wire: Wire) -> None:
        id = wire.call("launch", agent="external", prompt="x", parentSessionId="ses-0", concurrencyKey="out")["result"][
            "id"
        ]
        self._books.note("launched", run=self._run, id=id)
        for _ in range(40):
            if "result" in wire.call("complete", id=id, result="said"):
                self._books.note("ended", run=self._run, id=id)
                return
            nap(0.02)

    def _launch_straight(self) -> None:
        from backburner import BackgroundManager

        manager = BackgroundManager(home=str(self._place.home))
        while True:
            wanted = self._input(self._chance.randrange(1000))
            fields = {
                "stdinFile": "stdin_file",
                "parentSessionId": "parent_session_id",
                "concurrencyKey": "concurrency_key",
            }
            task = manager.launch(**{fields.get(name, name): value for name, value in wanted.items()})
            self._books.note("launched", run=self._run, id=task.id)
            nap(self._chance.uniform(0.05, 0.2))

    def _listen(self) -> None:
        wire = Wire(self._place.home, patience=3600)
        wire.call("subscribe", parentSessionId="*", after=0)
        while True:
            message = wire.read()
            self._books.note("heard", run=self._run, event=message["params"])


if __name__ == "__main__":
    Load(Path(sys.argv[1]), sys.argv[2]).go(float(sys.argv[3]))
    (Path(sys.argv[1]) / f"over-{sys.argv[2]}").touch()
    os._exit(0)
