"""The crash matrix: in each scene, each process is killed before and after each place where it does what others see.

First the scenes are played to see which failpoints they reach; every such failpoint, with the role that came to it, and
where it came to it several times the first and the last of them, is a cell. In a cell that process gets SIGKILL exactly
there; what an operator would start again is started again; then all must be over, and true.
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
from pathlib import Path
from typing import NamedTuple

from scripts.trials.crash.home import MOST_DEATHS, QUIET, Effort, House, Order, Play, Violation
from scripts.trials.crash.scenes import FRESH, SCENES

ROOT = Path(__file__).resolve().parents[3]

#: Cells that one home sees, one after the other.
CHUNK = 24

#: How often a cell is played until its failpoint was come to: what is raced for is not come to each time.
TRIES = 6

#: How often a cell that was violated is played again: a machine that stood still violates it once, a fault in most.
REPLAYS = 4

#: How often all scenes are played at most to find their failpoints: a race does not reach each failpoint every time.
RECORDINGS = 4

#: Seconds after which a cell will not end any more: every wait in it should have been given up long before.
HANGS = 1200

#: The edges of a failpoint.
EDGES = ("before", "after")

#: Moments that no scene comes to, and why.
UNREACHABLE = {
    "holder.signal": "a process must stop inside the write gate; tests/ipc/store/sqlite/test_write_gate.py",
    "process.kill": "only where the system has no pidfd",
    "shortcut.link": "only for a home whose path is longer than a socket's may be",
    "systemd.send": "only under systemd; nothing is decided on it",
    "launch.stdin.unlink": "only on a full disk; killed there, a launch leaves a file that no task names",
    "launch.assignment.send": "only for a launch into a parked slot; tests/acceptance/test_parking.py leaves it out",
    "spawn.failed.unlink": "only for a command that runs alone and cannot be started",
    "bus.refuse": "only with more clients than descriptors",
    "clear.input.unlink": "housekeeping, asked for by hand; repeated, it goes on",
    "clear.output.unlink": "as clear.input.unlink",
    "prune.unlink": "once an hour; repeated, it goes on",
    "agents.ask": "only asks other programs for their versions",
    "usher.start": "the matrix's operator starts supervisors itself; the usher has left before one is up",
    "caller.start": "a library's way to the command line, whose failpoints are its own",
    "output.disarm": "only where a file system does not set the time of an empty file that is truncated",
    "call.unlink": "only for a call that ends while its worker links its output files",
    "runner.spawn": "only for another interpreter; as task.spawn",
    "runner.journal.cut": "only on a full disk",
    "runner.resume": "only on a full disk",
    "runner.kill": "only if the output files of a runner cannot be created, for example on a full disk",
    "hook.tell": "only where an agent's client asks; tests/supervisor/integrations/test_hooks.py kills it there",
    "mcp.send": "as hook.tell; tests/acceptance/test_tools.py kills the server that has not answered",
    **dict.fromkeys(
        ("setup.rename", "setup.unlink", "setup.forget", "setup.clean"), "files of a client's, not of a home's"
    ),
    "scratch.remove": "after a restore that was killed; tests/ipc/store/sqlite/test_backup.py leaves such a folder",
    "salvage.link": "only for a damaged database; tests/ipc/store/sqlite/test_backup.py kills a salvage there",
    "salvage.rename": "as salvage.link",
    "salvage.unlink": "as salvage.link, of a salvage that was killed; repeated, it goes on",
    "salvage.rename-back": "as salvage.unlink",
    "graft.copy": "as salvage.link, into a folder that the next one removes",
    "told.start": "only with on_batch; tests/acceptance/test_on_batch.py kills the flusher while the command runs",
    "wake.exec": "as told.start",
    "told.kill": "only for a command of on_batch that does not end",
}


#: Why a cell may be missed though its failpoint was come to once: what is raced for there.
RACES = {
    "Queue.note_pid": "only for a job that lives longer than 50 ms; the scenes whose job waits come there each time",
    "": "in each play the race for it went otherwise",
}


class Cell(NamedTuple):
    """Who is killed, where, and in which scene."""

    scene: str
    where: str
    nth: int

    @property
    def name(self) -> str:
        """As the command line takes it."""
        return f"{self.scene}/{self.where.replace(' ', '/')}/{self.nth}"

    @property
    def role(self) -> str:
        """Who is killed."""
        return self.where.partition(" ")[0]

    @property
    def failpoint(self) -> str:
        """The name of the place."""
        return self.where.split(" ")[1].partition("@")[0]

    @property
    def edge(self) -> str:
        """`before` or `after`."""
        return self.where.rpartition(" ")[2]

    def is_in(self, part: int, of: int) -> bool:
        """Whether it belongs to that part of all; how many repetitions there are changes from time to time."""
        return zlib.crc32(f"{self.scene} {self.where} {self.nth > 1}".encode()) % of == part - 1


class Outcome(NamedTuple):
    """What came of a cell: `passed`, `missed` (nobody came there, and why) or what was violated."""

    cell: Cell
    verdict: str
    seconds: float

    @property
    def kind(self) -> str:
        """`passed`, `missed` or `violated`."""
        word = self.verdict.partition(":")[0]
        return word if word in ("passed", "missed") else "violated"


class Act(NamedTuple):
    """What came of some cells of one scene, and how quiet their home was afterwards."""

    outcomes: list[Outcome]
    idle: Effort


class Record(NamedTuple):
    """The cells that a scene has, or what was violated in it though nobody was killed."""

    scene: str
    cells: list[Cell]
    violation: str = ""


def record(scene: str) -> Record:
    """Play a scene in peace."""
    try:
        return Record(scene, _cells(scene))
    except Violation as error:
        return Record(scene, [], str(error))


def _cells(scene: str) -> list[Cell]:
    house = House()
    try:
        if scene not in FRESH:
            house.open()
        play = Play(house, Order("record"))
        SCENES[scene](play)
        counts = Counter(house.reached(play.order))
    finally:
        house.close()
    return [Cell(scene, where, nth) for where, count in counts.items() for nth in sorted({1, count})]


def play_chunk(cells: list[Cell]) -> Act:
    """Play cells of one scene."""
    stage = Stage(cells[0].scene)
    try:
        return Act([stage.outcome(cell) for cell in cells], stage.idle())
    finally:
        stage.clear()


class Stage:
    """Where cells of one scene are played: in one home, as long as nothing is wrong with it."""

    def __init__(self, scene: str) -> None:
        """Nothing is started."""
        self._scene = scene
        self._house: House | None = None

    def outcome(self, cell: Cell) -> Outcome:
        """Play a cell; again, if nobody came to where he was to die."""
        began = time.monotonic()
        faulthandler.dump_traceback_later(HANGS, exit=True)
        try:
            verdict = self._verdict(cell)
        except Violation as error:
            verdict = self._told(str(error))
        except Exception:
            verdict = self._told(traceback.format_exc())
        finally:
            faulthandler.cancel_dump_traceback_later()
        return Outcome(cell, verdict, time.monotonic() - began)

    def idle(self) -> Effort:
        """How quiet the home is now."""
        return self._house.idle() if self._house is not None else Effort()

    def clear(self) -> None:
        """End what there is; the next cell gets a new home."""
        if self._house is not None:
            self._house.close()
            self._house = None

    def _told(self, violation: str) -> str:
        log = self._house.portrait() if self._house else ""
        self.clear()
        return f"{violation}\n--- then:\n{log}"

    def _verdict(self, cell: Cell) -> str:
        nth = cell.nth
        for _ in range(TRIES):
            came = self._play(cell, nth)
            if came is None:
                return "passed"
            nth = min(nth, came) or cell.nth  # not each turn comes there as often
        return f"missed: {TRIES} times, the last time it was come to {came} times"

    def _play(self, cell: Cell, nth: int) -> int | None:
        """None if somebody was killed; else how often somebody came there."""
        house = self._ready_house()
        order = Order(f"p{time.monotonic_ns()}", cell.where, nth)
        SCENES[cell.scene](Play(house, order))
        house.deaths += cell.role in ("bb-flusher", "bb-forkserver", "bb-forkserver's-child")
        came = None if house.killed(order) else house.reached(order).count(cell.where)
        if self._scene in FRESH:
            self.clear()
        return came

    def _ready_house(self) -> House:
        if self._house is None:
            self._house = House()
            if self._scene not in FRESH:
                self._house.open()
        if self._house.deaths >= MOST_DEATHS:
            self._house.freshen()
        return self._house


def stages(jobs: int) -> ProcessPoolExecutor:
    """Processes that each play in one home at a time, and end with this one."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), die_with_parent)


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it dies (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def records_of(scenes: Iterable[str], jobs: int) -> list[Record]:
    """All scenes, played in peace."""
    with stages(jobs) as pool:
        return list(pool.map(record, scenes))


def chunks(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Cells in pieces of one scene each, in which the roles take turns: each other's backoff is over then."""
    for scene in dict.fromkeys(cell.scene for cell in cells):
        mine = _in_turns([cell for cell in cells if cell.scene == scene])
        pieces = -(-len(mine) // CHUNK)
        yield from (mine[start::pieces] for start in range(pieces))


def _in_turns(cells: list[Cell]) -> list[Cell]:
    """Each role's cells spread evenly over all."""
    places = []
    for role in sorted({cell.role for cell in cells}):
        mine = [cell for cell in cells if cell.role == role]
        places += [((number + 0.5) / len(mine), cell) for number, cell in enumerate(mine)]
    return [cell for _, cell in sorted(places)]


def failpoints() -> set[str]:
    """The names of all failpoints, from the source."""
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


def explore(scenes: list[str], jobs: int) -> list[Record]:
    """Play all scenes without a kill, and again while a failpoint is neither reached nor listed as unreachable."""
    records = records_of(scenes, jobs)
    for _ in range(RECORDINGS - 1):
        if not unexplained(records):
            break
        print(f"played again: no scene reached {', '.join(unexplained(records))}", flush=True)
        records += records_of(scenes, jobs)
    return records


def unexplained(records: list[Record]) -> list[str]:
    """List the failpoints that no scene reached and that are not listed as unreachable."""
    return sorted(missing(records) - UNREACHABLE.keys())


def missing(records: list[Record]) -> set[str]:
    """Return the failpoints that no scene reached."""
    return failpoints() - {cell.failpoint for record in records for cell in record.cells}


def tell_missing(records: list[Record]) -> None:
    """Print the failpoints that no scene reached, and why."""
    print(f"\n{len(failpoints() - missing(records))} failpoints of {len(failpoints())} are reached; not reached:")
    for name in sorted(missing(records)):
        print(f"  {name}: {UNREACHABLE.get(name, 'NO REASON KNOWN')}")


def run(cells: list[Cell], jobs: int, verbose: bool) -> list[Act]:
    """Play all; each is told of as it ends."""
    acts: list[Act] = []
    work = list(chunks(cells))
    random.shuffle(work)
    with stages(jobs) as pool:
        for future in as_completed([pool.submit(play_chunk, chunk) for chunk in work]):
            acts.append(future.result())
            for outcome in acts[-1].outcomes:
                if verbose or outcome.kind == "violated":
                    print(f"{outcome.cell.name} [{outcome.seconds:.1f} s]: {outcome.verdict}", flush=True)
    return acts


def main() -> int:
    """0 if all is true in every cell."""
    options = _options()
    began = time.monotonic()
    scenes = [name for name in SCENES if not options.scene or name in options.scene]
    records = records_of(scenes, options.jobs) if options.scene else explore(scenes, options.jobs)
    cells = sorted({cell for record in records for cell in record.cells})
    print(f"{len(cells)} cells in {len(scenes)} scenes, recorded in {time.monotonic() - began:.0f} s", flush=True)
    if not options.scene:
        tell_missing(records)
    chosen = _chosen(cells, options) * options.repeat
    if options.list:
        print(*(cell.name for cell in chosen), sep="\n")
        return 0
    acts = run(chosen, options.jobs, options.verbose or bool(options.cell))
    well = _report(acts, time.monotonic() - began)
    well &= not _violated_again(acts, options.jobs)
    broken = [f"{record.scene} VIOLATED in peace: {record.violation}" for record in records if record.violation]
    if not options.scene:
        broken += [f"{name}: no scene reaches it, and UNREACHABLE does not say why" for name in unexplained(records)]
    print(*broken, sep="\n", end="\n" * bool(broken))
    return 0 if well and not broken else 1


def _report(acts: list[Act], seconds: float) -> bool:
    outcomes = [outcome for act in acts for outcome in act.outcomes]
    for title, of in (("scene", lambda cell: cell.scene), ("failpoint", lambda cell: cell.failpoint)):
        _tabulate(title, outcomes, of)
    excited = _tell_idle(acts)
    for outcome in _sorted(outcomes, "missed"):
        why = next(reason for place, reason in RACES.items() if place in outcome.cell.where)
        print(f"{outcome.cell.name} {outcome.verdict}; {why}")
    for outcome in _sorted(outcomes, "violated"):
        print(f"{outcome.cell.name} VIOLATED: {outcome.verdict.splitlines()[0][:300]}")
    kinds = Counter(outcome.kind for outcome in outcomes)
    print(
        f"\n{len(outcomes)} cells: {kinds['passed']} passed, {kinds['missed']} missed, {kinds['violated']} violated,"
        f" in {seconds:.0f} s"
    )
    return not excited


def _violated_again(acts: list[Act], jobs: int) -> bool:
    """Play what was violated again; whether anything of it is violated once more."""
    doubtful = [outcome.cell for act in acts for outcome in act.outcomes if outcome.kind == "violated"]
    again = [outcome for act in run(doubtful * REPLAYS, jobs, True) for outcome in act.outcomes]
    counts = Counter(outcome.cell.name for outcome in again if outcome.kind == "violated")
    for cell in sorted(set(doubtful)):
        print(f"{cell.name}: violated {counts[cell.name]} times of {REPLAYS} more")
    return bool(counts)


def _tell_idle(acts: list[Act]) -> list[str]:
    """What homes used with nothing to do; those that used too much."""
    cpu, wakes = (max((act.idle[part] for act in acts), default=0) for part in (0, 1))
    print(
        f"\nidle for {QUIET:g} s, {len(acts)} homes: a role used at most {cpu * 1000:.1f} ms of CPU, woke {wakes} times"
    )
    excited = [f"{act.outcomes[0].cell.scene} VIOLATED: {act.idle.excuse}" for act in acts if act.idle.excuse]
    print(*excited, sep="\n", end="\n" * bool(excited))
    return excited


def _tabulate(title: str, outcomes: list[Outcome], of: Callable[[Cell], str]) -> None:
    """How many cells there are before and after, and what came of them."""
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
    parser.add_argument("--cell", action="append", metavar="NAME", help="cells of that name, which may be a pattern")
    parser.add_argument("--scene", action="append", choices=[*SCENES], help="only this scene; may be repeated")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="homes at a time (4)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="play each chosen cell so often")
    parser.add_argument("--list", action="store_true", help="only list the cells")
    parser.add_argument("--verbose", action="store_true", help="tell of every cell")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
