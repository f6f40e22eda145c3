"""A launcher of scripts/chaos: chaos_load.py WAY FOLDER SEED RATE. It is killed at will and started again.

WAY is how it speaks to backburner: `cli` (a process a launch), `bus` (the socket, with ids of its own choice that are
asked
for again when an answer is lost) or `api` (the Python package). Everything is written into its journal twice: before
it is asked
for, and when it was acknowledged. What was acknowledged must be so for ever; what was not may be so or not.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.trials.outside import Journal, Place, Wire, nap

HERE = Path(__file__).resolve().parent

#: Concurrency keys and their limit groups, and what those are limited to (0: by the number of workers alone).
KEYS = {"one": "one", "two": "two", "pool/a": "pool/*", "pool/b": "pool/*", "wide": "wide"}
LIMITS = {"one": 1, "two": 2, "pool/*": 3, "wide": 0}
PARENTS = ("ses-a", "ses-b", "ses-c")

#: What is launched, and how often beside the others.
MIX = {
    "quick": 30,
    "failing": 6,
    "flaky": 8,
    "call": 12,
    "raising": 3,
    "tree": 8,
    "call_tree": 3,
    "spared": 3,
    "long": 8,
    "endless": 5,
    "external": 8,
    "delayed": 6,
    "dependent": 6,
    "unique": 4,
}

Input = dict[str, Any]


class Load:
    """Draws launches, and remembers what may be cancelled, waited for, completed and retried."""

    def __init__(self, place: Path, chance: random.Random) -> None:
        """Jobs write into that folder."""
        self.place = place
        self.chance = chance
        self.known: list[str] = []
        self.outside: list[str] = []

    def draw(self) -> tuple[str, Input]:
        """A kind and a LaunchInput."""
        kind = self.chance.choices(list(MIX), list(MIX.values()))[0]
        key = self.chance.choice(list(KEYS))
        base: Input = {
            "id": f"bg-{uuid.UUID(int=self.chance.getrandbits(128), version=4)}",
            "concurrencyKey": key,
            "parentSessionId": self.chance.choice(PARENTS),
            "cwd": str(HERE),
            "priority": self.chance.choice((0, 0, 0, 5, -5)),
            "env": {"SIEGE_GROUP": KEYS[key], **({"SIEGE_SPARED": "1"} if kind == "spared" else {})},
            "metadata": {"kind": kind},
        }
        return kind, base | getattr(self, f"_{kind}", self._quick)()

    def _job(self, **wishes: float) -> Input:
        words = [str(self.place / "jobs.journal"), json.dumps(wishes)]
        return {"command": [sys.executable, "-I", "-S", str(HERE / "job.py"), *words]}

    def _called(self, **wishes: float) -> Input:
        return {"call": "job:call", "args": [str(self.place / "jobs.journal"), wishes]}

    def _quick(self) -> Input:
        return self._job(hold_s=self.chance.uniform(0, 0.1))

    def _failing(self) -> Input:
        return self._job(fails=99)

    def _flaky(self) -> Input:
        return {**self._job(fails=self.chance.randint(1, 2)), "retries": 3}

    def _call(self) -> Input:
        return self._called(hold_s=self.chance.uniform(0, 0.1))

    def _raising(self) -> Input:
        return {**self._called(fails=1), "retries": 1}

    def _tree(self) -> Input:
        return self._job(daemons=self.chance.randint(1, 2), hold_s=0.05)

    def _call_tree(self) -> Input:
        return self._called(daemons=1, hold_s=0.05)

    def _spared(self) -> Input:
        return {**self._job(daemons=1, daemon_s=2.0), "leaveChildren": True}

    def _long(self) -> Input:
        return self._job(hold_s=self.chance.uniform(0.5, 2.5))

    def _endless(self) -> Input:
        return {**self._job(hold_s=600, daemons=1), "timeoutMs": 2500}

    def _external(self) -> Input:
        return {"agent": "external", "prompt": "outside"}

    def _delayed(self) -> Input:
        return {**self._job(), "delayMs": self.chance.randint(100, 1500)}

    def _dependent(self) -> Input:
        if not self.known:
            return self._quick()
        return {**self._job(), self.chance.choice(("after", "afterAny")): [self.chance.choice(self.known[-5:])]}

    def _unique(self) -> Input:
        return {**self._job(hold_s=0.2), "uniqueKey": f"only-{self.chance.randint(0, 2)}"}


class Refused(Exception):
    """Asked, and answered with an error: it did not happen."""


class Bus:
    """Through the socket; comes back when it goes away."""

    def __init__(self, place: Path) -> None:
        """Connect when it is needed."""
        self._home = place / ".backburner"
        self._wire: Wire | None = None

    def ask(self, method: str, **params: Any) -> Any:
        """One call. Raises Refused, OSError where the answer was lost."""
        try:
            self._wire = self._wire or Wire(self._home)
            answer = self._wire.call(method, **params)
        except OSError:
            if self._wire is not None:
                self._wire.close()
            self._wire = None
            raise
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    def launch(self, wanted: Input) -> str:
        """Ask until there is an answer: the id makes sure that it is launched once."""
        while True:
            try:
                return str(self.ask("launch", **wanted)["id"])
            except OSError:
                nap(0.05)


class Cli:
    """A process of `backburner` for each launch."""

    def __init__(self, place: Path) -> None:
        """Nothing is kept open."""
        self._folder = place
        self._place = Place.__new__(Place)
        self._place.project, self._place.home = place, place / ".backburner"
        self._place.tree = Path(sys.argv[5])

    def launch(self, wanted: Input) -> str:
        """Give it as a file of tasks. Raises Refused, OSError where it was killed before it answered."""
        done = subprocess.run(
            self._place.command("launch", "--from-file", "-"),
            input=json.dumps(wanted),
            env=self._place.environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode < 0 or done.returncode == 111:
            raise OSError(done.stderr)
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout.strip()


class Api:
    """The Python package, straight into the database."""

    def __init__(self, place: Path) -> None:
        """Open the home."""
        from backburner import BackgroundManager

        self._manager = BackgroundManager(home=str(place / ".backburner"))

    def launch(self, wanted: Input) -> str:
        """One transaction. Raises Refused."""
        fields = {_snake(name): value for name, value in wanted.items()}
        return str(self._manager.launch(**fields).id)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


class Launcher:
    """Launches at its rate, and now and then has an opinion on what it launched."""

    def __init__(self, way: str, place: Path, seed: str) -> None:
        """Write to the journal of that way."""
        self._journal = Journal(place / f"launch-{way}.journal")
        self._chance = random.Random(f"{way} {seed}")
        self._load = Load(place, self._chance)
        self._bus = Bus(place)
        self._via: Bus | Cli | Api = {"bus": lambda: self._bus, "cli": lambda: Cli(place), "api": lambda: Api(place)}[
            way
        ]()

    def run(self, rate: float) -> None:
        """For ever: it is ended from outside."""
        due = time.monotonic()
        while True:
            self._launch()
            if self._chance.random() < 0.3:
                self._meddle()
            due = max(due + self._chance.expovariate(rate), time.monotonic() - 1)
            nap(due - time.monotonic())

    def _launch(self) -> None:
        kind, wanted = self._load.draw()
        self._journal.note("asked", id=wanted["id"], kind=kind, input=wanted)
        try:
            id = self._via.launch(wanted)
        except Refused as error:
            self._journal.note("refused", id=wanted["id"], why=str(error))
            return
        except OSError:
            return
        self._journal.note("launched", id=id, wanted=wanted["id"])
        self._load.known.append(id)
        if kind == "external":
            self._load.outside.append(id)

    def _meddle(self) -> None:
        """Cancel, complete or fail something, or try it again."""
        known = self._load.known[-30:]
        if not known:
            return
        act = self._chance.choice(("cancel", "cancel", "complete", "fail", "retry", "get"))
        self._say(act, self._chance.choice(known))

    def _say(self, act: str, id: str) -> None:
        more = {"complete": {"result": "said so"}, "fail": {"error": "said so"}}.get(act, {})
        self._journal.note("asking", act=act, id=id)
        try:
            task = self._bus.ask(act, id=id, **more)
        except Refused:
            self._journal.note("not", act=act, id=id)
        except OSError:
            return
        else:
            self._journal.note("done", act=act, id=id, status=task["status"], attempt=task["attempt"])


def main() -> None:
    """Never returns."""
    way, place, seed, rate = sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    try_for_ever(lambda: Launcher(way, place, seed).run(rate))


def try_for_ever(run: Callable[[], None]) -> None:
    """A launcher that trips over trouble that is said to be temporary comes back."""
    while True:
        try:
            run()
        except Exception as error:
            if type(error).__name__ not in ("GateBusy", "Temporary"):
                raise
            nap(0.1)


if __name__ == "__main__":
    main()
