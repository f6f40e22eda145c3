"""What the processes weigh: their proportional share of memory (PSS), after some work."""

from __future__ import annotations

from pathlib import Path

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section
from scripts.bench_parts.ours import House, check

MANY = 8
STAYING = ("supervisor", "forkserver", "flusher")


class Memory(Contestant):
    """Those that stay, and what each further worker adds."""

    def open(self) -> None:
        """Start it."""
        self._house = House(durability="normal", default_concurrency=MANY)
        self.settings = self._house.described
        self._house.up()
        self._launcher = self._house.launcher()

    def round(self, number: int) -> Figures:
        """With one worker, then with eight, then with eight that have run a call each."""
        self._run("one", 1, command=["sleep", "0.5"])
        few = self._weights()
        self._run("many", MANY, command=["sleep", "0.5"])
        many = sum(self._weights().values())
        self._run("calls", MANY, call="time:sleep", args=[0.5])
        with_runners = sum(self._weights().values())
        return few | {
            "those that stay": sum(few[one] for one in STAYING),
            "a further worker": (many - sum(few.values())) / (MANY - 1),
            "the runner of a worker that has run calls": (with_runners - many) / MANY,
        }

    def _run(self, parent: str, count: int, **said: object) -> None:
        ear = self._house.ear(parent)
        task = self._house.task(**said)
        launched = self._launcher.call(parent=parent, count=count, chunk=count, task=task)
        check(launched["ids"], ear.hear(count)[1])
        ear.close()

    def _weights(self) -> dict[str, float]:
        """MiB by role."""
        found: dict[str, float] = {}
        for one in self._house.place.processes():
            if one.name.startswith("bb-"):
                found[one.name[3:]] = found.get(one.name[3:], 0) + _pss(one.pid) / 1024
        return found

    def close(self) -> None:
        """End it."""
        self._house.close()


def _pss(pid: int) -> int:
    """KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


SECTION = Section(
    "memory",
    "proportional memory (PSS), MiB; a worker has a runner from its first call on",
    lambda size: [Memory("ours")],
    (
        Goal("supervisor, flusher and fork server, MiB", "ours/those that stay", 60.0, at_least=False),
        Goal("each further worker, MiB", "ours/a further worker", 8.0, at_least=False),
    ),
    once=True,
)
