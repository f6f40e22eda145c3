"""The crash matrix: in each scene, kill each process before and after each place where its effects become visible.

First every scene is run to record which failpoints it reaches. A cell is a failpoint with the role that reached it; one
that was reached several times has a cell for the first and one for the last time. In a cell the process gets SIGKILL
exactly there, and what an operator would restart is restarted. Then everything must end, and the invariants must hold.
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import faulthandler
import fnmatch
import itertools
import random
import signal
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context
from typing import NamedTuple

from scripts.trials.crash.home import IDLE_SECONDS, MAX_DEATHS, CrashHome, Order, excess
from scripts.trials.crash.scene_run import HARMLESS, SceneRun
from scripts.trials.crash.scenes import FRESH, SCENES
from scripts.trials.crash.unreachable import RACES, UNREACHABLE
from tests.helpers.blackbox import ROOT
from tests.helpers.invariants import Violation
from tests.helpers.processes import Activity
from tests.helpers.wait import WaitTimeout

#: Cells that are run in one home, one after another.
CHUNK = 24

#: How often a cell is run until its failpoint is reached: one that depends on a race is not reached each time.
TRIES = 6

#: How often a violated cell is run again: a machine that stood still violates it once, a fault most of the times.
REPLAYS = 4

#: How often all scenes are recorded at most: a race does not reach each failpoint every time.
RECORDINGS = 4

#: Seconds after which a cell hangs: every wait in it should have been given up long before.
HANGS_AFTER = 1200

#: The edges of a failpoint.
EDGES = ("before", "after")


class Cell(NamedTuple):
    """A process to kill: the scene, the role and failpoint (`where`), and how often it was reached by then."""

    scene: str
    where: str
    nth: int

    @property
    def name(self) -> str:
        """Return the cell as the command line takes it."""
        return f"{self.scene}/{self.where.replace(' ', '/')}/{self.nth}"

    @property
    def role(self) -> str:
        """Return the role of the process to kill."""
        return self.where.partition(" ")[0]

    @property
    def failpoint(self) -> str:
        """Return the name of the failpoint."""
        return self.where.split(" ")[1].partition("@")[0]

    @property
    def edge(self) -> str:
        """Return `before` or `after`."""
        return self.where.rpartition(" ")[2]

    def is_in(self, part: int, of: int) -> bool:
        """Return True if it belongs to that part of all cells; the number of repetitions varies, and does not count."""
        return zlib.crc32(f"{self.scene} {self.where} {self.nth > 1}".encode()) % of == part - 1


class Outcome(NamedTuple):
    """The verdict on a cell: `passed`, `missed` (and why the failpoint was not reached) or the violation."""

    cell: Cell
    verdict: str
    seconds: float

    @property
    def kind(self) -> str:
        """Return `passed`, `missed` or `violated`."""
        word = self.verdict.partition(":")[0]
        return word if word in ("passed", "missed") else "violated"


class ChunkResult(NamedTuple):
    """The outcomes of some cells of one scene, and how idle their home was afterwards."""

    outcomes: list[Outcome]
    idle: Activity


class Recording(NamedTuple):
    """The cells of a scene, or what was violated in it although no process was killed."""

    scene: str
    cells: list[Cell]
    violation: str = ""


def record(scene: str) -> Recording:
    """Run a scene without a kill."""
    try:
        return Recording(scene, _cells(scene))
    except (Violation, WaitTimeout) as error:
        return Recording(scene, [], str(error))


def _cells(scene: str) -> list[Cell]:
    home = CrashHome.create("crash")
    try:
        if scene not in FRESH:
            home.open()
        run = SceneRun(home, Order("record"))
        SCENES[scene](run)
        counts = Counter(home.reached(run.order))
    finally:
        home.close()
    return [Cell(scene, where, nth) for where, count in counts.items() for nth in sorted({1, count})]


def run_chunk(cells: list[Cell]) -> ChunkResult:
    """Run cells of one scene."""
    runner = CellRunner(cells[0].scene)
    try:
        return ChunkResult([runner.outcome(cell) for cell in cells], runner.idle_activity())
    finally:
        runner.close_home()


class CellRunner:
    """Runs cells of one scene in one home, which is replaced after a violation."""

    def __init__(self, scene: str) -> None:
        self._scene = scene
        self._home: CrashHome | None = None

    def outcome(self, cell: Cell) -> Outcome:
        """Run a cell, several times if its failpoint is not reached."""
        began = time.monotonic()
        faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
        try:
            verdict = self._verdict(cell)
        except (Violation, WaitTimeout) as error:
            verdict = self._failure(str(error))
        except Exception:
            verdict = self._failure(traceback.format_exc())
        finally:
            faulthandler.cancel_dump_traceback_later()
        return Outcome(cell, verdict, time.monotonic() - began)

    def idle_activity(self) -> Activity:
        """Return what the busiest role of the home does now."""
        return self._home.idle_activity() if self._home is not None else Activity()

    def close_home(self) -> None:
        """End the home; the next cell gets a new one."""
        if self._home is not None:
            self._home.close()
            self._home = None

    def _failure(self, text: str) -> str:
        state = self._home.describe() if self._home else ""
        self.close_home()
        return f"{text}\n--- state:\n{state}"

    def _verdict(self, cell: Cell) -> str:
        nth = cell.nth
        for _ in range(TRIES):
            count = self._run(cell, nth)
            if count is None:
                return "passed"
            nth = min(nth, count) or cell.nth  # not each run reaches it as often
        return f"missed: {TRIES} times, the last time it was reached {count} times"

    def _run(self, cell: Cell, nth: int) -> int | None:
        """Return None if a process was killed, and otherwise how often the failpoint was reached."""
        home = self._ready_home()
        order = Order(f"p{time.monotonic_ns()}", cell.where, nth)
        SCENES[cell.scene](SceneRun(home, order))
        home.deaths += cell.role in ("bb-flusher", "bb-forkserver", "bb-forkserver's-child")
        count = None if home.has_killed(order) else home.reached(order).count(cell.where)
        if self._scene in FRESH:
            self.close_home()
        return count

    def _ready_home(self) -> CrashHome:
        if self._home is None:
            self._home = CrashHome.create("crash")
            if self._scene not in FRESH:
                self._home.open()
        if self._home.deaths >= MAX_DEATHS:
            self._home.replace_supervisor()
        return self._home


def process_pool(jobs: int) -> ProcessPoolExecutor:
    """Return processes that each use one home at a time, and end with this one."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), die_with_parent)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def record_all(scenes: Iterable[str], jobs: int) -> list[Recording]:
    """Run all scenes without a kill."""
    with process_pool(jobs) as pool:
        return list(pool.map(record, scenes))


def chunks(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Yield chunks of one scene each, in which the roles take turns, so that their restart delays are over."""
    for scene in dict.fromkeys(cell.scene for cell in cells):
        spread = _spread_roles([cell for cell in cells if cell.scene == scene])
        count = -(-len(spread) // CHUNK)
        yield from (spread[start::count] for start in range(count))


def _spread_roles(cells: list[Cell]) -> list[Cell]:
    """Return the cells so that those of each role are spread evenly."""
    places = []
    for role in sorted({cell.role for cell in cells}):
        of_role = [cell for cell in cells if cell.role == role]
        places += [((number + 0.5) / len(of_role), cell) for number, cell in enumerate(of_role)]
    return [cell for _, cell in sorted(places)]


def failpoints() -> set[str]:
    """Return the names of all failpoints in the source."""
    return {
        str(node.args[0].value)
        for package in ("ipc", "supervisor")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "failpoint"
        and isinstance(node.args[0], ast.Constant)
    }


def explore(scenes: list[str], jobs: int) -> list[Recording]:
    """Record all scenes, and again while a failpoint is neither reached nor listed as unreachable."""
    recordings = record_all(scenes, jobs)
    for _ in range(RECORDINGS - 1):
        if not unexplained(recordings):
            break
        print(f"recording again: no scene reached {', '.join(unexplained(recordings))}", flush=True)
        recordings += record_all(scenes, jobs)
    return recordings


def unexplained(recordings: list[Recording]) -> list[str]:
    """List the failpoints that no scene reached and that are not listed as unreachable."""
    return sorted(missing(recordings) - UNREACHABLE.keys())


def missing(recordings: list[Recording]) -> set[str]:
    """Return the failpoints that no scene reached."""
    return failpoints() - {cell.failpoint for recording in recordings for cell in recording.cells}


def unmatched(cells: Iterable[Cell]) -> list[str]:
    """List the patterns of `HARMLESS` that match no cell."""
    edges = {cell.where for cell in cells}
    return [pattern for pattern in HARMLESS if not any(fnmatch.fnmatchcase(edge, pattern) for edge in edges)]


def print_missing(recordings: list[Recording]) -> None:
    """Print the failpoints that no scene reached, and why."""
    print(f"\n{len(failpoints() - missing(recordings))} failpoints of {len(failpoints())} are reached; not reached:")
    for name in sorted(missing(recordings)):
        print(f"  {name}: {UNREACHABLE.get(name, 'NO REASON KNOWN')}")


def run(cells: list[Cell], jobs: int, verbose: bool) -> list[ChunkResult]:
    """Run all cells, and print each outcome when it is known."""
    results: list[ChunkResult] = []
    work = list(chunks(cells))
    random.shuffle(work)
    with process_pool(jobs) as pool:
        for future in as_completed([pool.submit(run_chunk, chunk) for chunk in work]):
            results.append(future.result())
            for outcome in results[-1].outcomes:
                if verbose or outcome.kind == "violated":
                    print(f"{outcome.cell.name} [{outcome.seconds:.1f} s]: {outcome.verdict}", flush=True)
    return results


def main() -> int:
    """Return 0 if the invariants hold in every cell."""
    options = _options()
    began = time.monotonic()
    scenes = [name for name in SCENES if not options.scene or name in options.scene]
    recordings = record_all(scenes, options.jobs) if options.scene else explore(scenes, options.jobs)
    cells = sorted({cell for recording in recordings for cell in recording.cells})
    print(f"{len(cells)} cells in {len(scenes)} scenes, recorded in {time.monotonic() - began:.0f} s", flush=True)
    if not options.scene:
        print_missing(recordings)
    chosen = _chosen(cells, options) * options.repeat
    if options.list:
        print(*(cell.name for cell in chosen), sep="\n")
        return 0
    results = run(chosen, options.jobs, options.verbose or bool(options.cell))
    passed = _report(results, time.monotonic() - began)
    passed &= not _violated_again(results, options.jobs)
    broken = [f"{one.scene} VIOLATED without a kill: {one.violation}" for one in recordings if one.violation]
    if not options.scene:
        broken += [f"{name}: no scene reaches it, and UNREACHABLE has no reason" for name in unexplained(recordings)]
        broken += [f"{pattern}: HARMLESS has it, and no cell matches it" for pattern in unmatched(cells)]
    print(*broken, sep="\n", end="\n" * bool(broken))
    return 0 if passed and not broken else 1


def _report(results: list[ChunkResult], seconds: float) -> bool:
    outcomes = [outcome for result in results for outcome in result.outcomes]
    for title, of in (("scene", lambda cell: cell.scene), ("failpoint", lambda cell: cell.failpoint)):
        _tabulate(title, outcomes, of)
    busy = _report_idle(results)
    for outcome in _sorted(outcomes, "missed"):
        reason = next(reason for place, reason in RACES.items() if place in outcome.cell.where)
        print(f"{outcome.cell.name} {outcome.verdict}; {reason}")
    for outcome in _sorted(outcomes, "violated"):
        print(f"{outcome.cell.name} VIOLATED: {outcome.verdict.splitlines()[0][:300]}")
    kinds = Counter(outcome.kind for outcome in outcomes)
    print(
        f"\n{len(outcomes)} cells: {kinds['passed']} passed, {kinds['missed']} missed, {kinds['violated']} violated,"
        f" in {seconds:.0f} s"
    )
    return not busy


def _violated_again(results: list[ChunkResult], jobs: int) -> bool:
    """Run the violated cells again, and return True if any of them is violated once more."""
    doubtful = [outcome.cell for result in results for outcome in result.outcomes if outcome.kind == "violated"]
    again = [outcome for result in run(doubtful * REPLAYS, jobs, True) for outcome in result.outcomes]
    counts = Counter(outcome.cell.name for outcome in again if outcome.kind == "violated")
    for cell in sorted(set(doubtful)):
        print(f"{cell.name}: violated {counts[cell.name]} times of {REPLAYS} more")
    return bool(counts)


def _report_idle(results: list[ChunkResult]) -> list[str]:
    """Print what idle homes used, and return descriptions of those that used too much."""
    cpu = max((result.idle.cpu for result in results), default=0.0)
    sleeps = max((result.idle.sleeps for result in results), default=0)
    used = f"a role used at most {cpu * 1000:.1f} ms of CPU, woke {sleeps} times"
    print(f"\nidle for {IDLE_SECONDS:g} s, {len(results)} homes: {used}")
    busy = [
        f"{result.outcomes[0].cell.scene} VIOLATED: {excess(result.idle)}" for result in results if excess(result.idle)
    ]
    print(*busy, sep="\n", end="\n" * bool(busy))
    return busy


def _tabulate(title: str, outcomes: list[Outcome], of: Callable[[Cell], str]) -> None:
    """Print how many cells there are before and after, and their outcomes."""
    kinds = ("passed", "missed", "violated")
    print(f"\n{title:28}", *(f"{word:>8}" for word in (*EDGES, *kinds)))
    for name, group in itertools.groupby(sorted(outcomes, key=lambda one: of(one.cell)), lambda one: of(one.cell)):
        counts = Counter(word for one in group for word in (one.cell.edge, one.kind))
        print(f"{name:28}", *(f"{counts[word]:8}" for word in (*EDGES, *kinds)))


def _sorted(outcomes: list[Outcome], kind: str) -> list[Outcome]:
    return sorted(outcome for outcome in outcomes if outcome.kind == kind)


def _chosen(cells: list[Cell], options: argparse.Namespace) -> list[Cell]:
    if options.cell:
        return [cell for cell in cells if any(fnmatch.fnmatchcase(cell.name, name) for name in options.cell)]
    if options.third:
        part, of = map(int, options.third.split("/"))
        return [cell for cell in cells if cell.is_in(part, of)]
    return cells


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crash-matrix", description=__doc__)
    parser.add_argument("--third", metavar="K/3", help="the Kth of three parts of all cells")
    parser.add_argument("--all", action="store_true", help="every cell (the default)")
    parser.add_argument("--cell", action="append", metavar="NAME", help="cells with this name, which may be a pattern")
    parser.add_argument("--scene", action="append", choices=[*SCENES], help="only this scene; may be repeated")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="homes at a time (4)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run each chosen cell N times (1)")
    parser.add_argument("--list", action="store_true", help="only list the cells")
    parser.add_argument("--verbose", action="store_true", help="print every outcome")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
