"""Kills and stops every role at random under load, and checks I1 to I8 by separate evidence.

    scripts/chaos --seconds 600 --seed 7        ten minutes, at least two kills per second
    scripts/chaos --bug stray --seed 7          with an injected bug, which must be found (exit 0 if it is)
    scripts/chaos --bug all --seconds 12        all five bugs, one after another

The launches and the faults follow from the seed, so that a failure occurs again with it as far as the scheduler of the
system allows. The exit code is 1 after a violation; the folder with all evidence is kept then, and printed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from typing import Any

from scripts.trials.chaos.bugs import BUGS, PATCHES, falsify, inject
from scripts.trials.chaos.check import Evidence, SubscriberRecord, check
from scripts.trials.chaos.faults import FaultInjector, schedule
from scripts.trials.chaos.load import LIMITS, VERDICT
from scripts.trials.chaos.programs import Programs
from scripts.trials.chaos.sampler import Sampler
from tests.helpers.blackbox import Place
from tests.helpers.invariants import Violation
from tests.helpers.journals import Journal
from tests.helpers.processes import Activity, kernel_wait
from tests.helpers.rpc import Refused
from tests.helpers.wait import WaitTimeout, eventually

#: Seconds until the program answers, and until everything has ended after the last fault.
START_TIMEOUT, DRAIN_TIMEOUT = 120.0, 90.0

#: Seconds between two samples; seconds for which the idle roles are observed, and the CPU that they may use.
SAMPLE_EVERY, IDLE_SECONDS, IDLE_CPU = 0.1, 4.0, 0.3

LARGEST_BATCH = 5

SETTINGS = f"""
default_concurrency = 3
max_workers = 8
notification_batch_window_ms = 200
notification_max_batch = {LARGEST_BATCH}
retry_base_ms = 50
retry_max_ms = 300
kill_grace_s = 0.5
worker_idle_s = 2
durability = "{{durability}}"

[model_concurrency]
""" + "".join(f"{json.dumps(group)} = {limit}\n" for group, limit in LIMITS.items())


class Observer(threading.Thread):
    """Takes samples, and completes external tasks."""

    def __init__(self, place: Place, sampler: Sampler) -> None:
        super().__init__(daemon=True)
        self._place, self._sampler = place, sampler
        self._journal = Journal(place.project / "external.journal")
        self.finished = threading.Event()
        self.failures: list[str] = []

    def run(self) -> None:
        """Work until `finished` is set."""
        turn = 0
        while not self.finished.wait(SAMPLE_EVERY):
            turn += 1
            try:
                self._sampler.sample(time.monotonic())
                if turn % 5 == 0:
                    self._complete_external()
            except Exception as error:
                self.failures.append(repr(error))

    def _complete_external(self) -> None:
        for row in self._place.rows("SELECT id FROM tasks WHERE status = 'running' AND agent = 'external'"):
            self._complete(row["id"])

    def _complete(self, id: str) -> None:
        self._journal.note("requesting", act="complete", id=id)
        try:
            with self._place.connect(timeout=3) as client:
                client.call("complete", id=id, result=VERDICT)
        except Refused:
            self._journal.note("refused", act="complete", id=id)
        except OSError:
            return
        else:
            self._journal.note("done", act="complete", id=id)


class Run:
    """One run, from an empty home to its evidence."""

    def __init__(self, options: argparse.Namespace, bug: str) -> None:
        """Prepare the home; nothing is started."""
        self.place = Place.create("chaos")
        self.place.snapshot()
        inject(bug, self.place)
        self.place.configure(SETTINGS.format(durability=options.durability))
        self.options, self.bug = options, bug
        self.subscribers = [
            SubscriberRecord("all", "*", False),
            SubscriberRecord("a", "ses-a", False),
            SubscriberRecord("b", "ses-b", False),
            SubscriberRecord("acknowledging", "ses-c", True),
        ]
        self.programs = Programs(self.place, str(options.seed), options.rate, self.subscribers)
        self.faults = FaultInjector(self.programs)
        self.sampler = Sampler(self.place, self.faults.is_disturbed)
        self.observer = Observer(self.place, self.sampler)
        self.found: list[Violation] = []
        self.evidence: Evidence | None = None

    def go(self) -> list[Violation]:
        """Inject faults under load, let everything end, and return all violations."""
        try:
            self._start()
            self._inject_faults()
            self._drain()
            self._check_idle()
        except WaitTimeout as error:
            self.found.append(Violation("I6", str(error)))
            self._record_state()
        finally:
            self._stop()
        self.evidence = Evidence.read(self.place, self.subscribers, LARGEST_BATCH)
        return [*self.sampler.found.values(), *self.found, *check(self.evidence)]

    def _start(self) -> None:
        eventually(self._is_listening, START_TIMEOUT, "the socket")
        self.programs.keep_running("launcher", "subscriber")
        eventually(self._all_subscribed, START_TIMEOUT, "the subscribers")
        self.observer.start()

    def _is_listening(self) -> bool:
        self.programs.keep_supervised()
        return (self.place.home / "bus.sock").exists()

    def _all_subscribed(self) -> bool:
        paths = [self.place.project / f"subscriber-{one.name}.journal" for one in self.subscribers]
        return all(path.exists() and path.stat().st_size for path in paths)

    def _inject_faults(self) -> None:
        began = time.monotonic()
        for fault in schedule(self.options.seconds, str(self.options.seed)):
            while (now := time.monotonic()) - began < fault.at:
                self.faults.resume(now)
                self.programs.keep_running("launcher", "subscriber")
                time.sleep(max(0.0, min(0.05, began + fault.at - now)))
            self.faults.inject(fault)

    def _drain(self) -> None:
        """Let everything end, with a supervisor and the subscribers, and without launchers."""
        self.programs.kill("launcher")
        eventually(self._has_drained, DRAIN_TIMEOUT, "everything to end")

    def _has_drained(self) -> bool:
        self.faults.resume()
        self.programs.keep_running("subscriber")
        unfinished = self.place.rows("SELECT 1 FROM tasks WHERE status IN ('pending', 'running')")
        unbatched = self.place.rows("SELECT 1 FROM outbox")
        return not unfinished and not unbatched and bool(self.place.role("supervisor"))

    def _record_state(self) -> None:
        """Write down the processes and tasks, for the reader of the evidence."""
        with (self.place.project / "state.txt").open("w") as file:
            for one in self.place.processes():
                print(one, kernel_wait(one.pid), file=file)
            for words in (("status", "--json"), ("list", "--json")):
                print(self.place.run(*words).stdout, file=file)

    def _check_idle(self) -> None:
        """Let the subscribers catch up; then no role works, and no process of a task is left."""
        time.sleep(3.0)
        self.observer.finished.set()
        self.observer.join(10)
        before = {one.pid: Activity.of(one.pid) for one in self.place.processes() if one.role}
        time.sleep(IDLE_SECONDS)
        used = sum(max(0.0, Activity.of(pid).since(was).cpu) for pid, was in before.items())
        print(f"idle for {IDLE_SECONDS:g} s: the roles used {used:.2f} s of CPU")
        if used > IDLE_CPU:
            self.found.append(Violation("I8", f"the roles used {used:.2f} s of CPU in {IDLE_SECONDS:g} s of idleness"))
        for one in self.place.processes():
            if "TRIAL_GROUP" in one.marks:
                self.found.append(Violation("I5", f"{one} of {one.marks['BACKBURNER_TASK_ID']} is left at the end"))

    def _stop(self) -> None:
        self.observer.finished.set()
        self.programs.kill("launcher", "subscriber")
        self.faults.resume()
        down = self.place.run("down", "--now")
        left = [str(one) for one in self.place.processes() if one.role]
        if down.returncode or left:
            self.found.append(Violation("I6", f"down: exit code {down.returncode} {down.stderr.strip()}, left {left}"))
        self.place.kill_all()
        self.programs.log.close()
        falsify(self.bug, self.place.project / "subscriber-a.journal", random.Random(f"bug {self.options.seed}"))

    def report(self, found: list[Violation], seconds: float) -> None:
        """Print the figures and the violations."""
        evidence = self.evidence
        assert evidence is not None, "the run is over"
        kills = self.faults.kills.total()
        received = Counter({one.name: len(one.received) for one in evidence.subscribers})
        ends = Counter(f"{task['status']} {task['error_kind'] or ''}".strip() for task in evidence.tasks.values())
        faults = f"{self.options.seconds:g} s of faults ({seconds:.0f} s in all)"
        print(f"seed {self.options.seed}, {faults}, bug: {self.bug or 'none'}")
        print(f"kills {kills} ({kills / self.options.seconds:.1f}/s): {_listed(self.faults.kills)}")
        print(f"stops {self.faults.stops.total()}: {_listed(self.faults.stops)}")
        acknowledged = len(set(evidence.ids("launched")))
        print(f"tasks {len(evidence.tasks)} ({acknowledged} acknowledged): {_listed(ends)}")
        print(f"events {len(evidence.events)}, received by {_listed(received)}")
        started = sum(line["what"] == "start" for line in evidence.jobs)
        print(f"jobs started {started}, most at once {_listed(self.sampler.most_at_once)}")
        print(f"longest with a dead owner while no role was disturbed: {self.sampler.longest_orphaned:.1f} s")
        failures = self.observer.failures
        print(f"samples {self.sampler.samples}, failed {len(failures)} {failures[:1]}")
        print(f"violations {len(found)}")
        for violation in found[:20]:
            print(f"  {violation}")


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def run(options: argparse.Namespace, bug: str) -> bool:
    """Run once, and return True if nothing was found, or, with a bug, if it was found."""
    began = time.monotonic()
    one = Run(options, bug)
    found = one.go()
    one.report(found, time.monotonic() - began)
    if bug:
        broken = {violation.invariant for violation in found}
        passed = bool(broken & BUGS[bug]) and (bug in PATCHES or broken == BUGS[bug])
        print(f"the bug {bug} was {'found' if passed else 'NOT FOUND'}")
    else:
        passed = not found
    if passed and not options.keep:
        one.place.remove()
    else:
        print(f"the evidence is in {one.place.project}")
    sys.stdout.flush()
    return passed


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="chaos", description="Kill and stop every role at random; check I1 to I8.")
    parser.add_argument("--seconds", type=float, default=60, help="how long faults are injected (60)")
    parser.add_argument("--seed", type=int, default=None, help="(random, printed)")
    parser.add_argument("--rate", type=float, default=2.5, help="launches per second of each of the launchers (2.5)")
    parser.add_argument("--durability", choices=("full", "normal"), default="normal")
    parser.add_argument("--bug", choices=("all", *BUGS), default="", help="inject a bug, which must be found")
    parser.add_argument("--keep", action="store_true", help="keep the evidence")
    found = parser.parse_args(words)
    found.seed = random.SystemRandom().randrange(10**6) if found.seed is None else found.seed
    return found


def main() -> int:
    """Run once, or once for each bug."""
    options = parse(sys.argv[1:])
    print(f"seed {options.seed}", flush=True)
    bugs: list[Any] = list(BUGS) if options.bug == "all" else [options.bug]
    results = [run(options, bug) for bug in bugs]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
