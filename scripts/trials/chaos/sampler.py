"""Samples of the process table and the database, taken side by side while scripts/chaos kills and stops processes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from scripts.trials.chaos.load import LIMITS
from tests.helpers.blackbox import Place
from tests.helpers.invariants import Violation
from tests.helpers.journals import Tail
from tests.helpers.processes import Process

Facts = dict[str, Any]
Processes = dict[tuple[int, int], Process]

_TASKS = "SELECT id, status, claim, limit_group, owner, slot FROM tasks"
_OWNERS = "SELECT number, pid, ticks FROM processes"


class OpenJobs:
    """The jobs that have started and not ended, by their journal."""

    def __init__(self, place: Place) -> None:
        self._tail = Tail(place.project / "jobs.journal")
        self._open: dict[int, Facts] = {}

    def read(self) -> list[Facts]:
        """Return the first line of each open job."""
        for line in map(json.loads, self._tail.new_lines()):
            if line["what"] == "start":
                self._open[line["claim"]] = line
            else:
                self._open.pop(line["claim"], None)
        return list(self._open.values())


class Sampler:
    """Compares processes and rows again and again, and keeps each violation once."""

    #: Seconds for which a task may have a dead owner while no role was disturbed. A rescue takes a fraction of that, as
    #: is printed; a task that is forgotten keeps its dead owner for ever.
    RESCUE_TIMEOUT = 10.0

    #: Seconds for which the supervisor and the fork server must have been the same before that counts.
    SETTLED_AFTER = 3.0

    def __init__(self, place: Place, is_disturbed: Callable[[], bool]) -> None:
        """`is_disturbed` returns True if a role on which rescues depend was killed or stopped a moment ago."""
        self._place = place
        self._jobs = OpenJobs(place)
        self._is_disturbed = is_disturbed
        self._orphaned: dict[int, float] = {}
        self._last: float | None = None
        self._leaders: set[tuple[int, int]] = set()
        self._leaders_since = 0.0
        self.longest_orphaned = 0.0
        self.samples = 0
        self.most_at_once: Counter[str] = Counter()
        self.found: dict[str, Violation] = {}

    def sample(self, now: float) -> None:
        """Look at the process table, the database, and the process table again."""
        before = self._processes()
        jobs = self._jobs.read()
        tasks = {row["id"]: dict(row) for row in self._place.rows(_TASKS)}
        owners = {row["number"]: (row["pid"], row["ticks"]) for row in self._place.rows(_OWNERS)}
        after = self._processes()
        both = {identity: one for identity, one in after.items() if identity in before}
        self._note_leaders(both, now)
        self._check_limits_of_processes(both, jobs)
        self._check_limits_of_rows(tasks)
        self._check_strays(both, tasks)
        self._check_owners(tasks, owners, both, now)
        self.samples += 1

    def _processes(self) -> Processes:
        return {one.identity: one for one in self._place.processes()}

    def _note_leaders(self, both: Processes, now: float) -> None:
        leaders = {identity for identity, one in both.items() if one.role in ("supervisor", "forkserver")}
        if leaders != self._leaders or len(leaders) < 2:
            self._leaders, self._leaders_since = leaders, now

    def _add(self, key: str, invariant: str, text: str) -> None:
        self.found.setdefault(key, Violation(invariant, text))

    def _check_limits_of_processes(self, both: Processes, jobs: list[Facts]) -> None:
        """I4: a process that is in both looks, and in the journal between them, lived all the time between."""
        for group, claims in self._running(both, jobs).items():
            self.most_at_once[group] = max(self.most_at_once[group], len(claims))
            if LIMITS[group] and len(claims) > LIMITS[group]:
                text = f"{len(claims)} claims of {group} had processes at once, the limit is {LIMITS[group]}"
                self._add(f"process {group}", "I4", f"{text}: {sorted(claims)}")

    def _running(self, both: Processes, jobs: list[Facts]) -> dict[str, set[str]]:
        """Return the claims of each group that had processes: their own, or a runner according to its journal."""
        found: dict[str, set[str]] = defaultdict(set)
        for one in both.values():
            if "TRIAL_GROUP" in one.marks and "TRIAL_LEAVES_CHILDREN" not in one.marks:
                found[one.marks["TRIAL_GROUP"]].add(one.marks["BACKBURNER_CLAIM"])
        runners = {identity for identity, one in both.items() if one.role == "runner"}
        still_open = {(line["pid"], line["claim"]) for line in self._jobs.read()}
        for line in jobs:
            if (line["pid"], line["ticks"]) in runners and (line["pid"], line["claim"]) in still_open:
                found[line["group"]].add(str(line["claim"]))
        return found

    def _check_limits_of_rows(self, tasks: dict[str, Facts]) -> None:
        """I4: no more rows of a group are running than its limit allows."""
        running = Counter(task["limit_group"] for task in tasks.values() if task["status"] == "running")
        for group, count in running.items():
            if LIMITS.get(group) and count > LIMITS[group]:
                self._add(f"row {group}", "I4", f"{count} rows of {group} are running, the limit is {LIMITS[group]}")

    def _check_strays(self, both: Processes, tasks: dict[str, Facts]) -> None:
        """I5: no process lives on when its claim was over before it was looked at."""
        for one in both.values():
            task = tasks.get(one.marks.get("BACKBURNER_TASK_ID", ""))
            is_task = "TRIAL_GROUP" in one.marks and "TRIAL_LEAVES_CHILDREN" not in one.marks
            if task is None or task["claim"] is None or not is_task:
                continue
            claim = int(one.marks["BACKBURNER_CLAIM"])
            if claim < task["claim"] or (claim == task["claim"] and task["status"] != "running"):
                text = f"{one.pid} ({one.name}) of {task['id']} lives, and its claim {claim} is over"
                self._add(f"stray {claim}", "I5", text)

    def _check_owners(self, tasks: dict[str, Facts], owners: dict[int, Any], living: Processes, now: float) -> None:
        """I6: no task keeps a dead owner for long, unless the roles that would rescue it were disturbed."""
        is_calm = self._last is not None and not self._is_disturbed() and now - self._leaders_since > self.SETTLED_AFTER
        passed = min(now - (self._last or now), 0.5) if is_calm else 0.0
        self._last = now
        orphans = {
            task["claim"]: task["id"]
            for task in tasks.values()
            if task["status"] == "running" and task["owner"] is not None and owners.get(task["owner"]) not in living
        }
        self._orphaned = {claim: self._orphaned.get(claim, 0.0) + passed for claim in orphans}
        self.longest_orphaned = max([self.longest_orphaned, *self._orphaned.values()])
        for claim, seconds in self._orphaned.items():
            if seconds > self.RESCUE_TIMEOUT:
                self._add(f"owner {claim}", "I6", f"{orphans[claim]} (claim {claim}) still runs with a dead owner")
