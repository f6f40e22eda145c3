"""The memory of the processes (PSS, their proportional share) after some work."""

from __future__ import annotations

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section
from scripts.bench_parts.ours import BenchHome, check_completed
from tests.helpers.processes import memory

MANY = 8
LONG_LIVED = ("supervisor", "forkserver", "flusher")


class Memory(Contestant):
    """The long-lived roles, and what each further worker adds."""

    def open(self) -> None:
        """Start the supervisor."""
        self._home = BenchHome.with_settings(durability="normal", default_concurrency=MANY)
        self.settings = self._home.description
        self._home.up()
        self._launcher = self._home.launcher()

    def round(self, number: int) -> Figures:
        """Measure with one worker, with eight, and with eight that have run a call."""
        self._run("one", 1, command=["sleep", "0.5"])
        few = self._memory()
        self._run("many", MANY, command=["sleep", "0.5"])
        many = sum(self._memory().values())
        self._run("calls", MANY, call="time:sleep", args=[0.5])
        with_runners = sum(self._memory().values())
        return few | {
            "long-lived roles": sum(few[one] for one in LONG_LIVED),
            "a further worker": (many - sum(few.values())) / (MANY - 1),
            "the runner of a worker that has run calls": (with_runners - many) / MANY,
        }

    def _run(self, parent: str, count: int, **work: object) -> None:
        subscriber = self._home.subscriber(parent)
        task = self._home.task(**work)
        launched = self._launcher.call(parent=parent, count=count, chunk=count, task=task)
        check_completed(launched["ids"], subscriber.ends(count)[1])
        subscriber.close()

    def _memory(self) -> dict[str, float]:
        """Return the MiB of each role."""
        found: dict[str, float] = {}
        for one in self._home.processes():
            if one.role is not None:
                found[one.role] = found.get(one.role, 0) + memory(one.pid, "Pss") / 2**20
        return found

    def close(self) -> None:
        """End the home."""
        self._home.close()


SECTION = Section(
    "memory",
    "proportional memory (PSS), MiB; a worker has a runner from its first call on",
    lambda size: [Memory("ours")],
    (
        Goal("supervisor, flusher and fork server, MiB", "ours/long-lived roles", 60.0, at_least=False),
        Goal("each further worker, MiB", "ours/a further worker", 8.0, at_least=False),
    ),
    once=True,
)
