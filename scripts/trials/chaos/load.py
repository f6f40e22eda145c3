"""A launcher of scripts/chaos: `load WAY PROJECT SEED RATE TREE`. It is killed and started again.

WAY is how it reaches backburner: `cli` (a process per launch), `bus` (the socket, with ids that it chose and launches
again after a lost response) or `api` (the Python package). Everything is recorded before it is requested, and again
when it was acknowledged. What was acknowledged must hold; what was not may have happened or not.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.blackbox import Place
from tests.helpers.journals import Journal
from tests.helpers.rpc import Refused, RpcClient

HERE = Path(__file__).resolve().parent

#: Concurrency keys and their limit groups, and the limits of the groups (0: only the number of workers).
KEYS = {"one": "one", "two": "two", "pool/a": "pool/*", "pool/b": "pool/*", "wide": "wide"}
LIMITS = {"one": 1, "two": 2, "pool/*": 3, "wide": 0}
PARENTS = ("ses-a", "ses-b", "ses-c")

#: The result or error of a verdict from outside.
VERDICT = "by verdict"

#: The kinds of tasks, and their shares.
KINDS = {
    "quick": 30,
    "failing": 6,
    "flaky": 8,
    "call": 12,
    "raising": 3,
    "tree": 8,
    "call_tree": 3,
    "leaving": 3,
    "long": 8,
    "endless": 5,
    "external": 8,
    "delayed": 6,
    "dependent": 6,
    "unique": 4,
}

Input = dict[str, Any]


class Draw:
    """Draws launches."""

    def __init__(self, project: Path, chance: random.Random) -> None:
        """Jobs append to a journal in the project folder."""
        self._journal = str(project / "jobs.journal")
        self._chance = chance
        self.known: list[str] = []

    def next(self) -> Input:
        """Return the fields of a launch, as JSON spells them."""
        kind = self._chance.choices(list(KINDS), list(KINDS.values()))[0]
        key = self._chance.choice(list(KEYS))
        common: Input = {
            "id": f"bg-{uuid.UUID(int=self._chance.getrandbits(128), version=4)}",
            "concurrencyKey": key,
            "parentSessionId": self._chance.choice(PARENTS),
            "cwd": str(HERE),
            "priority": self._chance.choice((0, 0, 0, 5, -5)),
            "env": {"TRIAL_GROUP": KEYS[key], **({"TRIAL_LEAVES_CHILDREN": "1"} if kind == "leaving" else {})},
            "metadata": {"kind": kind},
        }
        return common | getattr(self, f"_{kind}")()

    def _command(self, **wishes: float) -> Input:
        return {"command": [sys.executable, "-I", "-S", str(HERE / "job.py"), self._journal, json.dumps(wishes)]}

    def _callable(self, **wishes: float) -> Input:
        return {"call": "job:call", "args": [self._journal, wishes]}

    def _quick(self) -> Input:
        return self._command(hold_s=self._chance.uniform(0, 0.1))

    def _failing(self) -> Input:
        return self._command(fails=99)

    def _flaky(self) -> Input:
        return {**self._command(fails=self._chance.randint(1, 2)), "retries": 3}

    def _call(self) -> Input:
        return self._callable(hold_s=self._chance.uniform(0, 0.1))

    def _raising(self) -> Input:
        return {**self._callable(fails=1), "retries": 1}

    def _tree(self) -> Input:
        return self._command(daemons=self._chance.randint(1, 2), hold_s=0.05)

    def _call_tree(self) -> Input:
        return self._callable(daemons=1, hold_s=0.05)

    def _leaving(self) -> Input:
        return {**self._command(daemons=1, daemon_s=2.0), "leaveChildren": True}

    def _long(self) -> Input:
        return self._command(hold_s=self._chance.uniform(0.5, 2.5))

    def _endless(self) -> Input:
        return {**self._command(hold_s=600, daemons=1), "timeoutMs": 2500}

    def _external(self) -> Input:
        return {"agent": "external", "prompt": "external"}

    def _delayed(self) -> Input:
        return {**self._command(), "delayMs": self._chance.randint(100, 1500)}

    def _dependent(self) -> Input:
        if not self.known:
            return self._quick()
        return {**self._command(), self._chance.choice(("after", "afterAny")): [self._chance.choice(self.known[-5:])]}

    def _unique(self) -> Input:
        return {**self._command(hold_s=0.2), "uniqueKey": f"only-{self._chance.randint(0, 2)}"}


class Bus:
    """Launches over the socket; connects again when the connection is lost."""

    def __init__(self, place: Place) -> None:
        """Connect when it is needed."""
        self._place = place
        self._client: RpcClient | None = None

    def call(self, method: str, **params: Any) -> Any:
        """Return a result. Raises Refused, and OSError if the response was lost."""
        try:
            self._client = self._client or self._place.connect()
            return self._client.call(method, **params)
        except OSError:
            if self._client is not None:
                self._client.close()
            self._client = None
            raise

    def launch(self, wanted: Input) -> str:
        """Launch until there is a response: the id makes sure that it happens once."""
        while True:
            try:
                return str(self.call("launch", **wanted)["id"])
            except OSError:
                time.sleep(0.05)


class CommandLine:
    """Launches by a process of `backburner` each."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def launch(self, wanted: Input) -> str:
        """Launch from stdin. Raises Refused, and OSError if the process was killed before it printed."""
        done = self._place.run("launch", "--from-file", "-", stdin=json.dumps(wanted))
        if done.returncode < 0 or done.returncode == 111:
            raise OSError(done.stderr)
        if done.returncode:
            raise Refused({"message": done.stderr.strip(), "code": done.returncode})
        return done.stdout.strip()


class Package:
    """Launches by the Python package, which writes to the database."""

    def __init__(self, place: Place) -> None:
        from backburner import BackgroundManager

        self._manager = BackgroundManager(home=str(place.home))

    def launch(self, wanted: Input) -> str:
        """Launch in one transaction."""
        fields = {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name): wanted[name] for name in wanted}
        return str(self._manager.launch(**fields).id)


class Launcher:
    """Launches tasks at a rate, and now and then acts on one of them."""

    def __init__(self, way: str, place: Place, seed: str) -> None:
        """Record in the journal of that way."""
        self._journal = Journal(place.project / f"launch-{way}.journal")
        self._chance = random.Random(f"{way} {seed}")
        self._draw = Draw(place.project, self._chance)
        self._bus = Bus(place)
        ways: dict[str, Callable[[], Bus | CommandLine | Package]] = {
            "bus": lambda: self._bus,
            "cli": lambda: CommandLine(place),
            "api": lambda: Package(place),
        }
        self._way = ways[way]()

    def run(self, rate: float) -> None:
        """Launch until the process is killed; `rate` is a number per second."""
        due = time.monotonic()
        while True:
            self._launch()
            if self._chance.random() < 0.3:
                self._act()
            due = max(due + self._chance.expovariate(rate), time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))

    def _launch(self) -> None:
        wanted = self._draw.next()
        self._journal.note("launching", id=wanted["id"], input=wanted)
        try:
            id = self._way.launch(wanted)
        except Refused as error:
            self._journal.note("rejected", id=wanted["id"], error=str(error))
            return
        except OSError:
            return
        self._journal.note("launched", id=id, wanted=wanted["id"])
        self._draw.known.append(id)

    def _act(self) -> None:
        """Cancel, complete, fail, retry or read a task that was launched recently."""
        known = self._draw.known[-30:]
        if not known:
            return
        act = self._chance.choice(("cancel", "cancel", "complete", "fail", "retry", "get"))
        id = self._chance.choice(known)
        more = {"complete": {"result": VERDICT}, "fail": {"error": VERDICT}}.get(act, {})
        self._journal.note("requesting", act=act, id=id)
        try:
            task = self._bus.call(act, id=id, **more)
        except Refused:
            self._journal.note("refused", act=act, id=id)
        except OSError:
            return
        else:
            self._journal.note("done", act=act, id=id, status=task["status"], attempt=task["attempt"])


def main() -> None:
    """Launch, again after a failure that is temporary."""
    way, project, seed, rate, tree = sys.argv[1:]
    place = Place(Path(project), Path(tree))
    while True:
        try:
            Launcher(way, place, seed).run(float(rate))
        except Exception as error:
            if type(error).__name__ not in ("GateBusy", "Temporary"):
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main()
