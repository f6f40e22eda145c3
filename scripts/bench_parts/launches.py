"""Single launches from one and from eight processes, while a supervisor runs and their key is paused."""

from __future__ import annotations

from typing import Any

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section, Size
from scripts.bench_parts.ours import BenchHome

#: The longest wait of a launch in seconds.
LONGEST = 0.25

DURABILITIES, PROCESSES = ("normal", "full"), (1, 8)


class Launches(Contestant):
    """Launches by the Python package: validated, committed, and the supervisor notified."""

    def __init__(self, count: int, processes: int, durability: str) -> None:
        super().__init__(f"ours, {processes}, {durability}")
        self._count, self._size, self._durability = count // processes, processes, durability

    def open(self) -> None:
        """Start the processes that launch."""
        self._home = BenchHome.with_settings(durability=self._durability)
        self.settings = self._home.description
        self._home.up()
        self._home.check("pause", "bench")
        self._launchers = [self._home.launcher() for _ in range(self._size)]
        self._launch("warm-up", 10)

    def round(self, number: int) -> Figures:
        """Launch tasks of new parents."""
        return _figures(self._launch(f"round-{number}", self._count), self._count)

    def _launch(self, parent: str, count: int) -> list[dict[str, Any]]:
        task = self._home.task(command=["true"])
        for place, one in enumerate(self._launchers):
            one.start(parent=f"{parent}-{place}", count=count, chunk=1, task=task)
        return [one.result() for one in self._launchers]

    def close(self) -> None:
        """End the processes."""
        self._home.close()


class RawRows(Contestant):
    """The same rows in the same schema, with triggers and indexes, by bare SQLite under a lock."""

    def __init__(self, count: int, processes: int, durability: str) -> None:
        super().__init__(f"raw rows, {processes}, {durability}", "one transaction each under a POSIX record lock")
        self._count, self._size, self._durability = count // processes, processes, durability

    def open(self) -> None:
        """Create a home with one task. Its rows are copied, and no supervisor runs."""
        self._home = BenchHome.with_settings(durability=self._durability)
        launch = ("launch", "--parent", "raw", "--key", "bench", "--cwd", str(self._home.project), "--", "true")
        pattern = self._home.check(*launch).strip()
        database, synchronous = self._home.home / "backburner.db", self._durability.upper()
        factory = "scripts.bench_parts.bare:row_inserter"
        self._inserters = [self._home.remote(factory, str(database), synchronous, pattern) for _ in range(self._size)]

    def round(self, number: int) -> Figures:
        """Insert the rows."""
        for one in self._inserters:
            one.start(count=self._count)
        return _figures([one.result() for one in self._inserters], self._count)

    def close(self) -> None:
        """End the processes."""
        self._home.close()


def _figures(answers: list[dict[str, Any]], count: int) -> Figures:
    began, ended = min(one["began"] for one in answers), max(one["ended"] for one in answers)
    longest = max(wait for one in answers for wait in one["waits"])
    total = count * len(answers)
    cpu = 1000 * sum(one["cpu"] for one in answers) / total
    return {"rate": total / (ended - began), "longest wait, s": longest, "CPU ms a launch": cpu}


def contestants(size: Size) -> list[Contestant]:
    """Return one and eight processes with both durabilities."""
    count = size.pick(2000, 200)
    shapes = [(processes, durability) for durability in DURABILITIES for processes in PROCESSES]
    return [kind(count, *shape) for shape in shapes for kind in (Launches, RawRows)]


#: The goals for ratios to the raw rows; 0.55 for those that are not named.
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
    "launches", "single launches from one and eight processes, launches/s, and the longest wait", contestants, _goals()
)
