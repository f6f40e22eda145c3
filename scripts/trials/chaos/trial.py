"""Chaos: a home under load whose processes are killed and stopped at random, and a checker that keeps its own books.

    scripts/chaos --seconds 600 --seed 7        ten minutes, at least two kills a second
    scripts/chaos --plant stray --seed 7        with a bug planted: it must be found (exit 0 if it is)
    scripts/chaos --plant all --seconds 12      all five plants, one after the other

What is launched and whom it hits when follows from the seed alone, so a failure comes again with it as far as the
system's scheduler lets it. Exit 1 on a violation; the folder with all books is kept then, and named.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.trials.chaos.bugs import PATCHES, PLANTS, falsify
from scripts.trials.chaos.bugs import plant as sow
from scripts.trials.chaos.check import Books, Ear, Sampler, Violation, check, database
from scripts.trials.chaos.load import LIMITS
from scripts.trials.outside import Journal, Place, Wire, cpu_seconds, nap, send, wait_for

#: Who is hit, and how often beside the others.
ROLES = {
    "worker": 26,
    "task": 8,
    "runner": 10,
    "flusher": 14,
    "supervisor": 14,
    "forkserver": 8,
    "launcher": 10,
    "subscriber": 10,
}

#: Seconds between two blows: more than two kills a second, though one in four only stops.
SHORTEST, LONGEST = 0.12, 0.36
STOPS = 0.25

#: After the storm: seconds until everything must have run out.
DRAIN = 90.0
MOST_IN_BATCH = 5

SETTINGS = f"""
default_concurrency = 3
max_workers = 8
notification_batch_window_ms = 200
notification_max_batch = {MOST_IN_BATCH}
retry_base_ms = 50
retry_max_ms = 300
kill_grace_s = 0.5
worker_idle_s = 2
durability = "{{durability}}"

[model_concurrency]
""" + "".join(f"{json.dumps(group)} = {limit}\n" for group, limit in LIMITS.items())


@dataclass(frozen=True)
class Blow:
    """What happens to whom, and when: decided before anything runs."""

    at: float
    role: str
    pick: float
    stop_s: float | None


def schedule(seconds: float, seed: str) -> list[Blow]:
    """All blows of a run."""
    chance = random.Random(f"blows {seed}")
    found: list[Blow] = []
    at = 1.0
    while at < seconds:
        role = chance.choices(list(ROLES), list(ROLES.values()))[0]
        stop_s = chance.choice((0.05, 0.3, 1.0, 2.0)) if chance.random() < STOPS else None
        found.append(Blow(at, role, chance.random(), stop_s))
        at += chance.uniform(SHORTEST, LONGEST)
    return found


class Crowd:
    """Launchers, subscribers and the supervisor: whoever is dead is started again."""

    def __init__(self, place: Place, seed: str, rate: float, ears: list[Ear]) -> None:
        """Nobody is started yet."""
        self._place, self._seed = place, seed
        launchers = {
            way: ["load", way, str(place.project), "{life}", str(rate), str(place.tree)]
            for way in ("cli", "bus", "api")
        }
        listeners = {ear.name: self._ear(ear) for ear in ears}
        self._words = {**launchers, **listeners}
        self.of_role = {"launcher": list(launchers), "subscriber": list(listeners)}
        self.alive: dict[str, subprocess.Popen[bytes]] = {}
        self.errors = (place.project / "crowd.log").open("ab")
        self._lives: Counter[str] = Counter()
        self._up: subprocess.Popen[bytes] | None = None

    def _ear(self, ear: Ear) -> list[str]:
        journal = self._place.project / f"ear-{ear.name}.journal"
        return ["subscriber", str(self._place.home), str(journal), ear.parent, *(["--ack"] if ear.acks else [])]

    def mind(self, roles: tuple[str, ...] = ("launcher", "subscriber")) -> None:
        """Start whoever is not there."""
        for name in (name for role in roles for name in self.of_role[role]):
            if name not in self.alive or self.alive[name].poll() is not None:
                self._lives[name] += 1
                script, *words = (
                    word.replace("{life}", f"{self._seed} {self._lives[name]}") for word in self._words[name]
                )
                self.alive[name] = self._start(
                    self._place.module(f"chaos.{script}", *words), self._place.module_environment
                )

    def mind_supervisor(self) -> None:
        """As a service manager would."""
        if self._up is not None and self._up.poll() is None:
            return
        if not self._place.role("supervisor"):
            self._up = self._start(self._place.command("up", "--detach"), self._place.environment)

    def _start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=self._place.project,
            stdin=subprocess.DEVNULL,
            stdout=self.errors,
            stderr=self.errors,
        )

    def pids(self, role: str) -> list[int]:
        """Who there is of a role, in a steady order."""
        if role in self.of_role:
            return [
                self.alive[name].pid
                for name in self.of_role[role]
                if name in self.alive and self.alive[name].poll() is None
            ]
        if role == "task":
            return sorted(one.pid for one in self._place.processes() if "SIEGE_GROUP" in one.marks)
        return sorted(one.pid for one in self._place.role(role))

    def dismiss(self, role: str) -> None:
        """End all of a role."""
        for name in self.of_role[role]:
            if name in self.alive:
                self.alive.pop(name).kill()


class Storm:
    """Carries out the schedule."""

    def __init__(self, crowd: Crowd) -> None:
        """Hit these."""
        self._crowd = crowd
        self.kills: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self.disturbed_at = 0.0
        self._stopped: list[tuple[float, int]] = []

    def strike(self, blow: Blow) -> None:
        """One blow; at somebody else, where nobody plays that role now."""
        for role in (blow.role, "worker", "flusher", "subscriber"):
            pids = self._crowd.pids(role)
            if pids:
                self._hit(role, pids[int(blow.pick * len(pids))], blow.stop_s)
                return

    def _hit(self, role: str, pid: int, stop_s: float | None) -> None:
        if role in ("supervisor", "forkserver") or stop_s is not None:
            self.disturbed_at = time.monotonic() + (stop_s or 0.0)
        if stop_s is None and send(pid, signal.SIGKILL):
            self.kills[role] += 1
        elif stop_s is not None and send(pid, signal.SIGSTOP):
            self.stops[role] += 1
            self._stopped.append((time.monotonic() + stop_s, pid))

    def release(self, now: float) -> None:
        """Continue those who have been stopped for long enough."""
        for at, pid in list(self._stopped):
            if at <= now:
                self._stopped.remove((at, pid))
                send(pid, signal.SIGCONT)

    def disturbed(self) -> bool:
        """Whether a supervisor or a fork server, or anybody by a stop, was hit just now."""
        return time.monotonic() - self.disturbed_at < 3.0


class Watch(threading.Thread):
    """Samples all the time, and is the outside of the work that is done outside."""

    def __init__(self, place: Place, sampler: Sampler) -> None:
        """Start it with `start`, end it with `over`."""
        super().__init__(daemon=True)
        self._place, self._sampler = place, sampler
        self._journal = Journal(place.project / "outside.journal")
        self.over = threading.Event()
        self.trouble: list[str] = []

    def run(self) -> None:
        """Look until told to end."""
        turn = 0
        while not self.over.wait(0.1):
            turn += 1
            try:
                self._sampler.look(time.monotonic())
                if turn % 5 == 0:
                    self._work()
            except Exception as error:
                self.trouble.append(repr(error))

    def _work(self) -> None:
        with closing(database(self._place.home)) as connection:
            ids = [
                row["id"]
                for row in connection.execute("SELECT id FROM tasks WHERE status = 'running' AND agent = 'external'")
            ]
        for id in ids:
            self._complete(id)

    def _complete(self, id: str) -> None:
        self._journal.note("asking", act="complete", id=id)
        try:
            wire = Wire(self._place.home, patience=3)
            answer = wire.call("complete", id=id, result="said so")
            wire.close()
        except OSError:
            return
        self._journal.note("done" if "result" in answer else "not", act="complete", id=id)


class Run:
    """One run, from an empty home to its books."""

    def __init__(self, options: argparse.Namespace, plant: str) -> None:
        """Prepare the home."""
        self.place = Place("chaos")
        self.place.snapshot()
        sow(plant, self.place)
        self.place.configure(SETTINGS.format(durability=options.durability))
        self.options, self.plant = options, plant
        self.ears = [
            Ear("all", "*", False),
            Ear("a", "ses-a", False),
            Ear("b", "ses-b", False),
            Ear("acks", "ses-c", True),
        ]
        self.crowd = Crowd(self.place, str(options.seed), options.rate, self.ears)
        self.storm = Storm(self.crowd)
        self.sampler = Sampler(self.place, self.storm.disturbed)
        self.watch = Watch(self.place, self.sampler)
        self.late: list[Violation] = []
        self.books: Books | None = None

    def go(self) -> list[Violation]:
        """Load, storm, calm, judgement; what was found."""
        try:
            self._begin()
            self._rage()
            self._calm()
            self._look_at_rest()
        except TimeoutError as error:
            self.late.append(Violation("I6", str(error)))
            self._autopsy()
        finally:
            self._end()
        self.books = Books.of(self.place, self.ears, MOST_IN_BATCH)
        return [*self.sampler.found.values(), *self.late, *check(self.books)]

    def _begin(self) -> None:
        self.crowd.mind_supervisor()
        wait_for("the bus", 120, self._answers)
        self.crowd.mind()
        wait_for("the subscribers", 120, self._all_listen)
        self.watch.start()

    def _answers(self) -> bool:
        self.crowd.mind_supervisor()
        return (self.place.home / "bus.sock").exists()

    def _all_listen(self) -> bool:
        paths = [self.place.project / f"ear-{ear.name}.journal" for ear in self.ears]
        return all(path.exists() and path.stat().st_size for path in paths)

    def _rage(self) -> None:
        begun = time.monotonic()
        for blow in schedule(self.options.seconds, str(self.options.seed)):
            while (now := time.monotonic()) - begun < blow.at:
                self.storm.release(now)
                self.crowd.mind()
                self.crowd.mind_supervisor()
                nap(min(0.05, begun + blow.at - now))
            self.storm.strike(blow)

    def _calm(self) -> None:
        """Let everything run out, with a supervisor and with the subscribers, and nobody who launches."""
        self.crowd.dismiss("launcher")
        self.storm.release(float("inf"))
        wait_for("everything to run out", DRAIN, self._has_run_out)

    def _has_run_out(self) -> bool:
        self.storm.release(float("inf"))
        self.crowd.mind(("subscriber",))
        self.crowd.mind_supervisor()
        with closing(database(self.place.home)) as connection:
            left = connection.execute("SELECT count(*) FROM tasks WHERE status IN ('pending', 'running')").fetchone()[0]
            waiting = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
        return not left and not waiting and bool(self.place.role("supervisor"))

    def _autopsy(self) -> None:
        """Write down how it stands, for whoever reads the books."""
        with (self.place.project / "autopsy.txt").open("w") as file:
            for one in self.place.processes():
                waits = [(Path(f"/proc/{one.pid}") / name).read_text() for name in ("wchan", "syscall")]
                print(one, *waits, file=file)
            for words in (("status", "--json"), ("list", "--json")):
                print(self.place.run(*words).stdout, file=file)

    def _look_at_rest(self) -> None:
        """The subscribers catch up; then nobody works any more, and nobody of any task is left."""
        nap(3.0)
        self.watch.over.set()
        self.watch.join(10)
        roles = [one for one in self.place.processes() if one.name.startswith("bb-")]
        before = {one.who: cpu_seconds(one.pid) for one in roles}
        nap(4.0)
        used = sum(cpu_seconds(pid) - seconds for (pid, _), seconds in before.items())
        print(f"idle for 4 s: the roles used {used:.2f} s of CPU")
        if used > 0.3:
            self.late.append(
                Violation("I8", f"the roles used {used:.2f} s of CPU in 4 s in which there was nothing to do")
            )
        for one in self.place.processes():
            if "SIEGE_GROUP" in one.marks:
                self.late.append(
                    Violation("I5", f"{one.pid} of {one.marks['BACKBURNER_TASK_ID']} is still there at the end")
                )

    def _end(self) -> None:
        self.watch.over.set()
        self.crowd.dismiss("launcher")
        self.crowd.dismiss("subscriber")
        self.storm.release(float("inf"))
        down = self.place.run("down", "--now", patience=60)
        left = [one for one in self.place.processes() if one.name.startswith("bb-")]
        if down.returncode or left:
            self.late.append(Violation("I6", f"down: exit {down.returncode} {down.stderr.strip()}, left {left}"))
        self.place.kill_all()
        self.crowd.errors.close()
        falsify(self.plant, self.place.project / "ear-a.journal", random.Random(f"plant {self.options.seed}"))

    def report(self, found: list[Violation], seconds: float) -> None:
        """Print what happened."""
        books = self.books
        assert books is not None
        kills = sum(self.storm.kills.values())
        print(
            f"seed {self.options.seed}, {self.options.seconds:g} s of storm ({seconds:.0f} s in all),",
            f"plant: {self.plant or 'none'}",
        )
        print(f"kills {kills} ({kills / self.options.seconds:.1f}/s): {_by_role(self.storm.kills)}")
        print(f"stops {sum(self.storm.stops.values())}: {_by_role(self.storm.stops)}")
        acknowledged = len({line["id"] for line in books.launches if line["what"] == "launched"})
        ends = Counter(f"{task['status']} {task['error_kind'] or ''}".strip() for task in books.tasks.values())
        print(f"tasks {len(books.tasks)} ({acknowledged} acknowledged): {_by_role(ends)}")
        print(
            f"events {len(books.events)}, heard {_by_role(Counter({ear.name: len(ear.heard) for ear in books.ears}))}"
        )
        started = sum(line["what"] == "start" for line in books.jobs)
        print(f"jobs run {started}, most at once {_by_role(self.sampler.most)}")
        print(f"longest without an owner, while all was calm: {self.sampler.longest:.1f} s")
        print(f"samples {self.sampler.samples}, failed {len(self.watch.trouble)} {self.watch.trouble[:1]}")
        print(f"violations {len(found)}")
        for violation in found[:20]:
            print(f"  {violation}")


def _by_role(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def run(options: argparse.Namespace, plant: str) -> bool:
    """One run; whether it came out as it should: nothing found, or what was planted."""
    begun = time.monotonic()
    one = Run(options, plant)
    found = one.go()
    one.report(found, time.monotonic() - begun)
    if plant:
        broken = {violation.invariant for violation in found}
        well = bool(broken & PLANTS[plant]) and (plant in PATCHES or broken == PLANTS[plant])
        print(f"the plant {plant} was {'found' if well else 'NOT FOUND'}")
    else:
        well = not found
    if well and not options.keep:
        one.place.remove()
    else:
        print(f"the books are in {one.place.project}")
    sys.stdout.flush()
    return well


def options_of(words: list[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description="Kill and stop every role at random under load; check I1 to I8 from outside."
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rate", type=float, default=2.5, help="launches a second of each of the three launchers")
    parser.add_argument("--durability", choices=("full", "normal"), default="normal")
    parser.add_argument("--plant", choices=("all", *PLANTS), default="")
    parser.add_argument("--keep", action="store_true", help="keep the books")
    found = parser.parse_args(words)
    found.seed = random.SystemRandom().randrange(10**6) if found.seed is None else found.seed
    return found


def main() -> int:
    """Run once, or once for each plant."""
    options = options_of(sys.argv[1:])
    print(f"seed {options.seed}", flush=True)
    plants: list[Any] = list(PLANTS) if options.plant == "all" else [options.plant]
    results = [run(options, plant) for plant in plants]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
