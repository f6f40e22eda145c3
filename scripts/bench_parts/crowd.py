"""Many slots on few cores, many parents and subscribers: the rate of all tasks, and the longest waits."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section
from scripts.bench_parts.ours import BenchHome, EndSubscriber, check_completed

CALL = {"call": "noop:noop"}
COMMAND = {"command": ["true"]}

#: The tasks in one transaction of a launcher, and the processes that launch.
CHUNK, LAUNCHERS = 10, 4

#: The bound of every wait in seconds.
LONGEST = 0.5


class Crowd(Contestant):
    """Backburner with numbers of slots, of parents, and of subscribers of each parent."""

    def __init__(self, name: str, count: int, slots: int, parents: int, each: int) -> None:
        super().__init__(name, f"{slots} slots, {parents} parents, {parents * each} subscribers")
        self._count, self._slots, self._parents, self._each = count // parents, slots, parents, each

    def open(self) -> None:
        """Start the supervisor and the processes that launch and subscribe."""
        self._home = BenchHome.with_settings(
            durability="normal", default_concurrency=self._slots, max_workers=self._slots
        )
        self.settings += f", {self._home.description}"
        self._home.up()
        self._launchers = [self._home.launcher() for _ in range(min(LAUNCHERS, self._parents))]
        self._subscribers = self._home.remote("scripts.bench_parts.crowd:subscribers", str(self._home.home))
        self._drain("warm-up", CHUNK * self._slots // self._parents, COMMAND)

    def round(self, number: int) -> Figures:
        """Drain commands, then calls."""
        commands, waits = self._drain(f"commands-{number}", self._count, COMMAND)
        calls, more = self._drain(f"calls-{number}", self._count, CALL)
        longest = {name: max(waits[name], more[name]) for name in waits}
        return {"commands": commands, "calls": calls, **longest}

    def _drain(self, name: str, count: int, task: dict[str, Any]) -> tuple[float, Figures]:
        parents = [f"{name}-{place}" for place in range(self._parents)]
        self._subscribers.call(parents=parents, each=self._each)
        self._subscribers.start(count=count)
        began, ids, waits = float("inf"), list[str](), list[float]()
        for place, parent in enumerate(parents):
            launcher = self._launchers[place % len(self._launchers)]
            launcher.start(parent=parent, count=count, chunk=CHUNK, task=self._home.task(**task))
        for place in range(len(parents)):
            answer = self._launchers[place % len(self._launchers)].result()
            began, ids, waits = min(began, answer["began"]), ids + answer["ids"], waits + answer["waits"]
        received = self._subscribers.result()
        check_completed(ids * self._each, received["events"])
        rate = count * self._parents / (received["ended"] - began)
        return rate, {"launch p99, s": _p99(waits), "event p99, s": _p99(received["lags"])}

    def close(self) -> None:
        """End the home."""
        self._home.close()


def subscribers(home: str) -> Callable[..., Any]:
    """Return a remote function: subscribe for parents, then receive `count` ends of each, with their ages."""
    current: list[EndSubscriber] = []

    def listen(parents: list[str] | None = None, each: int = 1, count: int = 0) -> Any:
        if parents is not None:
            while current:
                current.pop().close()
            current.extend(EndSubscriber(Path(home), parent) for parent in parents for _ in range(each))
            return None
        return _receive(current, count)

    return listen


def _receive(current: list[EndSubscriber], count: int) -> dict[str, Any]:
    selector = selectors.DefaultSelector()
    left = dict.fromkeys(current, count)
    for one in current:
        selector.register(one, selectors.EVENT_READ)
    events, lags, ended = list[dict[str, Any]](), list[float](), 0.0
    while any(left.values()):
        for key, _ in selector.select():
            one = key.fileobj
            assert isinstance(one, EndSubscriber), "only subscribers were registered"
            found = one.next_ends()
            now, ended = time.time(), time.monotonic()
            left[one] -= len(found)
            lags += [now - datetime.fromisoformat(event["at"]).timestamp() for event in found]
            events += [{"taskId": event["taskId"], "status": event["status"]} for event in found]
    selector.close()
    return {"ended": ended, "lags": lags, "events": events}


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


SECTION = Section(
    "crowd",
    "16 slots, 16 parents, 64 subscribers on these cores beside 2 slots, one parent, one subscriber, tasks/s",
    lambda size: [
        Crowd("few", size.pick(1600, 320), 2, 1, 1),
        Crowd("crowd", size.pick(1600, 320), 16, 16, 4),
    ],
    (
        Goal("commands of a crowd", "crowd/commands", 0.8, ("few/commands",)),
        Goal("calls of a crowd", "crowd/calls", 0.8, ("few/calls",)),
        Goal("wait of a launch, p99, s", "crowd/launch p99, s", LONGEST, at_least=False),
        Goal("age of an event when it is read, p99, s", "crowd/event p99, s", 0.2, at_least=False),
    ),
)
