"""Single launches, from one process and from eight, while a supervisor runs; their key is paused, so nothing is run."""

from __future__ import annotations

from typing import Any

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section, Size
from scripts.bench_parts.ours import House

#: Seconds no launch may wait.
LONGEST = 0.25

DURABILITIES, PROCESSES = ("normal", "full"), (1, 8)


class Launches(Contestant):
    """Through the Python front door: checked, committed, the supervisor told."""

    def __init__(self, count: int, processes: int, durability: str) -> None:
        super().__init__(f"ours, {processes}, {durability}")
        self._count, self._size, self._durability = count // processes, processes, durability

    def open(self) -> None:
        """Start the processes that launch."""
        self._house = House(durability=self._durability)
        self.settings = self._house.described
        self._house.up()
        self._house.run("pause", "bench")
        self._launchers = [self._house.launcher() for _ in range(self._size)]
        self._ask("warm-up", 10)

    def round(self, number: int) -> Figures:
        """A fresh parent each."""
        return _figures(self._ask(f"round-{number}", self._count), self._count)

    def _ask(self, parent: str, count: int) -> list[dict[str, Any]]:
        task = self._house.task(command=["true"])
        for place, one in enumerate(self._launchers):
            one.ask(parent=f"{parent}-{place}", count=count, chunk=1, task=task)
        return [one.answer() for one in self._launchers]

    def close(self) -> None:
        """End them."""
        self._house.close()


class RawRows(Contestant):
    """The same rows in the same schema, with its triggers and indexes, by bare SQLite under a lock."""

    def __init__(self, count: int, processes: int, durability: str) -> None:
        super().__init__(f"raw rows, {processes}, {durability}", "one transaction each under a POSIX record lock")
        self._count, self._size, self._durability = count // processes, processes, durability

    def open(self) -> None:
        """Make a home with one task, to have its row for a pattern; no supervisor runs."""
        self._house = House(durability=self._durability)
        launch = ("launch", "--parent", "raw", "--key", "bench", "--cwd", str(self._house.place.project), "--", "true")
        pattern = self._house.run(*launch).strip()
        database, synchronous = self._house.place.home / "backburner.db", self._durability.upper()
        factory = "scripts.bench_parts.bare:row_inserter"
        self._inserters = [self._house.errand(factory, str(database), synchronous, pattern) for _ in range(self._size)]

    def round(self, number: int) -> Figures:
        """So many rows."""
        for one in self._inserters:
            one.ask(count=self._count)
        return _figures([one.answer() for one in self._inserters], self._count)

    def close(self) -> None:
        """End them."""
        self._house.close()


def _figures(answers: list[dict[str, Any]], count: int) -> Figures:
    began, ended = min(one["began"] for one in answers), max(one["ended"] for one in answers)
    longest = max(wait for one in answers for wait in one["waits"])
    total = count * len(answers)
    cpu = 1000 * sum(one["cpu"] for one in answers) / total
    return {"rate": total / (ended - began), "longest wait, s": longest, "CPU ms a launch": cpu}


def contestants(size: Size) -> list[Contestant]:
    """One and eight processes, in both durabilities."""
    count = size.pick(2000, 200)
    shapes = [(processes, durability) for durability in DURABILITIES for processes in PROCESSES]
    return [kind(count, *shape) for shape in shapes for kind in (Launches, RawRows)]


#: The ratio to the raw rows that is to be reached; 0.55 for all others.
BOUNDS = {"8, normal": 0.5}


def _goals() -> tuple[Goal, ...]:
    shapes = [f"{processes}, {durability}" for durability in DURABILITIES for processes in PROCESSES]
    rates = [
        Goal(f"launches from {one}", f"ours, {one}/rate", BOUNDS.get(one, 0.55), (f"raw rows, {one}/rate",))
        for one in shapes
    ]
    waits = [
        Goal(f"longest wait of a launch, {one}", f"ours, {one}/longest wait, s", LONGEST, at_least=False)
        for one in shapes
    ]
    return (*rates, *waits)


SECTION = Section(
    "launches", "single launches from so many processes, launches/s, and the longest one", contestants, _goals()
)
