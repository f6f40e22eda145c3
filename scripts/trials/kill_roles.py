"""Kill random processes of every role under load, then check that no task was lost, repeated, mixed up or left behind.

    scripts/trials/kill_roles --kills 500 --seed 7
    scripts/trials/kill_roles --short                  90 kills, about 40 seconds

The load, the roles and the times of the kills follow from the seed; what a kill interrupts depends on the scheduler.
The exit code is 1 on a violation; the directory with the journal and the database is kept then.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scripts.trials.chaos.bugs import PATCHES, inject
from scripts.trials.kill_checks import Evidence, lost_tasks, violations
from scripts.trials.kill_load import LIMITS, Controls, Launcher, Verdicts
from scripts.trials.trial_home import Feedback, Line, Loop, TrialHome, TrialSubscriber, exit_on_sigterm, read_lines
from tests.helpers.blackbox import ROOT
from tests.helpers.journals import Tail
from tests.helpers.processes import send_signal
from tests.helpers.wait import WaitTimeout, eventually

#: The roles, by the names of their processes without `bb-`, and how often each is killed beside the others.
ROLES = {"worker": 30, "runner": 28, "flusher": 16, "supervisor": 14, "forkserver": 12}

#: Seconds between two kills, and the mean number of seconds that a kill may take before the trial ends early.
_SHORTEST, _LONGEST = 0.03, 0.3
_MEAN_LIMIT = 1.0

_SCAN_EVERY = 0.1
_DRAIN_TIMEOUT = 120.0
_MAX_OUTPUTS = 3000

_SETTINGS = """
max_workers = 10
notification_batch_window_ms = 200
retry_base_ms = 20
retry_max_ms = 200
kill_grace_s = 0.5
worker_idle_s = 2
durability = "normal"

[model_concurrency]
""" + "".join(f"{key} = {limit}\n" for key, limit in LIMITS.items())


class Scanner:
    """Notes, again and again, which claims have living processes, apart from those of the program itself."""

    def __init__(self, home: TrialHome) -> None:
        self._home = home
        self._next = 0.0
        self.scans = 0

    def scan_when_due(self) -> None:
        """Look at the process table, if the last look is long enough ago."""
        if time.monotonic() < self._next:
            return
        self._home.note("scan", self.scans)
        marks = [one.marks for one in self._home.processes() if one.role is None]
        claims = {f"{mark['BACKBURNER_CLAIM']}:{mark['TRIAL_KEY']}" for mark in marks if "BACKBURNER_CLAIM" in mark}
        if claims:
            self._home.note("alive", *sorted(claims))
        self.scans += 1
        self._next = time.monotonic() + _SCAN_EVERY


class KillTrial:
    """One trial, from an empty state directory to its evidence."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Prepare the state directory and the threads; nothing is started."""
        self.options = options
        self.home = TrialHome.create("kill", options.tree)
        inject(options.bug, self.home)
        self.home.configure(_SETTINGS)
        self.kills: Counter[str] = Counter()
        self._chance = random.Random(f"kills {options.seed}")
        self.subscriber = TrialSubscriber(self.home)
        self.launcher = Launcher(self.home, self._random("launches"), self.subscriber)
        self._load_threads: list[Loop] = [
            self.launcher,
            Verdicts(self.home, self._random("verdicts"), self.launcher),
            Controls(self.home, self._random("controls")),
        ]
        self.scanner = Scanner(self.home)
        self._feedback = Feedback()

    def _random(self, name: str) -> random.Random:
        return random.Random(f"{name} {self.options.seed}")

    def run(self) -> Evidence:
        """Run the trial. Raises WaitTimeout if it does not become quiet, and what a thread raised."""
        self.home.keep_supervised()
        eventually((self.home.home / "bus.sock").exists, 60, "the socket")
        self.subscriber.start()
        for thread in self._load_threads:
            thread.start()
        self._kill_at_random()
        self._become_quiet()
        return self._collect()

    def _kill_at_random(self) -> None:
        deadline = time.monotonic() + self.options.kills * _MEAN_LIMIT
        next_kill = time.monotonic() + 1.0
        while self.kills.total() < self.options.kills and time.monotonic() < deadline:
            self._turn("killing")
            if time.monotonic() >= next_kill:
                self._kill_one()
                next_kill = time.monotonic() + self._chance.uniform(_SHORTEST, _LONGEST)
            time.sleep(0.005)

    def _turn(self, phase: str) -> None:
        """Keep the supervisor running, scan, print, and stop at a failure of a thread."""
        self.home.keep_supervised()
        self.scanner.scan_when_due()
        self.subscriber.check()
        for thread in self._load_threads:
            thread.check()
        self._feedback.show(
            f"{phase}: {self.kills.total()} kills, {self.launcher.accepted} tasks accepted,"
            f" {len(self.subscriber.ended)} ended"
        )

    def _kill_one(self) -> None:
        role = self._chance.choices(list(ROLES), list(ROLES.values()))[0]
        processes = self.home.role(role)
        if processes and send_signal(self._chance.choice(processes).pid, signal.SIGKILL):
            self.kills[role] += 1

    def _become_quiet(self) -> None:
        """End the load, and wait until every accepted task has ended and every batch was delivered."""
        for thread in self._load_threads:
            self._finish(thread)
        self._until(lambda: self.launcher.unfinished == 0, "tasks to end")
        with self.home.connect() as client:
            client.call("flush")
        last = {"seq": -1, "at": 0.0}
        self._until(lambda: self._is_silent(last), "the last events")

    def _finish(self, thread: Loop) -> None:
        thread.finished.set()
        self._until(lambda: not thread.is_alive(), f"{thread.name} to finish")
        thread.finish()

    def _until(self, predicate: Callable[[], object], what: str) -> None:
        """Wait with turns in between."""

        def is_met() -> object:
            self._turn(f"waiting for {what}")
            return predicate()

        eventually(is_met, _DRAIN_TIMEOUT, lambda: f"{what}; unfinished: {self.launcher.unfinished}")

    def _is_silent(self, last: dict[str, float]) -> bool:
        """Return True if no event has been delivered for a second."""
        if self.subscriber.last_seq != last["seq"]:
            last.update(seq=self.subscriber.last_seq, at=time.monotonic())
        return time.monotonic() > last["at"] + 1.0

    def explain(self) -> None:
        """Print the state of the program and of some tasks that have not ended."""
        lines = self._lines()
        waiting = [line.id for line in lines if line.word == "launched" and line.id not in self.subscriber.ended]
        for id in waiting[:5]:
            print([" ".join((line.word, *line.words)) for line in lines if id in line.words])
            print(self.home.run("show", id).stdout)
        print(self.home.run("status").stdout)

    def _lines(self) -> list[Line]:
        return read_lines(Tail(self.home.journal))

    def _collect(self) -> Evidence:
        """Read outputs, stop the program, and read the database when no process uses it any more."""
        outputs = self._outputs()
        remaining = [one for one in self.home.processes() if one.role is None]
        self.subscriber.close()
        self.subscriber.check()
        self.home.stop()
        with suppress(WaitTimeout):  # what is left then is a violation
            eventually(lambda: not self.home.processes(), 5)
        evidence = Evidence.read(self.home)
        evidence.delivered, evidence.outputs, evidence.kills = self.subscriber.delivered, outputs, self.kills
        evidence.remaining = remaining + self.home.processes()
        return evidence

    def _outputs(self) -> dict[str, str]:
        """Return what some of the tasks printed, read by the library and, of a few, by the command line."""
        ids = sorted({line.id for line in self._lines() if line.word == "launched"})
        self._chance.shuffle(ids)
        with self.home.manager() as manager:
            found = {id: manager.output(id) for id in ids[:_MAX_OUTPUTS]}
        return found | {id: self.home.must_run("output", id) for id in ids[:3]}

    def keep(self) -> None:
        """End every process, and print where the evidence is."""
        self.home.kill_all()
        print(f"the evidence is in {self.home.project}")


def report(evidence: Evidence, trial: KillTrial, seconds: float) -> list[str]:
    """Print the figures and every violation, and return the violations."""
    lost, finished = lost_tasks(evidence)
    share = len(lost) / max(1, len(evidence.tasks))
    ends = Counter(f"{task['status']} {task['error_kind'] or ''}".strip() for task in evidence.tasks.values())
    print(f"seed {trial.options.seed}, {seconds:.0f} s, {evidence.kills.total()} kills: {listed(evidence.kills)}")
    print(f"tasks {len(evidence.tasks)}: {listed(ends)}")
    print(f"lines of tasks and controls: {listed(Counter(line.word for line in evidence.lines))}")
    print(f"events {len(evidence.events)}, delivered {len(evidence.delivered)}", end=" ")
    print(f"over {trial.subscriber.connections} connections; outputs compared: {len(evidence.outputs)}")
    print(f"lost {len(lost)} ({share:.2%}), of which {len(finished)} had finished by their own last line")
    found = list(violations(evidence))
    print(f"violations {len(found)}")
    for text in found[:30]:
        print(f"  {text[:600]}")
    return found


def listed(counts: Counter[str]) -> str:
    """Return counts as text, the highest first."""
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="kill_roles", description="Kill random processes of every role under load.")
    parser.add_argument("--kills", type=int, default=500, metavar="N", help="processes to kill (500)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="(random, printed)")
    parser.add_argument("--short", action="store_true", help="90 kills, about 40 seconds")
    parser.add_argument("--tree", type=Path, default=ROOT, metavar="DIR", help="the source tree to try (this one)")
    parser.add_argument("--bug", choices=("", *PATCHES), default="", help="inject a bug, which must be found")
    parser.add_argument("--keep", action="store_true", help="keep the directory")
    options = parser.parse_args(words)
    options.kills = 90 if options.short else options.kills
    return options


def main() -> int:
    """Return 0 if there was no violation, or, with an injected bug, if there was one."""
    exit_on_sigterm()
    options = parse(sys.argv[1:])
    print(f"seed {options.seed}", flush=True)
    begun = time.monotonic()
    trial = KillTrial(options)
    try:
        found = report(trial.run(), trial, time.monotonic() - begun)
    except BaseException:
        trial.explain()
        trial.keep()
        raise
    if found or options.keep:
        trial.keep()
    else:
        trial.home.remove()
    return 1 if bool(found) != bool(options.bug) else 0


if __name__ == "__main__":
    sys.exit(main())
