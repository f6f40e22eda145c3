"""The load of the kill trial: launches, verdicts from outside, and limits that change, each on its own thread.

Whatever was acknowledged is noted in the trial's journal afterwards; `kill_checks` holds the program to it.
"""

from __future__ import annotations

import time
from collections import deque
from random import Random
from typing import Any

from scripts.trials.trial_home import (
    TEMPORARY,
    Loop,
    TrialHome,
    TrialSubscriber,
    call_fields,
    command_fields,
    launch_fields,
)
from tests.helpers.blackbox import CommandFailed
from tests.helpers.rpc import Refused

#: The keys, the limits that they start with, and the shares of short calls, short commands and long tasks.
LIMITS = {"calls": 2, "commands": 2, "mixed": 3, "single": 1}
_SHARES = {"calls": (97, 2, 1), "commands": (2, 97, 1), "mixed": (48, 48, 4), "single": (60, 39, 1)}
_WEIGHTS = (4, 4, 3, 1)
_HIGHEST_LIMIT = 4

#: Tasks that may be unfinished before the load waits, and the tasks launched in all.
_BACKLOG = 300
MAX_TASKS = 150_000

#: Seconds after which a lowered limit, a pause or a stored verdict must be visible in the journal: a task that was
#: claimed before may write its first line that much later on a busy machine.
GRACE_S = 1.0

_RETRIES = 3

#: Seconds for which a call is repeated while it fails temporarily.
_PERSISTENCE_S = 30.0


def persist(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call until there is no temporary failure. Raises what the call raised last."""
    deadline = time.monotonic() + _PERSISTENCE_S
    while True:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            names = {base.__name__ for base in type(error).__mro__}
            if not names & {"Temporary", "GateBusy"} or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


class Launcher(Loop):
    """Launches tasks, one by one and in bulk, as long as few are unfinished."""

    def __init__(self, home: TrialHome, chance: Random, subscriber: TrialSubscriber) -> None:
        super().__init__("launcher")
        self._home, self._chance, self._subscriber = home, chance, subscriber
        self._manager = home.manager()
        self.accepted = 0
        self.recent: deque[str] = deque(maxlen=40)
        self.long: deque[str] = deque(maxlen=6)

    @property
    def unfinished(self) -> int:
        """Return how many accepted tasks have not been reported to have ended."""
        return self.accepted - len(self._subscriber.ended)

    def step(self) -> None:
        """Launch once, or wait for tasks to end."""
        if self.unfinished > _BACKLOG or self.accepted >= MAX_TASKS:
            return time.sleep(0.01)
        count = self._chance.choice((1, 1, 1, 1, 1, 1, 8, 40))
        key = self._chance.choices(list(LIMITS), _WEIGHTS)[0]
        launches = [self._draw(key) for _ in range(count)]
        persist(self._manager.launch_many, launches)
        for launch in launches:
            self._remember(launch)
        return time.sleep(self._chance.uniform(0, 0.004))

    def _remember(self, launch: dict[str, Any]) -> None:
        metadata = launch["metadata"]
        self._home.note("launched", launch["id"], launch["retries"], metadata["failures"])
        self.accepted += 1
        (self.long if metadata["long"] else self.recent).append(launch["id"])

    def _draw(self, key: str) -> dict[str, Any]:
        kind = self._chance.choices(("call", "command", "long"), _SHARES[key])[0]
        fields = call_fields if kind == "call" or (kind == "long" and self._chance.random() < 0.5) else command_fields
        failures, retries = self._draw_failures()
        return launch_fields(
            self._home,
            key,
            self._chance,
            **fields(self._home, self._draw_seconds(kind), failures),
            retries=retries,
            priority=self._chance.choice((0, 0, 0, 0, 5, -5)),
            metadata={"failures": failures, "long": kind == "long"},
        )

    def _draw_seconds(self, kind: str) -> float:
        if kind == "long":
            return round(self._chance.uniform(0.5, 2.0), 3)
        return round(self._chance.choice((0.0, self._chance.uniform(0, 0.03))), 4) if kind == "call" else 0.0

    def _draw_failures(self) -> tuple[int, int]:
        """Return how many attempts fail, and how many retries are granted."""
        kind = self._chance.choices(("plain", "failing", "flaky", "patient"), (84, 5, 6, 5))[0]
        return {"plain": (0, 0), "failing": (99, 0), "flaky": (1, _RETRIES), "patient": (0, _RETRIES)}[kind]


class Verdicts(Loop):
    """Cancels, completes and fails tasks, and reports progress on them, from outside."""

    def __init__(self, home: TrialHome, chance: Random, launcher: Launcher) -> None:
        super().__init__("verdicts")
        self._home, self._chance, self._launcher = home, chance, launcher
        self._manager = home.manager()

    def step(self) -> None:
        """Pick a task and use a verb on it."""
        candidates = [*self._chance.choice((self._launcher.recent, self._launcher.long)).copy()]
        if candidates:
            verb = self._chance.choice(("cancel", "cancel", "cancel", "complete", "fail", "progress"))
            self._give(verb, self._chance.choice(candidates))
        time.sleep(self._chance.uniform(0, 0.05))

    def _give(self, verb: str, id: str) -> None:
        self._home.note("asking", id, verb)
        way = self._by_command if self._chance.random() < 0.1 else self._by_library
        if persist(way, verb, id):
            self._home.note(verb, id)

    def _by_library(self, verb: str, id: str) -> bool:
        if verb == "progress":
            return self._report_progress(id)
        more = {"complete": ("verdict",), "fail": ("verdict",)}.get(verb, ())
        return bool(getattr(self._manager, f"{verb}_task")(id, *more))

    def _report_progress(self, id: str) -> bool:
        try:
            with self._home.connect(timeout=5) as client:
                client.call("progress", id=id, text="halfway")
        except Refused:
            return False
        except OSError:  # the flusher died; whether it recorded the progress is not known
            return False
        return True

    def _by_command(self, verb: str, id: str) -> bool:
        more = {"complete": ["--result", "verdict"], "fail": ["--error", "verdict"], "progress": ["halfway"]}
        done = self._home.run(verb, id, *more.get(verb, []))
        if done.returncode not in (0, 5, TEMPORARY):
            raise CommandFailed([verb, id], done)
        return done.returncode == 0


class Controls(Loop):
    """Raises and lowers limits, pauses and resumes keys. Each change is noted so that it holds from its line on."""

    def __init__(self, home: TrialHome, chance: Random) -> None:
        super().__init__("controls")
        self._home, self._chance = home, chance
        self._limits = dict(LIMITS)

    def step(self) -> None:
        """Change one key."""
        key = self._chance.choice(list(LIMITS))
        if self._chance.random() < 0.3:
            self._pause(key)
        else:
            self._limit(key, self._chance.randint(1, _HIGHEST_LIMIT))
        time.sleep(self._chance.uniform(0, 0.2))

    def _limit(self, key: str, limit: int) -> None:
        is_raised = limit >= self._limits[key]
        if is_raised:
            self._home.note("limit", key, limit)
        self._home.must_run("limit", key, str(limit))
        if not is_raised:
            time.sleep(GRACE_S)
            self._home.note("limit", key, limit)
        self._limits[key] = limit

    def _pause(self, key: str) -> None:
        self._home.must_run("pause", key)
        time.sleep(GRACE_S)
        self._home.note("paused", key)
        time.sleep(self._chance.uniform(0.1, 0.5))
        self._home.note("resuming", key)
        self._home.must_run("resume", key)
