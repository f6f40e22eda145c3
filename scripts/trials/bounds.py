"""Measure how soon verbs take effect while a long queue of short tasks keeps two slots busy.

    scripts/trials/bounds                      every measure, for short calls and for short commands
    scripts/trials/bounds cancel pause         these measures
    scripts/trials/bounds --short              fewer samples, about 40 seconds

A measure is repeated up to three times before its bound counts as broken, because other programs may disturb it;
what must never happen counts at once. All figures are printed. The exit code is 1 if a bound is broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.trials import trial_task
from scripts.trials.trial_home import (
    Feedback,
    Line,
    TrialHome,
    TrialSubscriber,
    call_fields,
    command_fields,
    exit_on_sigterm,
    launch_fields,
    read_lines,
)
from tests.helpers.blackbox import ROOT
from tests.helpers.invariants import ENDED, PROGRESS, STARTED
from tests.helpers.journals import Tail
from tests.helpers.wait import eventually

_SLOTS = 2
_ATTEMPTS = 3
_QUEUE = 2000

#: The number of tasks that wait, below which the queue is filled up.
_RESERVE = 400

#: Seconds that a short call lasts; a command lasts as long as its processes need.
_CALL_S = 0.001

#: Seconds that a long task lasts, and the short tasks that are launched right behind it.
_LONG_S = 0.4
_BEHIND_LONG = 4

#: Milliseconds.
_SOON, _PAUSED, _LIMITED = 100.0, 50.0, 100.0

#: Seconds for which starts are looked for after a pause or a lowered limit.
_WATCH_S = 0.4
_TIMEOUT = 60.0

_SETTINGS = f"""
default_concurrency = {_SLOTS}
max_workers = 8
notification_batch_window_ms = 200
durability = "normal"
"""

KINDS: dict[str, Callable[[TrialHome, float], dict[str, Any]]] = {"calls": call_fields, "commands": command_fields}


@dataclass
class Result:
    """The samples of a measure in milliseconds, the bound, and what must never happen but did."""

    samples: list[float]
    bound: float
    quantile: float = 0.95
    faults: list[str] = field(default_factory=list)
    remark: str = ""

    @property
    def is_within(self) -> bool:
        """Return True if there are samples and their quantile is within the bound."""
        return bool(self.samples) and self.at(self.quantile) <= self.bound

    def at(self, quantile: float) -> float:
        """Return a quantile of the samples."""
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]

    def __str__(self) -> str:
        if not self.samples:
            return f"no samples {self.remark}"
        figures = f"p50 {self.at(0.5):.1f}, p95 {self.at(0.95):.1f}, max {max(self.samples):.1f} ms"
        where = f"at p{self.quantile * 100:.0f}" if self.quantile < 1 else "at most"
        return f"{figures} of {len(self.samples)} (bound {self.bound:g} ms {where}) {self.remark}".rstrip()


class Record:
    """The trial's journal, with the start and the end of each task by its id."""

    def __init__(self, journal: Path) -> None:
        self._tail = Tail(journal)
        self.lines: list[Line] = []
        self.starts: dict[str, Line] = {}
        self.ends: dict[str, Line] = {}

    def update(self) -> None:
        """Read what was appended."""
        for line in read_lines(self._tail):
            self.lines.append(line)
            if line.is_start:
                self.starts[line.id] = line
            elif line.is_end:
                self.ends[line.id] = line

    def of_key(self, key: str) -> list[Line]:
        """Return the lines of a key's tasks, in the order in which they were written."""
        return [line for line in self.lines if (line.is_start or line.is_end) and line.key == key]

    def word_of(self, word: str, id: str) -> Line | None:
        """Return a task's line with this word."""
        return next((line for line in self.lines if line.word == word and line.id == id), None)


class Bench:
    """A running supervisor, a subscriber, and the journal that tasks write."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Start everything. Raises WaitTimeout."""
        self.options = options
        self.home = TrialHome.create("bounds", options.tree)
        self.home.configure(_SETTINGS)
        self.chance = random.Random(options.seed)
        self.manager = self.home.manager()
        self.record = Record(self.home.journal)
        self.subscriber = TrialSubscriber(self.home)
        self.feedback = Feedback()
        self.activity = "starting"
        self.home.keep_supervised()
        self.until("the socket", (self.home.home / "bus.sock").exists)
        self.subscriber.start()
        self._queues = 0

    def until(self, what: str, predicate: Callable[[], object]) -> None:
        """Wait for a condition, and print the current activity. Raises WaitTimeout."""

        def is_met() -> object:
            self.subscriber.check()
            self.feedback.show(f"{self.activity}: waiting for {what}")
            return predicate()

        eventually(is_met, _TIMEOUT, f"{what} ({self.activity})")

    def watch(self) -> None:
        """Let the tasks run for a while, and read what they noted."""
        self.feedback.show(self.activity)
        time.sleep(_WATCH_S)
        self.record.update()

    def started(self, id: str) -> bool:
        """Return True if a task has started."""
        self.record.update()
        return id in self.record.starts

    def samples(self, full: int) -> Iterator[int]:
        """Count up to the number of samples, which is smaller in the short form."""
        for number in range(full // 2 if self.options.short else full):
            self.feedback.show(f"{self.activity}: sample {number + 1}")
            yield number

    def queue(self, kind: str, length: int = _QUEUE) -> Queue:
        """Return a new queue with its own key, in which tasks are running."""
        self._queues += 1
        queue = Queue(self, kind, f"{kind}-{self._queues}")
        queue.launch_short(length)
        self.until("the first tasks", lambda: queue.position() > 2 * _SLOTS)
        return queue

    def close(self) -> None:
        """Stop everything and delete the directory."""
        self.subscriber.close()
        self.subscriber.check()
        self.manager.close()
        self.home.stop()
        self.home.remove()


class Queue:
    """Short tasks of one key, which start in the order of `ids`."""

    def __init__(self, bench: Bench, kind: str, key: str) -> None:
        self.bench, self.kind, self.key = bench, kind, key
        self.ids: list[str] = []
        self._position = 0

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the rest of the tasks pending."""
        self.command("pause")

    def command(self, verb: str, *more: str) -> float:
        """Use `pause`, `resume` or `limit` by the command line, and return the time at which it had returned."""
        self.bench.home.must_run(verb, self.key, *more)
        return time.time()

    def fields(self, seconds: float | None = None, **more: Any) -> dict[str, Any]:
        """Return the fields of a task of this queue; without `seconds` it is a short one."""
        seconds = seconds if seconds is not None else (_CALL_S if self.kind == "calls" else 0.0)
        work = {} if "call" in more or "command" in more else KINDS[self.kind](self.bench.home, seconds)
        return launch_fields(self.bench.home, self.key, self.bench.chance, **work, **more)

    def launch(self, launches: list[dict[str, Any]]) -> list[str]:
        """Launch tasks in one transaction, and return their ids."""
        return [task.id for task in self.bench.manager.launch_many(launches)]

    def launch_short(self, count: int) -> None:
        """Append short tasks to the queue."""
        self.ids += self.launch([self.fields() for _ in range(count)])

    def position(self) -> int:
        """Return the position in the queue behind the last task that has started."""
        self.bench.record.update()
        for place in range(self._position, len(self.ids)):
            if self.ids[place] in self.bench.record.starts:
                self._position = place + 1
        return self._position

    def fill_up(self) -> int:
        """Launch more tasks if few are left, and return the position."""
        if len(self.ids) - self.position() < _RESERVE:
            self.launch_short(_QUEUE // 2)
        return self.position()

    def until_running(self) -> None:
        """Wait for tasks to start."""
        before = self.fill_up()
        self.bench.until("tasks to start", lambda: self.position() > before + 2 * _SLOTS)


def measure_cancel(bench: Bench, kind: str) -> Result:
    """`cancel` of a task just before its turn returns soon, and no task that is called cancelled runs."""
    result = Result([], _SOON)
    with bench.queue(kind) as queue:
        ids = [_cancel_one(queue, result) for _ in bench.samples(40)]
        began = time.monotonic()
        bench.home.run("cancel", queue.ids[queue.fill_up() + 20])
        result.remark = f"by the command line {1000 * (time.monotonic() - began):.0f} ms"
        bench.watch()
    result.faults += [fault for id in ids for fault in _faults_of_cancelled(bench, id)]
    running = sum(id in bench.record.starts for id in ids if bench.manager.get_task(id).status == "cancelled")
    result.remark += f"; {running} of {len(ids)} were cancelled while running"
    return result


def _cancel_one(queue: Queue, result: Result) -> str:
    id = queue.ids[queue.fill_up() + queue.bench.chance.randint(0, 30)]
    began = time.monotonic()
    accepted = queue.bench.manager.cancel_task(id)
    result.samples.append(1000 * (time.monotonic() - began))
    if accepted:
        queue.bench.home.note("cancelled", id)
    return id


def _faults_of_cancelled(bench: Bench, id: str) -> Iterator[str]:
    task, cancelled = bench.manager.get_task(id), bench.record.word_of("cancelled", id)
    start = bench.record.starts.get(id)
    if cancelled and task.status != "cancelled":
        yield f"cancel of {id} was acknowledged, and it is {task.status}"
    if start and cancelled and bench.record.lines.index(start) > bench.record.lines.index(cancelled):
        yield f"{id} started after it was cancelled: {start}"
    if start and task.status == "cancelled" and task.attempt == 0:
        yield f"{id} was cancelled before its first attempt, and it ran: {start}"


def measure_pause(bench: Bench, kind: str) -> Result:
    """No task of a key starts later than 50 ms after `pause` has returned."""
    result = Result([], _PAUSED, 1.0)
    with bench.queue(kind) as queue:
        for _ in bench.samples(6):
            queue.until_running()
            returned = queue.command("pause")
            bench.watch()
            starts = (line.at for line in bench.record.of_key(queue.key) if line.is_start)
            result.samples.append(_latest(returned, starts))
            queue.command("resume")
    return result


def _latest(since: float, times: Iterator[float]) -> float:
    """Return the milliseconds from `since` to the latest of the times, negative if all of them are earlier."""
    return 1000 * max([at - since for at in times], default=0.0)


def measure_limit(bench: Bench, kind: str) -> Result:
    """After `limit` was lowered to 1, no more than one task is alive 100 ms after it has returned."""
    result = Result([], _LIMITED, 1.0)
    with bench.queue(kind) as queue:
        for _ in bench.samples(6):
            queue.until_running()
            returned = queue.command("limit", "1")
            bench.watch()
            result.samples.append(_latest(returned, _crowded(bench.record.of_key(queue.key))))
            queue.command("limit", "default")
    return result


def _crowded(lines: list[Line]) -> Iterator[float]:
    """Yield the times at which a task started while another was alive."""
    alive: set[int] = set()
    for line in lines:
        if line.is_start:
            alive.add(line.claim)
        else:
            alive.discard(line.claim)
        if line.is_start and len(alive) > 1:
            yield line.at


def measure_priority(bench: Bench, kind: str) -> Result:
    """A task that is launched with a higher priority starts soon."""
    result = Result([], _SOON)
    with bench.queue(kind) as queue:
        for _ in bench.samples(40):
            queue.fill_up()
            time.sleep(bench.chance.uniform(0, 0.01))
            began = time.time()
            [id] = queue.launch([queue.fields(priority=100)])
            bench.until("the urgent task", lambda id=id: bench.started(id))  # type: ignore[misc]
            result.samples.append(1000 * (bench.record.starts[id].at - began))
        result.remark = f"by the command line {_launch_by_command(queue):.0f} ms"
    return result


def _launch_by_command(queue: Queue) -> float:
    """Launch an urgent command by the command line, and return the milliseconds until it starts."""
    bench, began = queue.bench, time.time()
    options = ["--key", queue.key, "--priority", "100", "--env", f"{trial_task.KEY_VARIABLE}={queue.key}"]
    id = bench.home.must_run("launch", *options, "--", *trial_task.command(bench.home.journal)).strip()
    bench.until("the urgent command", lambda: bench.started(id))
    return 1000 * (bench.record.starts[id].at - began)


def measure_long(bench: Bench, kind: str) -> Result:
    """The short tasks behind a long one start elsewhere soon."""
    result = Result([], _SOON, 1.0)
    with bench.queue(kind) as queue:
        for _ in bench.samples(8):
            queue.until_running()
            tasks = [queue.fields(_LONG_S, priority=50), *(queue.fields(priority=50) for _ in range(_BEHIND_LONG))]
            long, *short = queue.launch(tasks)
            bench.until("the long task", lambda id=long: id in bench.subscriber.ended)  # type: ignore[misc]
            bench.record.update()
            begun = bench.record.starts[long].at
            result.samples.append(_latest(begun, (_started_at(bench, id) for id in short)))
    return result


def _started_at(bench: Bench, id: str) -> float:
    """Return when a task started; one that has not started yet does so no sooner than now."""
    return bench.record.starts[id].at if id in bench.record.starts else time.time()


def measure_within(bench: Bench, kind: str) -> Result:
    """`complete`, `fail` and `progress` return soon when a task uses them on itself, and they take effect."""
    result = Result([], _SOON)
    with bench.queue(kind) as queue:
        if kind == "commands":
            result.remark = "(each command is a process of the command line: without a bound)"
            result.bound = float("inf")
        for number in bench.samples(30):
            verb = ("complete", "fail", "progress")[number % 3]
            queue.fill_up()
            [id] = queue.launch([queue.fields(priority=50, **_reporting(queue, verb))])
            bench.until(f"the end of {verb}", lambda id=id: id in bench.subscriber.ended)  # type: ignore[misc]
            _judge_report(bench, id, verb, result)
    return result


def _reporting(queue: Queue, verb: str) -> dict[str, Any]:
    """Return the fields of a task that uses a verb on itself: by the library, or by the command line."""
    home = queue.bench.home
    if queue.kind == "calls":
        args = [str(home.journal), str(home.tree), str(ROOT), str(home.home), verb]
        return {"call": "trial_task:report_from_within", "args": args}
    text = {"complete": ["--result", "reported"], "fail": ["--error", "reported"], "progress": ["reported"]}[verb]
    return {"command": trial_task.reporting_command(home.journal, home.command(verb, *text))}


def _judge_report(bench: Bench, id: str, verb: str, result: Result) -> None:
    """Add the sample of a task that used a verb on itself, and what is wrong with its outcome.

    A verdict may end the task before it can note that the verb has returned: its end counts then.
    """
    bench.record.update()
    task, accepted = bench.manager.get_task(id), bench.record.word_of("accepted", id)
    asking = bench.record.word_of("asking", id)
    expected = {"complete": ("completed", "reported", None), "fail": ("error", None, "reported")}
    if verb in expected and (task.status, task.result, task.error) != expected[verb]:
        result.faults.append(f"{verb} within {id}: it is {task.status}, {task.result!r}, {task.error!r}")
    if verb == "progress" and (task.status != "completed" or not accepted or not _has_progress(bench, id)):
        result.faults.append(f"progress within {id}: it is {task.status}, without an event of its progress")
    if asking is not None:
        returned = accepted.at if accepted else task.completed_at.timestamp()
        result.samples.append(1000 * (returned - asking.at))


def _has_progress(bench: Bench, id: str) -> bool:
    return any(one.task == id and one.type == PROGRESS for one in bench.subscriber.delivered)


def measure_events(bench: Bench, kind: str) -> Result:
    """The events of a start and of an end reach a subscriber soon after the task has noted them."""
    result = Result([], _SOON)
    first = len(bench.subscriber.delivered)
    with bench.queue(kind, 700 if bench.options.short else _QUEUE) as queue:
        ids = set(queue.ids)
        bench.until("all tasks to end", lambda: bench.subscriber.ended >= ids)
    bench.record.update()
    noted = {STARTED: bench.record.starts, ENDED: bench.record.ends}
    for one in bench.subscriber.delivered[first:]:
        if one.task in ids and one.type in noted:
            result.samples.append(1000 * (one.at - noted[one.type][one.task].at))
    return result


MEASURES: dict[str, Callable[[Bench, str], Result]] = {
    "cancel": measure_cancel,
    "pause": measure_pause,
    "limit": measure_limit,
    "priority": measure_priority,
    "long": measure_long,
    "within": measure_within,
    "events": measure_events,
}


def measure(bench: Bench, name: str, kind: str) -> bool:
    """Measure up to three times, print all figures, and return True if the bound holds."""
    for attempt in range(1, _ATTEMPTS + 1):
        bench.activity = f"{name}, {kind}"
        result = MEASURES[name](bench, kind)
        verdict = "FAULT" if result.faults else "ok" if result.is_within else "too slow"
        print(f"{name:9} {kind:9} {attempt}: {verdict:8} {result}", flush=True)
        for fault in result.faults[:10]:
            print(f"    {fault}")
        if result.faults or result.is_within:
            return not result.faults
    return False


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bounds", description="Measure how soon verbs take effect in a busy queue.")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--kind", choices=tuple(KINDS), action="append", help="(both)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="(random, printed)")
    parser.add_argument("--short", action="store_true", help="fewer samples, about 40 seconds")
    parser.add_argument("--tree", type=Path, default=ROOT, metavar="DIR", help="the source tree to try (this one)")
    options = parser.parse_args(words)
    if unknown := set(options.measures) - MEASURES.keys():
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    """Return 0 if every bound holds."""
    exit_on_sigterm()
    options = parse(sys.argv[1:])
    print(f"seed {options.seed}", flush=True)
    bench = Bench(options)
    try:
        names, kinds = options.measures or MEASURES, options.kind or KINDS
        broken = [f"{name} of {kind}" for kind in kinds for name in names if not measure(bench, name, kind)]
    except BaseException:
        bench.home.kill_all()
        print(f"the evidence is in {bench.home.project}")
        raise
    bench.close()
    print(f"broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
