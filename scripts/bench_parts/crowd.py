"""Many slots on few cores, many parents, many subscribers: what is done in all, and how long anybody waits."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section
from scripts.bench_parts.ours import Ear, House, check

CALL = {"call": "noop:noop"}
COMMAND = {"command": ["true"]}

#: Tasks in one transaction of a launcher, and processes that launch.
CHUNK, LAUNCHERS = 10, 4

#: Seconds of any wait.
LONGEST = 0.5


class Crowd(Contestant):
    """A home with so many slots, parents, and subscribers for each parent."""

    def __init__(self, name: str, count: int, slots: int, parents: int, each: int) -> None:
        super().__init__(name, f"{slots} slots, {parents} parents, {parents * each} subscribers")
        self._count, self._slots, self._parents, self._each = count // parents, slots, parents, each

    def open(self) -> None:
        """Start it."""
        self._house = House(durability="normal", default_concurrency=self._slots, max_workers=self._slots)
        self.settings += f", {self._house.described}"
        self._house.up()
        self._launchers = [self._house.launcher() for _ in range(min(LAUNCHERS, self._parents))]
        self._ears = self._house.errand("scripts.bench_parts.crowd:ears", str(self._house.place.home))
        self._drain("warm-up", CHUNK * self._slots // self._parents, COMMAND)

    def round(self, number: int) -> Figures:
        """Commands, then calls."""
        commands, waits = self._drain(f"commands-{number}", self._count, COMMAND)
        calls, more = self._drain(f"calls-{number}", self._count, CALL)
        longest = {name: max(waits[name], more[name]) for name in waits}
        return {"commands": commands, "calls": calls, **longest}

    def _drain(self, name: str, count: int, task: dict[str, Any]) -> tuple[float, Figures]:
        parents = [f"{name}-{place}" for place in range(self._parents)]
        self._ears.call(parents=parents, each=self._each)
        self._ears.ask(count=count)
        began, ids, waits = float("inf"), list[str](), list[float]()
        for place, parent in enumerate(parents):
            one = self._launchers[place % len(self._launchers)]
            one.ask(parent=parent, count=count, chunk=CHUNK, task=self._house.task(**task))
        for place in range(len(parents)):
            answer = self._launchers[place % len(self._launchers)].answer()
            began, ids, waits = min(began, answer["began"]), ids + answer["ids"], waits + answer["waits"]
        heard = self._ears.answer()
        check(ids * self._each, heard["events"])
        rate = count * self._parents / (heard["ended"] - began)
        return rate, {"launch p99, s": _p99(waits), "event p99, s": _p99(heard["lags"])}

    def close(self) -> None:
        """End it."""
        self._house.close()


def ears(home: str) -> Callable[..., Any]:
    """An errand: subscribe for some parents, then hear so many ends of each, and how old each was when it was read."""
    there: list[Ear] = []

    def listen(parents: list[str] | None = None, each: int = 1, count: int = 0) -> Any:
        if parents is not None:
            while there:
                there.pop().close()
            there.extend(Ear(Path(home), parent) for parent in parents for _ in range(each))
            return None
        return _hear(there, count)

    return listen


def _hear(there: list[Ear], count: int) -> dict[str, Any]:
    selector = selectors.DefaultSelector()
    left = dict.fromkeys(there, count)
    for one in there:
        selector.register(one, selectors.EVENT_READ)
    events, lags, ended = list[dict[str, Any]](), list[float](), 0.0
    while any(left.values()):
        for key, _ in selector.select():
            one = key.fileobj
            assert isinstance(one, Ear), "nobody else was registered"
            told = one.here()
            now, ended = time.time(), time.monotonic()
            left[one] -= len(told)
            lags += [now - datetime.fromisoformat(event["at"]).timestamp() for event in told]
            events += [{"taskId": event["taskId"], "status": event["status"]} for event in told]
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
